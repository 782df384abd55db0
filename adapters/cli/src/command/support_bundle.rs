//! `support-bundle`: packs what a supporter needs to see into one file, without secrets.
//!
//! It changes nothing and does not contact hosts. The process that has the state directory answers its
//! queries. Secrets are never gathered, and everything gathered is still searched for every secret in the
//! state directory ([`masking`]).

mod masking;
mod pack;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use vsiflow_engine::clock::{Clock as _, SystemClock};
use vsiflow_workflows::kinds::{ObjectKind, TableQuery};

use self::masking::Masking;
use super::doctor;
use crate::{
    args::{Common, SupportBundleArgs},
    compose, daemon,
    exit::{CommandOutcome, Exit, ExitProblem, IN_USE},
    inspection::Inspection,
    journal_file::{of_error, there},
    output, service,
    user_file::{input, unreadable},
    work,
};

/// The kinds of objects that are listed in the bundle.
const KINDS: [ObjectKind; 6] = [
    ObjectKind::Vsi,
    ObjectKind::Pool,
    ObjectKind::Disk,
    ObjectKind::Image,
    ObjectKind::Host,
    ObjectKind::Run,
];
/// How many bytes of the end of a daemon's log are packed.
const LOG: usize = 4 << 20;
/// A journal with more stored bytes than this is left out.
const JOURNAL: u64 = 512 << 20;
/// The journal's file name in the bundle.
const EXPORT: &str = "journal.jsonl";

/// What is packed.
#[derive(Default)]
struct BundleContents {
    files: Vec<(String, Vec<u8>)>,
    /// What could not be read, and why.
    missing: Vec<String>,
}

impl BundleContents {
    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.push((name.to_owned(), bytes.into()));
    }

    fn note_missing(&mut self, name: &str, why: &str) {
        output::warning(&format!("{name} is left out: {why}"));
        self.missing.push(format!("{name}: {why}"));
    }
}

pub(super) async fn run(common: &Common, args: SupportBundleArgs) -> CommandOutcome {
    let state = compose::state_path(common)?;
    there(&state)?;
    let path = std::path::absolute(&args.file).map_err(|error| unreadable(&args.file, &error))?;
    let folder = state.clone();
    let masking = work::off_runtime(move || Masking::of_state(&folder)).await?;
    let masking = masking.map_err(|error| unreadable(&state.join("secrets"), &error))?;
    let mut contents = BundleContents::default();
    gather(common, &state, &mut contents).await?;
    if let Some(log) = &args.log {
        contents.add("daemon.log", end_of(log).await?);
    }
    for (_, bytes) in &mut contents.files {
        *bytes = masking.masked(bytes);
    }
    match journal(common, &state).await {
        // Not masked: a changed line would not verify.
        Ok(export) if masking.is_clean(&export) => contents.add(EXPORT, export),
        Ok(_) => contents.note_missing(
            EXPORT,
            "it holds a secret, which is a defect; please report this",
        ),
        Err(why) => contents.note_missing(EXPORT, &why),
    }
    let missing = masking.masked(contents.missing.join("\n").as_bytes());
    contents.add("missing.txt", missing);
    let count = contents.files.len();
    work::off_runtime(move || pack::write(&path, contents.files)).await??;
    output::line(&format!("{count} files are in {}", args.file.display()));
    output::note(
        "read it before you send it: names, addresses and console output of guests are in it",
    );
    Ok(Exit::Done)
}

async fn gather(
    common: &Common,
    state: &Path,
    contents: &mut BundleContents,
) -> Result<(), ExitProblem> {
    let checks = doctor::checks(common).await?;
    contents.add("doctor.txt", doctor::page(&checks));
    contents.add("versions.txt", versions(state).await);
    contents.add("config.json", pretty(&config(common, state))?);
    for kind in KINDS {
        let name = format!("{}.json", kind.word());
        let listed = service::objects(common, kind, TableQuery::default()).await;
        match listed.and_then(|objects| pretty(&output::list(&objects))) {
            Ok(list) => contents.add(&name, list),
            Err(problem) => contents.note_missing(&name, &problem_text(&problem)),
        }
    }
    Ok(())
}

fn problem_text(problem: &ExitProblem) -> String {
    format!("{} ({})", problem.message, problem.code)
}

fn pretty(value: &Value) -> Result<Vec<u8>, ExitProblem> {
    serde_json::to_vec_pretty(value).map_err(ExitProblem::defect)
}

/// The versions of vsiflow, of its journal and of the operating system.
async fn versions(state: &Path) -> String {
    let format = tokio::fs::read_to_string(state.join("FORMAT")).await;
    let release = tokio::fs::read_to_string("/etc/os-release").await;
    let release = release.unwrap_or_default();
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!(
        "vsiflow {}\n{} {} {}\n{}\njournal {}\n",
        env!("CARGO_PKG_VERSION"),
        text(system.sysname()),
        text(system.release()),
        text(system.machine()),
        name.unwrap_or("").trim_matches('"'),
        format.unwrap_or_default().trim(),
    )
}

/// The effective settings. An address is reduced to what leads to the machine; of a secret setting only its
/// presence is packed.
fn config(common: &Common, state: &Path) -> Value {
    let host = common
        .host
        .as_deref()
        .map(|host| match url::Url::parse(host) {
            Ok(url) => json!({
                "scheme": url.scheme(),
                "host": url.host_str(),
                "port": url.port(),
            }),
            Err(_) => json!("not readable"),
        });
    let settings = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let setting = name.strip_prefix("VSIFLOW_")?;
        let is_plain = ["STATE", "RETENTION", "LOG", "LOG_FORMAT", "READ_ONLY"].contains(&setting);
        let shown = if is_plain {
            value.to_string_lossy().into_owned()
        } else {
            "(set)".to_owned()
        };
        Some((name, json!(shown)))
    });
    let environment: std::collections::BTreeMap<_, _> = settings.collect();
    let retention = common.retention.0.map(humantime::format_duration);
    json!({
        "state": state.display().to_string(),
        "host": host,
        "retention": retention.map_or("never".to_owned(), |time| time.to_string()),
        "environment": environment,
    })
}

/// The end of a log; `-` is standard input.
async fn end_of(path: &Path) -> Result<Vec<u8>, ExitProblem> {
    let mut log = input(path).await?;
    let (mut end, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let read = log.read(&mut piece).await;
        let length = read.map_err(|error| unreadable(path, &error))?;
        if length == 0 {
            break;
        }
        end.extend(piece.iter().take(length));
        let more = end.len().saturating_sub(LOG);
        // Rare enough that moving the rest costs little.
        if more > LOG {
            end.drain(..more);
        }
    }
    let more = end.len().saturating_sub(LOG);
    end.drain(..more);
    Ok(end)
}

/// The journal's export, or why there is none.
async fn journal(common: &Common, state: &Path) -> Result<Vec<u8>, String> {
    let log = state.to_owned();
    let stored = work::off_runtime(move || stored(&log)).await;
    if stored.unwrap_or(0) > JOURNAL {
        return Err("it is too long; `vsiflow audit export FILE` writes it".to_owned());
    }
    match export(common).await {
        Err(problem) if problem.code == IN_USE => {
            let words = ["vsiflow", "audit", "export", "-"].map(str::to_owned);
            let printed = daemon::ask(state, words.to_vec()).await;
            let printed = printed.map_err(|failure| problem_text(&failure))?;
            printed.ok_or_else(|| {
                "the process that uses the state directory does not answer".to_owned()
            })
        }
        done => done.map_err(|problem| problem_text(&problem)),
    }
}

async fn export(common: &Common) -> Result<Vec<u8>, ExitProblem> {
    let inspection = Inspection::at(common).await?;
    let mut export = Vec::new();
    let exported = inspection
        .audit()
        .export(&mut export, SystemClock.now())
        .await;
    inspection.close().await;
    exported.map_err(|error| of_error(&error))?;
    Ok(export)
}

/// How many bytes the journal uses on disk. Blocks.
fn stored(state: &Path) -> u64 {
    let folders: [PathBuf; 2] = ["log", "archive"].map(|folder| state.join(folder));
    let entries = folders
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten();
    let lengths = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    lengths.sum()
}
