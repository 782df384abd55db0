//! `doctor`: checks what works and what does not, on one page, with remedies.
//!
//! It changes nothing and does not contact hosts. It looks at the state directory, at the process that has
//! it, and at the records.

mod clock;

use std::{collections::BTreeMap, fmt::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_api::TableRequest;
use vsiflow_postgres::{JournalAddress, findings};
use vsiflow_workflows::kinds::{ObjectKind, TableQuery};

use crate::{
    args::{Common, DoctorArgs, OutputFormat},
    compose, daemon,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service, work,
    work::ask,
};

/// Less free space than this is a problem, in bytes. vsiflow stops taking new work before that.
const ROOM: u64 = 1 << 30;
/// How many of the affected objects are named.
const NAMED: usize = 5;

/// The kinds whose records are checked, beside tokens.
const CHECKED: [ObjectKind; 7] = [
    ObjectKind::Vsi,
    ObjectKind::Host,
    ObjectKind::Image,
    ObjectKind::Snapshot,
    ObjectKind::Disk,
    ObjectKind::Pool,
    ObjectKind::Group,
];

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Warning,
    Bad,
}

/// One line of the page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DoctorCheck {
    what: &'static str,
    grade: Grade,
    found: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: String,
}

impl DoctorCheck {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        let (grade, found, remedy) = (Grade::Ok, found.into(), String::new());
        Self {
            what,
            grade,
            found,
            remedy,
        }
    }

    fn not(what: &'static str, grade: Grade, found: impl Into<String>, remedy: &str) -> Self {
        let (found, remedy) = (found.into(), remedy.to_owned());
        Self {
            what,
            grade,
            found,
            remedy,
        }
    }
}

pub(super) async fn run(common: &Common, args: DoctorArgs) -> CommandOutcome {
    let all = checks(common).await?;
    print(&all, args.output)?;
    let worst = all.iter().map(|checked| checked.grade).max();
    Ok(match worst {
        Some(Grade::Bad) => Exit::Failed,
        _ => Exit::Done,
    })
}

/// Runs all checks.
pub(super) async fn checks(common: &Common) -> Result<Vec<DoctorCheck>, ExitProblem> {
    let state = compose::state_path(common)?;
    let mut all = vec![DoctorCheck::ok("version", env!("CARGO_PKG_VERSION"))];
    if let Some(address) = common.journal()? {
        all.extend(of_database(address).await);
        all.push(of_holder(&state));
        all.extend(of_records(common).await);
        return Ok(all);
    }
    let folder = state.clone();
    all.extend(work::off_runtime(move || of_folder(&folder)).await?);
    if state.join("FORMAT").is_file() {
        all.push(of_holder(&state));
        all.extend(of_records(common).await);
    }
    Ok(all)
}

fn print(all: &[DoctorCheck], format: Option<OutputFormat>) -> Result<(), ExitProblem> {
    match format {
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => output::print(
            &json!({"kind": "Doctor", "status": {"checks": all}}),
            format,
        ),
        _ => {
            output::line(page(all).trim_end());
            Ok(())
        }
    }
}

/// The page as text.
pub(super) fn page(all: &[DoctorCheck]) -> String {
    let mut page = String::new();
    for DoctorCheck {
        what,
        grade,
        found,
        remedy,
    } in all
    {
        let grade = match grade {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Bad => "bad",
        };
        let _ = writeln!(page, "{grade:<8}{what:<18}{found}");
        if !remedy.is_empty() {
            let _ = writeln!(page, "{:26}next: {remedy}", "");
        }
    }
    page
}

/// Checks the state directory, its free space and its permissions. Blocks.
fn of_folder(state: &Path) -> Vec<DoctorCheck> {
    const WHAT: &str = "state directory";
    let shown = state.display();
    let meta = match std::fs::metadata(state) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![DoctorCheck::ok(
                WHAT,
                format!("{shown} is not there yet; the first command makes it"),
            )];
        }
        Err(error) => {
            let remedy = "run as the user whose it is, or name another with --state";
            return vec![DoctorCheck::not(
                WHAT,
                Grade::Bad,
                format!("{shown}: {error}"),
                remedy,
            )];
        }
        Ok(meta) => meta,
    };
    if !state.join("FORMAT").is_file() {
        let remedy = "name the state directory with --state";
        let found = format!("{shown} is not a state directory");
        return vec![DoctorCheck::not(WHAT, Grade::Bad, found, remedy)];
    }
    let open_to_others = meta.permissions().mode() & 0o077 != 0;
    let rights = if open_to_others {
        let remedy = format!("chmod 700 {shown}");
        DoctorCheck::not(
            WHAT,
            Grade::Warning,
            format!("{shown} is open to other users"),
            &remedy,
        )
    } else {
        DoctorCheck::ok(WHAT, shown.to_string())
    };
    vec![rights, of_room(state)]
}

fn of_room(state: &Path) -> DoctorCheck {
    const WHAT: &str = "room";
    let free = match rustix::fs::statvfs(state) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return DoctorCheck::not(WHAT, Grade::Warning, error.to_string(), "see `df`"),
    };
    let found = format!("{} MiB free", free >> 20);
    if free < ROOM {
        let remedy = "make room, or compact the journal with `vsiflow compact`";
        DoctorCheck::not(WHAT, Grade::Bad, found, remedy)
    } else {
        DoctorCheck::ok(WHAT, found)
    }
}

/// Checks the durability settings of the journal's database server.
async fn of_database(address: &JournalAddress) -> Vec<DoctorCheck> {
    const WHAT: &str = "database";
    let found = match findings::of(address).await {
        Ok(found) => found,
        Err(error) => {
            let (found, remedy) = (format!("{}: {error}", error.code()), error.remedy());
            return vec![DoctorCheck::not(WHAT, Grade::Bad, found, remedy)];
        }
    };
    let mut all = vec![DoctorCheck::ok(WHAT, address.to_string())];
    all.extend(found.into_iter().map(|found| match found.remedy {
        None => DoctorCheck::ok(WHAT, found.text),
        Some(remedy) => {
            let grade = if found.grave {
                Grade::Bad
            } else {
                Grade::Warning
            };
            DoctorCheck::not(WHAT, grade, found.text, remedy)
        }
    }));
    all
}

fn of_holder(state: &Path) -> DoctorCheck {
    const WHAT: &str = "daemon";
    if daemon::is_answering(state) {
        DoctorCheck::ok(WHAT, "answers")
    } else {
        DoctorCheck::not(
            WHAT,
            Grade::Warning,
            "none answers: nothing is worked on between two commands",
            "run `vsiflow serve`, as a service",
        )
    }
}

/// Checks the records, as far as they can be read.
async fn of_records(common: &Common) -> Vec<DoctorCheck> {
    let by_kind = match by_kind(common).await {
        Ok(by_kind) => by_kind,
        Err(problem) => {
            let found = format!("{}: {}", problem.code, problem.message);
            return vec![DoctorCheck::not(
                "journal",
                Grade::Bad,
                found,
                &problem.remedy,
            )];
        }
    };
    // Without them the times of the other records still show a clock that was set back.
    let tokens = ask::tokens(common).await.unwrap_or_default();
    let mut times = clock::times("token", &tokens);
    for (kind, records) in &by_kind {
        times.extend(clock::times(kind, records));
    }
    let of_kind = |kind| by_kind.get(kind).map_or(&[][..], Vec::as_slice);
    let (vsis, hosts) = (of_kind("vsi"), of_kind("host"));
    let clock = clock::of_clock(times, Timestamp::now());
    let mut checks = vec![of_journal(vsis), clock, of_vsis(vsis)];
    checks.extend(hosts.iter().map(of_host));
    checks
}

/// All objects by the words of their kinds.
async fn by_kind(common: &Common) -> Result<BTreeMap<&'static str, Vec<Value>>, ExitProblem> {
    let query = TableQuery {
        objects: true,
        ..TableQuery::default()
    };
    let requests = CHECKED.map(|kind| TableRequest::now(kind, query.clone()));
    let lists = service::call_all(common, &requests).await?.into_iter();
    let by_kind = CHECKED.iter().zip(lists);
    let by_kind = by_kind.map(|(kind, listed)| (kind.word(), listed.table.into_objects()));
    Ok(by_kind.collect())
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

fn of_journal(vsis: &[Value]) -> DoctorCheck {
    const WHAT: &str = "journal";
    let unreadable = named(vsis, |phase| phase == "Unreadable");
    if unreadable.is_empty() {
        DoctorCheck::ok(WHAT, "can be read; `vsiflow audit verify` proves it")
    } else {
        DoctorCheck::not(
            WHAT,
            Grade::Bad,
            format!("cannot be read of {}", unreadable.join(", ")),
            "`vsiflow describe` of each says why; `vsiflow audit verify` names the damage",
        )
    }
}

fn named(vsis: &[Value], is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let meant = vsis
        .iter()
        .filter(|vsi| is_meant(text(vsi, "/status/phase")));
    let mut names: Vec<_> = meant
        .map(|vsi| {
            work::label(
                text(vsi, "/metadata/namespace"),
                text(vsi, "/metadata/name"),
            )
        })
        .collect();
    if names.len() > NAMED {
        let more = names.split_off(NAMED).len();
        names.push(format!("{more} more"));
    }
    names
}

fn of_vsis(vsis: &[Value]) -> DoctorCheck {
    const WHAT: &str = "vsis";
    let wrong = named(vsis, |phase| {
        ["Failed", "Blocked", "Degraded"].contains(&phase)
    });
    if wrong.is_empty() {
        DoctorCheck::ok(WHAT, format!("{}, none failed or blocked", vsis.len()))
    } else {
        DoctorCheck::not(
            WHAT,
            Grade::Warning,
            format!("{}; failed or blocked: {}", vsis.len(), wrong.join(", ")),
            "`vsiflow describe` of each says why and what to do",
        )
    }
}

fn of_host(host: &Value) -> DoctorCheck {
    const WHAT: &str = "host";
    let (name, status) = (text(host, "/metadata/name"), text(host, "/status/status"));
    if status.starts_with("NotReady") {
        let found = format!("{name} does not answer: {}", text(host, "/status/message"));
        return DoctorCheck::not(
            WHAT,
            Grade::Bad,
            found,
            &format!("`vsiflow host check {name}`"),
        );
    }
    if host.pointer("/status/insecure") == Some(&Value::Bool(true)) {
        let found = format!("{name}: any host key is accepted");
        let remedy = "give KNOWN_HOSTS in the place of INSECURE_SKIP_HOST_KEY";
        return DoctorCheck::not(WHAT, Grade::Warning, found, remedy);
    }
    DoctorCheck::ok(WHAT, format!("{name}: {status}"))
}
