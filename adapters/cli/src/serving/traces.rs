//! Sends runs as OpenTelemetry traces while they are recorded: `serve --otlp-endpoint`.

use std::{convert::Infallible, path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use vsiflow_engine::journal::Offset;
use vsiflow_otlp::{
    Collector, CollectorAccess, CollectorAddress, OtlpError,
    follow::{self, ExportNotice},
};
use vsiflow_workflows::fleet::Fleet;

use crate::{
    compose::App,
    exit::{Exit, ExitProblem},
    output,
};

/// The file in the state directory that records up to which offset the daemon sent to which collector.
const POSITION: &str = "traces.json";
/// How far back a process that takes a journal of a set sends again: longer than a take-over lasts.
const TAKEN_OVER: Duration = Duration::from_secs(600);

/// The offset of the first event within that time; the first of all if the journal is younger.
pub(crate) async fn before(fleet: &Fleet, since: Duration) -> Result<Offset, ExitProblem> {
    let since = SignedDuration::try_from(since).ok();
    let after = since.and_then(|since| Timestamp::now().checked_sub(since).ok());
    let Some(after) = after else { return Ok(0) };
    let after = u64::try_from(after.as_millisecond()).unwrap_or(0);
    let (mut low, mut high) = (0, fleet.history().end());
    while low < high {
        let middle = low.midpoint(high);
        let found = fleet.history().recorded(middle, 1).await?;
        match found.first() {
            Some(record) if record.event.at.0 < after => low = record.offset.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The collector at an address, with the headers and the certificate that the environment names.
pub(crate) fn collector(app: &App, endpoint: &CollectorAddress) -> Result<Collector, ExitProblem> {
    let instance = app.state_path().display().to_string();
    Collector::new(endpoint.clone(), &instance, access()?).map_err(|why| untaken(&why))
}

/// Headers; those for traces take precedence over those for everything, as in OpenTelemetry.
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
/// A file with headers, because other processes of this user can read the environment.
const HEADERS_FILE: &str = "VSIFLOW_OTLP_HEADERS_FILE";
/// A file with the certificate authority of the collector.
const CERTIFICATE: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];

/// The headers and the certificate for the collector, from the environment.
fn access() -> Result<CollectorAccess, ExitProblem> {
    let mut access = CollectorAccess::default();
    if let Some((name, path)) = variable(&[HEADERS_FILE]) {
        let text = std::fs::read_to_string(&path).map_err(|error| unusable(name, &error))?;
        access = access
            .with_headers(&text)
            .map_err(|error| unusable(name, &error))?;
    } else if let Some((name, text)) = variable(&HEADERS) {
        access = access
            .with_headers(&text)
            .map_err(|error| unusable(name, &error))?;
    }
    if let Some((name, path)) = variable(&CERTIFICATE) {
        let pem = std::fs::read(&path).map_err(|error| unusable(name, &error))?;
        access = access
            .with_authorities(&pem)
            .map_err(|error| unusable(name, &error))?;
    }
    Ok(access)
}

/// The first of these variables that is set and not empty.
fn variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    let set = names
        .iter()
        .map(|name| (*name, std::env::var(name).unwrap_or_default()));
    set.into_iter().find(|(_, value)| !value.is_empty())
}

fn unusable(name: &str, why: &dyn std::fmt::Display) -> ExitProblem {
    let message = format!("{name} cannot be used: {why}");
    let remedy = "set it as docs/how-to/traces.md says, or unset it";
    ExitProblem::new(Exit::Usage, "VSI0782", message, remedy)
}

/// The error of a collector that takes no spans.
pub(crate) fn untaken(why: &OtlpError) -> ExitProblem {
    let remedy = "see that the collector runs and takes OTLP over HTTP there, then export again: what it has already is not doubled";
    ExitProblem::new(Exit::Failed, "VSI0781", why.to_string(), remedy)
}

/// Sends recorded events as long as the process runs, if a collector is named.
pub(crate) async fn keep(app: &App, endpoint: Option<&CollectorAddress>) -> ExitProblem {
    let Some(endpoint) = endpoint else {
        return std::future::pending().await;
    };
    let collector = match collector(app, endpoint) {
        Ok(collector) => collector,
        Err(problem) => return problem,
    };
    let first = match first(app).await {
        Ok(first) => first,
        Err(problem) => return problem,
    };
    let position = app.state_path().join(POSITION);
    match sent(&app.fleet, &collector, (&position, first)).await {}
}

/// The offset to begin at without a stored position. In a set the previous process may have sent until a
/// moment ago, and its position is not stored here.
async fn first(app: &App) -> Result<Offset, ExitProblem> {
    if app.shard().is_some() {
        before(&app.fleet, TAKEN_OVER).await
    } else {
        Ok(app.fleet.history().end())
    }
}

async fn sent(fleet: &Fleet, collector: &Collector, position: (&Path, Offset)) -> Infallible {
    follow::follow(fleet, collector, position, |progress| match progress {
        ExportNotice::Away(why) => output::warning(&format!(
            "traces wait, since {} takes none now: {why}",
            collector.endpoint()
        )),
        ExportNotice::Back => output::note(&format!(
            "traces are sent to {} again",
            collector.endpoint()
        )),
        ExportNotice::Refused(why) => output::warning(&format!("traces are left out: {why}")),
        ExportNotice::Trouble(why) => output::warning(&format!("traces wait: {why}")),
    })
    .await;
    // The engine ended, which ends the caller too.
    std::future::pending().await
}
