//! `contract check` and `contract encrypt`: at the user's desk, without state or host.

mod source;

use std::{path::Path, time::SystemTime};

use serde::Serialize;
use vsiflow_steps::{
    contract::{
        self, ContractSigningKey, Finding, Given, Key, KeyFault, Report, Severity, SignatureState,
    },
    error,
};

use self::source::{ContractSource, read, shown};
use super::CommandOutcome;
use crate::{
    args::{ContractCheckArgs, ContractCommand, ContractEncryptArgs, OutputFormat},
    exit::{Exit, ExitProblem},
    output,
};

pub(super) fn run(command: ContractCommand) -> CommandOutcome {
    match command {
        ContractCommand::Check(args) => check(&args),
        ContractCommand::Encrypt(args) => encrypt(&args),
    }
}

/// A report as JSON has it. The names of its keys are stable.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    file: String,
    ok: bool,
    days_left: Option<u64>,
    #[serde(flatten)]
    report: Report,
}

fn check(args: &ContractCheckArgs) -> CommandOutcome {
    let now = SystemTime::now();
    let key = match (&args.key, &args.cert) {
        (Some(path), _) => Some(key(path, Key::read)?),
        (None, Some(path)) => Some(key(path, Key::read_certificate)?),
        (None, None) => None,
    };
    let given = Given {
        key,
        now: Some(now),
    };
    let sources = source::contracts(&args.file)?;
    let checked = sources.iter().map(|source| checked(source, &given, now));
    let checked: Vec<_> = checked.collect();
    match args.output {
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => match checked.as_slice() {
            [one] => output::print(one, format)?,
            all => output::print(&output::list(all), format)?,
        },
        _ => checked
            .iter()
            .for_each(|one| tell(&one.file, &one.report, one.days_left)),
    }
    Ok(match checked.iter().all(|one| one.ok) {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn checked(source: &ContractSource, given: &Given, now: SystemTime) -> Checked {
    let report = contract::inspect(&source.contract, given);
    let lifetime = report.certificate;
    Checked {
        file: source.name.clone(),
        ok: !report.has_errors(),
        days_left: lifetime.and_then(|lifetime| lifetime.days_left(now)),
        report,
    }
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

fn encrypt(args: &ContractEncryptArgs) -> CommandOutcome {
    let cert = key(&args.cert, Key::read_certificate)?;
    let signer = args
        .private_key
        .as_deref()
        .map(|path| key(path, ContractSigningKey::read));
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
    let ContractSource { name, contract } = source::contract(&args.file)?;
    match contract::encrypt(&contract, &cert, signer.as_ref()) {
        Ok(text) => {
            output::raw(text.as_bytes())?;
            Ok(Exit::Done)
        }
        Err(findings) => {
            for finding in findings.iter().filter(|f| f.severity == Severity::Error) {
                output::note(&described(&name, finding));
            }
            Ok(Exit::Failed)
        }
    }
}

fn key<T>(path: &Path, parse: fn(&[u8]) -> Result<T, KeyFault>) -> Result<T, ExitProblem> {
    let bytes = read(path)?;
    parse(&bytes).map_err(|fault| {
        let words = format!("{} {fault}", shown(path));
        ExitProblem::new(
            Exit::Usage,
            error::CONTRACT_KEY.code,
            words,
            error::CONTRACT_KEY.remedy,
        )
    })
}
