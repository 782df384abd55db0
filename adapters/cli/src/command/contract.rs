//! `contract check` and `contract encrypt`: at the user's desk, without state or host.

use std::{io::Read as _, path::Path, time::SystemTime};

use serde::Serialize;
use vsiflow_steps::{
    contract::{self, Finding, Given, Key, KeyFault, Report, Severity, SignatureState, SigningKey},
    error,
};
use zeroize::Zeroizing;

use super::Outcome;
use crate::{
    args::{ContractCheckArgs, ContractCommand, ContractEncryptArgs, Format},
    exit::{Exit, Problem},
    output,
};

/// The largest file that is read: a contract or a key has a few kilobytes.
const FILE_MAX: u64 = 8 * 1024 * 1024;

pub(super) fn run(command: ContractCommand) -> Outcome {
    match command {
        ContractCommand::Check(args) => check(&args),
        ContractCommand::Encrypt(args) => encrypt(&args),
    }
}

/// A report as JSON has it. The names of its keys are stable.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked<'a> {
    file: String,
    ok: bool,
    days_left: Option<u64>,
    #[serde(flatten)]
    report: &'a Report,
}

fn check(args: &ContractCheckArgs) -> Outcome {
    let now = SystemTime::now();
    let key = match (&args.key, &args.cert) {
        (Some(path), _) => Some(key(path, Key::read)?),
        (None, Some(path)) => Some(key(path, Key::read_certificate)?),
        (None, None) => None,
    };
    let contract = read(&args.file)?;
    let given = Given {
        key,
        now: Some(now),
    };
    let report = contract::inspect(&contract, &given);
    let file = shown(&args.file);
    let days_left = report
        .certificate
        .and_then(|lifetime| lifetime.days_left(now));
    match args.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let checked = Checked {
                file,
                ok: !report.has_errors(),
                days_left,
                report: &report,
            };
            output::print(&checked, format)?;
        }
        _ => tell(&file, &report, days_left),
    }
    Ok(match report.has_errors() {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

fn tell(file: &str, report: &Report, days_left: Option<u64>) {
    for finding in &report.findings {
        output::line(&described(file, finding));
    }
    let mut facts: Vec<String> = report
        .sections
        .iter()
        .map(|section| {
            let form = if section.encrypted {
                "encrypted"
            } else {
                "plain"
            };
            format!("{} {form}", section.name)
        })
        .collect();
    facts.push(signature(report.signature).to_owned());
    if let (Some(lifetime), Some(days)) = (report.certificate, days_left) {
        let last = lifetime.last_day();
        facts.push(format!("certificate until {last} ({days} days left)"));
    }
    // Of what cannot be read there is nothing else to tell.
    if !report.sections.is_empty() {
        output::line(&format!("{file}: {}", facts.join(", ")));
    }
    let errors = report.errors().count();
    let warnings = report.findings.len().saturating_sub(errors);
    output::line(&match (errors, warnings) {
        (0, 0) => format!("{file}: nothing to complain of"),
        _ => format!(
            "{file}: {} and {}",
            many(errors, "error"),
            many(warnings, "warning")
        ),
    });
}

fn signature(state: SignatureState) -> &'static str {
    match state {
        SignatureState::None => "not signed",
        SignatureState::Valid => "signature valid",
        SignatureState::Invalid => "signature invalid",
        SignatureState::Unchecked => "signature not checked",
    }
}

fn many(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn described(file: &str, finding: &Finding) -> String {
    let line = finding
        .line
        .map(|line| format!(":{line}"))
        .unwrap_or_default();
    let Finding {
        severity,
        code,
        message,
        remedy,
        ..
    } = finding;
    format!(
        "{file}{line}: {}[{code}]: {message}\n  next   {remedy}",
        severity.as_str()
    )
}

fn encrypt(args: &ContractEncryptArgs) -> Outcome {
    let cert = key(&args.cert, Key::read_certificate)?;
    let signer = args
        .private_key
        .as_deref()
        .map(|path| key(path, SigningKey::read));
    let signer = signer.transpose()?;
    if let Some(lifetime) = cert.lifetime {
        let now = SystemTime::now();
        let last = lifetime.last_day();
        match lifetime.days_left(now) {
            None => output::warning(&format!(
                "{} ended on {last}: an image that still takes it is as old",
                shown(&args.cert)
            )),
            Some(days) if days < 30 => output::warning(&format!(
                "{} ends on {last}: {days} days left",
                shown(&args.cert)
            )),
            Some(_) => {}
        }
    }
    let contract = read(&args.file)?;
    match contract::encrypt(&contract, &cert, signer.as_ref()) {
        Ok(text) => {
            output::raw(text.as_bytes())?;
            Ok(Exit::Done)
        }
        Err(findings) => {
            let file = shown(&args.file);
            for finding in findings.iter().filter(|f| f.severity == Severity::Error) {
                output::note(&described(&file, finding));
            }
            Ok(Exit::Failed)
        }
    }
}

fn key<T>(path: &Path, parse: fn(&[u8]) -> Result<T, KeyFault>) -> Result<T, Problem> {
    let bytes = read(path)?;
    parse(&bytes).map_err(|fault| {
        let words = format!("{} {fault}", shown(path));
        Problem::new(
            Exit::Usage,
            error::CONTRACT_KEY.code,
            words,
            error::CONTRACT_KEY.remedy,
        )
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = FILE_MAX.saturating_add(1);
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) if bytes.len() as u64 > FILE_MAX => Err(unreadable(path, "it is larger than 8 MiB")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(path, &error.to_string())),
    }
}

fn unreadable(path: &Path, why: &str) -> Problem {
    let words = format!("{} cannot be read: {why}", shown(path));
    Problem::new(
        Exit::Usage,
        "VSI0805",
        words,
        "name a file that is there and may be read",
    )
}

fn shown(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "<stdin>".to_owned(),
        _ => path.display().to_string(),
    }
}
