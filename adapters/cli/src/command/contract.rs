//! `contract check`, `contract encrypt` and `contract new`: work on local files, without a state directory or
//! a host.

mod folder;
mod source;

use std::{path::Path, time::SystemTime};

use serde::Serialize;
use vsiflow_steps::{
    contract::{
        self, CheckInputs, ContractSigningKey, Finding, Key, KeyFault, Report, Severity,
        SignatureState,
    },
    error,
};

use self::source::{ContractSource, read, shown};
use crate::{
    args::{
        ContractCheckArgs, ContractCommand, ContractEncryptArgs, ContractNewArgs, OutputFormat,
    },
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

pub(super) fn run(command: ContractCommand) -> CommandOutcome {
    match command {
        ContractCommand::Check(args) => check(&args),
        ContractCommand::Encrypt(args) => encrypt(&args),
        ContractCommand::New(args) => new(&args),
    }
}

/// A report in its JSON form. The names of its keys are stable.
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
    let inputs = CheckInputs {
        key,
        now: Some(now),
    };
    let sources = source::contracts(&args.file)?;
    let checked = sources.iter().map(|source| checked(source, &inputs, now));
    let checked: Vec<_> = checked.collect();
    match args.output {
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => match checked.as_slice() {
            [one] => output::print(one, format)?,
            all => output::print(&output::list(all), format)?,
        },
        _ => checked
            .iter()
            .for_each(|one| print_report(&one.file, &one.report, one.days_left)),
    }
    Ok(if checked.iter().all(|one| one.ok) {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn checked(source: &ContractSource, inputs: &CheckInputs, now: SystemTime) -> Checked {
    let report = contract::inspect(&source.contract, inputs);
    let lifetime = report.certificate;
    Checked {
        file: source.name.clone(),
        ok: !report.has_errors(),
        days_left: lifetime.and_then(|lifetime| lifetime.days_left(now)),
        report,
    }
}

fn print_report(file: &str, report: &Report, days_left: Option<u64>) {
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
    // There are no facts about a contract that cannot be read.
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
    let cert = certificate(&args.cert)?;
    let signer = signer(args.private_key.as_deref())?;
    let ContractSource { name, contract } = source::contract(&args.file)?;
    match contract::encrypt(&contract, &cert, signer.as_ref()) {
        Ok(text) => {
            output::raw(text.as_bytes())?;
            Ok(Exit::Done)
        }
        Err(findings) => Ok(refused(&name, &findings)),
    }
}

fn new(args: &ContractNewArgs) -> CommandOutcome {
    let cert = args.cert.as_deref().map(certificate).transpose()?;
    let signer = signer(args.private_key.as_deref())?;
    let files = folder::files(&args.compose)?;
    let env = args.env_file.as_deref().map(source::text).transpose()?;
    let env = env.as_ref().map(|text| text.as_str());
    let (folder, of_env) = (shown(&args.compose), args.env_file.as_deref().map(shown));
    match contract::compose(&files, env, cert.as_ref(), signer.as_ref()) {
        Ok(made) => {
            for doubt in &made.doubts {
                output::note(&described(&folder, doubt));
            }
            output::raw(made.contract.as_bytes())?;
            Ok(Exit::Done)
        }
        Err(findings) => {
            let of_env = of_env.filter(|_| findings.iter().all(|one| one.section == "env"));
            Ok(refused(&of_env.unwrap_or(folder), &findings))
        }
    }
}

fn refused(name: &str, findings: &[Finding]) -> Exit {
    for finding in findings.iter().filter(|f| f.severity == Severity::Error) {
        output::note(&described(name, finding));
    }
    Exit::Failed
}

fn signer(path: Option<&Path>) -> Result<Option<ContractSigningKey>, ExitProblem> {
    path.map(|path| key(path, ContractSigningKey::read))
        .transpose()
}

/// The certificate of a guest image. Warns if it has expired or expires soon.
fn certificate(path: &Path) -> Result<Key, ExitProblem> {
    let cert = key(path, Key::read_certificate)?;
    if let Some(lifetime) = cert.lifetime {
        let (last, file) = (lifetime.last_day(), shown(path));
        match lifetime.days_left(SystemTime::now()) {
            None => output::warning(&format!(
                "{file} ended on {last}: an image that still takes it is as old"
            )),
            Some(days) if days < 30 => {
                output::warning(&format!("{file} ends on {last}: {days} days left"));
            }
            Some(_) => {}
        }
    }
    Ok(cert)
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
