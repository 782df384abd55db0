//! Watches the guest's console until the boot is decided.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    step::{Done, Observed, Step, StepContext},
};

use super::{
    ready_report::{self, Addresses, Card},
    start_domain,
};
use crate::{
    error,
    hpl::{Finding, Kind, Scanner, cut},
    ports::{ConsolePosition, HostPorts, Hosts, VolumeKey},
};

const READ_MAX: u64 = 64 * 1024;
const POLL_MIN: Duration = Duration::from_millis(250);
const POLL_MAX: Duration = Duration::from_millis(750);
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// What is kept of a line, in bytes: it goes into the checkpoint and into a failure, both small.
const LINE_KEPT: usize = 160;
/// What is kept of all warnings, in bytes.
const WARNINGS_MAX: usize = 800;
/// The code that follows after whatever failed.
const SOMETHING_FAILED: &str = "HPL10000E";
/// What is said where a guest that runs says nothing.
const SILENT: &str =
    "See on the host that virtlogd runs and that the image boots by itself, then `vsiflow retry`.";

/// Reads the console from where the boot began and ends when the guest is ready, has failed, has
/// stopped, or has used up its time.
///
/// It changes nothing on the host. Its checkpoint holds the position, the unfinished line and the
/// time that is left; after a crash the next attempt goes on there. Time counts while it watches,
/// by the monotonic clock: neither a restart nor a jump of the wall clock ends a boot early.
pub struct MonitorConsole {
    hosts: Arc<dyn Hosts>,
}

/// What [`MonitorConsole`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The console's log.
    pub console: VolumeKey,
    /// Seconds until a boot that is not decided counts as failed.
    pub deadline_s: u64,
    /// The guest's network cards, to learn its addresses.
    #[serde(default)]
    pub cards: Vec<Card>,
}

/// What [`MonitorConsole`] saw of a guest that became ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The line by which the guest said so.
    pub ready_line: String,
    /// Lines with codes that people should see; the last few of them.
    pub warnings: Vec<String>,
    /// Where the console was read to.
    pub console: ConsolePosition,
    /// The end of the console, at most 16 KiB of text without control characters.
    #[serde(default)]
    pub console_tail: String,
    /// The addresses that the networks gave to the guest.
    #[serde(default)]
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    position: ConsolePosition,
    /// The line that has not ended yet, in base64.
    pending: String,
    left_ms: u64,
    warnings: Vec<String>,
    /// The part of the boot that was seen last.
    #[serde(default)]
    phase: String,
    /// The newest line that has ended.
    #[serde(default)]
    last: String,
}

impl MonitorConsole {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for MonitorConsole {
    const NAME: &'static str = "monitor_console";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut watch = Watch::resume(cx, params, ports).await?;
        watch.save().await?;
        let decided = tokio::select! {
            biased;
            decided = watch.decide() => decided,
            () = cx.stopped.cancelled() => {
                Err(error::OUTCOME_UNKNOWN.failure("the watch was stopped before the boot was decided"))
            }
        };
        // What decided a boot is read again until its decision is recorded: only an attempt that
        // ended without one saves how far it came.
        if decided
            .as_ref()
            .is_err_and(|failure| failure.class != FailureClass::Failed)
        {
            watch.save().await?;
        }
        decided.map(Done::present)
    }
}

/// One attempt's watch over one console.
struct Watch<'a> {
    cx: &'a StepContext,
    params: &'a Params,
    ports: HostPorts,
    scanner: Scanner,
    position: ConsolePosition,
    warnings: Vec<String>,
    phase: String,
    /// The newest line of an earlier attempt.
    last: String,
    decision: Option<Finding>,
    deadline: Instant,
    saved: Instant,
}

impl<'a> Watch<'a> {
    async fn resume(
        cx: &'a StepContext,
        params: &'a Params,
        ports: HostPorts,
    ) -> Result<Self, Failure> {
        let place = match cx.saved::<Place>().await? {
            Some(place) => place,
            None => Place {
                position: cx.output::<start_domain::Output>("start_domain")?.console,
                pending: String::new(),
                left_ms: params.deadline_s.saturating_mul(1000),
                warnings: Vec::new(),
                phase: String::new(),
                last: String::new(),
            },
        };
        let now = Instant::now();
        let left = Duration::from_millis(place.left_ms);
        Ok(Self {
            cx,
            params,
            ports,
            scanner: Scanner::resume(BASE64.decode(place.pending).unwrap_or_default()),
            position: place.position,
            warnings: place.warnings,
            phase: place.phase,
            last: place.last,
            decision: None,
            deadline: now.checked_add(left).unwrap_or(now),
            saved: now,
        })
    }

    async fn save(&mut self) -> Result<(), Failure> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.saved = Instant::now();
        let place = Place {
            position: self.position,
            pending: BASE64.encode(self.scanner.pending()),
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            warnings: self.warnings.clone(),
            phase: self.phase.clone(),
            last: self.last_line(),
        };
        self.cx.save(&place).await
    }

    async fn decide(&mut self) -> Result<Output, Failure> {
        let mut poll = POLL_MIN;
        loop {
            // The state is read before the log: of a guest found off, all it said is there.
            let off = !self.is_active().await?;
            let read = self.read_all().await?;
            if off {
                self.finish_line();
            } else if !read {
                self.look_at_pending();
            }
            if let Some(finding) = self.decision.take() {
                return self.verdict(finding).await;
            }
            if off {
                return Err(self.fail(error::BOOT_STOPPED, "the guest stopped before it was ready"));
            }
            if Instant::now() >= self.deadline {
                let words = format!("the guest was not ready after {} s", self.params.deadline_s);
                return Err(self.fail(error::BOOT_DEADLINE, &words));
            }
            self.save_now_and_then().await?;
            poll = if read {
                POLL_MIN
            } else {
                poll.saturating_mul(2).min(POLL_MAX)
            };
            tokio::time::sleep_until(self.deadline.min(Instant::now() + poll)).await;
        }
    }

    async fn is_active(&self) -> Result<bool, Failure> {
        let domain = self.ports.domains.domain(self.params.uuid).await?;
        Ok(domain.is_some_and(|domain| domain.state.is_active()))
    }

    /// Reads what there is, up to the decision; says whether there was anything.
    async fn read_all(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        while self.decision.is_none() && Instant::now() < self.deadline {
            let chunk = self
                .ports
                .console
                .read(&self.params.console, self.position, READ_MAX)
                .await?;
            if chunk.bytes.is_empty() {
                self.position = chunk.next;
                break;
            }
            any = true;
            let mut found = Vec::new();
            self.scanner
                .push(&chunk.bytes, |finding| found.push(finding));
            self.position = chunk.next;
            found.into_iter().for_each(|finding| self.take(finding));
            self.save_now_and_then().await?;
        }
        Ok(any)
    }

    /// Saves, unless that was done a moment ago or the boot is decided.
    async fn save_now_and_then(&mut self) -> Result<(), Failure> {
        match self.decision.is_none() && self.saved.elapsed() >= SAVE_EVERY {
            true => self.save().await,
            false => Ok(()),
        }
    }

    /// The newest line with anything in it, of this attempt or an earlier one.
    fn last_line(&self) -> String {
        match self.scanner.last_line() {
            line if line.is_empty() => self.last.clone(),
            line => cut(&line, LINE_KEPT).to_owned(),
        }
    }

    /// A guest that said something decisive without a line end, and then nothing more.
    fn look_at_pending(&mut self) {
        let decisive = |finding: &Finding| matches!(finding.kind, Kind::Ready | Kind::Fatal);
        let found = self.scanner.pending_findings().into_iter().find(decisive);
        self.decision = self.decision.take().or(found);
    }

    fn finish_line(&mut self) {
        let mut found = Vec::new();
        self.scanner.finish(|finding| found.push(finding));
        found.into_iter().for_each(|finding| self.take(finding));
    }

    fn take(&mut self, finding: Finding) {
        if let Some(phase) = finding.phase()
            && self.phase != phase
        {
            phase.clone_into(&mut self.phase);
            self.cx.report(&format!("booting: {phase}"), 0, None);
        }
        match finding.kind {
            Kind::Ready | Kind::Fatal => {
                self.decision.get_or_insert(finding);
            }
            Kind::Warning => {
                let line = cut(&finding.line, LINE_KEPT);
                if self.warnings.last().is_none_or(|last| last != line) {
                    self.warnings.push(line.to_owned());
                }
                while self.warnings.iter().map(String::len).sum::<usize>() > WARNINGS_MAX {
                    self.warnings.remove(0);
                }
            }
            Kind::Note => {}
        }
    }

    async fn verdict(&self, finding: Finding) -> Result<Output, Failure> {
        if finding.kind == Kind::Ready {
            let begin = self
                .cx
                .output::<start_domain::Output>("start_domain")?
                .console;
            let (ports, log) = (&self.ports, &self.params.console);
            return Ok(Output {
                ready_line: finding.line,
                warnings: self.warnings.clone(),
                console: self.position,
                console_tail: ready_report::console_tail(ports, log, begin, self.position).await,
                addresses: Addresses::on(ports)
                    .of(self.params.uuid, &self.params.cards)
                    .await,
            });
        }
        let line = cut(&finding.line, LINE_KEPT);
        let failure = self.fail(error::BOOT_FATAL, &format!("{} {line}", finding.meaning()));
        // Of a code that only says "something failed", the last warning knows better what to do.
        let warned = failure.remedy.as_str() != error::BOOT_FATAL.remedy;
        Err(match finding.remedy() {
            "" => failure,
            _ if warned && finding.code == SOMETHING_FAILED => failure,
            remedy => failure.with_remedy(remedy),
        })
    }

    /// A failed boot: what happened, how far it was, and the last warning, which often says why.
    fn fail(&self, code: error::Code, what: &str) -> Failure {
        let mut words = what.to_owned();
        if code != error::BOOT_FATAL {
            words.push_str(&self.standing());
        }
        let warning = self.warnings.last();
        if let Some(line) = warning {
            words.push_str("; before that: ");
            words.push_str(line);
        }
        let remedy = match warning.and_then(|line| Finding::of_line(line)) {
            Some(finding) if !finding.remedy().is_empty() => finding.remedy(),
            _ if self.last_line().is_empty() && code == error::BOOT_DEADLINE => SILENT,
            _ => code.remedy,
        };
        code.failure(words)
            .with_remedy(remedy)
            .on_host(self.ports.host.name())
            .of_object(format!("domain {}", self.params.uuid))
    }

    /// How far the boot was when it ended or stood still.
    fn standing(&self) -> String {
        let last = self.last_line();
        match (self.phase.as_str(), last.as_str()) {
            (_, "") => "; its console said nothing".to_owned(),
            ("", last) => format!("; its last line: {last}"),
            (phase, last) => format!("; it was at: {phase}; its last line: {last}"),
        }
    }
}
