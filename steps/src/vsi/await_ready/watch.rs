//! Watches a guest's console and probes during one attempt.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::time::{Instant, timeout_at};
use vsiflow_engine::{low_priority, model::Failure, step::StepContext};

use super::{
    Output, Params, WatchPlace,
    probes::{ProbeFound, Probes},
};
use crate::{
    error,
    hpl::{HplFinding, MessageKind, Scanner, cut, plain},
    ports::{ConsolePosition, HostPorts},
    vsi::start_domain,
};

const READ_MAX: u64 = 64 * 1024;
const POLL_MIN: Duration = Duration::from_millis(250);
const POLL_MAX: Duration = Duration::from_millis(750);
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Maximum number of bytes of a stored line: it is part of the checkpoint and of a failure, both small.
pub(super) const LINE_MAX: usize = 160;
/// Maximum number of bytes of all stored warnings.
const WARNINGS_MAX: usize = 800;

/// The state of one attempt.
pub(super) struct ReadyWatch<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) params: &'a Params,
    pub(super) ports: HostPorts,
    scanner: Scanner,
    pub(super) position: ConsolePosition,
    pub(super) warnings: Vec<String>,
    pub(super) phase: String,
    /// The newest line of an earlier attempt.
    last: String,
    decision: Option<HplFinding>,
    /// The line by which the guest reported that it is ready, while its probes are not met yet.
    pub(super) said_ready: Option<String>,
    pub(super) probes: Probes,
    reported_missing: String,
    deadline: Instant,
    saved: Instant,
}

impl<'a> ReadyWatch<'a> {
    pub(super) async fn resume(
        cx: &'a StepContext,
        params: &'a Params,
        ports: HostPorts,
    ) -> Result<Self, Failure> {
        let place = match cx.saved::<WatchPlace>().await? {
            Some(place) => place,
            None => WatchPlace {
                position: cx.output::<start_domain::Output>("start_domain")?.console,
                pending: String::new(),
                left_ms: params.deadline_s.saturating_mul(1000),
                warnings: Vec::new(),
                phase: String::new(),
                last: String::new(),
                said_ready: None,
                found: ProbeFound::default(),
            },
        };
        let probes = probes(params, place.found).await?;
        let now = Instant::now();
        let remaining = Duration::from_millis(place.left_ms);
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
            said_ready: place.said_ready,
            probes,
            reported_missing: String::new(),
            deadline: now.checked_add(remaining).unwrap_or(now),
            saved: now,
        })
    }

    pub(super) async fn save(&mut self) -> Result<(), Failure> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        self.saved = Instant::now();
        let place = WatchPlace {
            position: self.position,
            pending: BASE64.encode(self.scanner.pending()),
            left_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
            warnings: self.warnings.clone(),
            phase: self.phase.clone(),
            last: self.last_line(),
            said_ready: self.said_ready.clone(),
            found: self.probes.found(),
        };
        self.cx.save(&place).await
    }

    pub(super) async fn decide(&mut self) -> Result<Output, Failure> {
        let mut poll = POLL_MIN;
        let started = self.cx.output::<start_domain::Output>("start_domain")?;
        loop {
            // Read the state before the log: if the guest is off, the log then has everything it printed.
            let off = !self.is_active().await?;
            if started.taken_up && !off {
                return self.taken_up().await;
            }
            let has_read = self.read_all().await?;
            if off {
                self.finish_line().await;
            } else if !has_read {
                self.check_pending().await;
            }
            if let Some(finding) = self.decision.take() {
                return self.verdict(finding).await;
            }
            if let Some(why) = self.probes.failed() {
                return Err(self.fail(error::GUEST_SETUP, why));
            }
            if !off {
                self.probes.ask(&self.ports).await?;
            }
            if self.is_ready() {
                return self.probed().await;
            }
            if off {
                return Err(self.fail(error::BOOT_STOPPED, "the guest stopped before it was ready"));
            }
            if Instant::now() >= self.deadline {
                let seconds = self.params.deadline_s;
                let missing = self.missing();
                let words = format!("the guest was not ready after {seconds} s{missing}");
                return Err(self.fail(error::BOOT_DEADLINE, &words));
            }
            self.report_missing();
            self.save_now_and_then().await?;
            poll = if has_read {
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

    /// Reads all new bytes, up to the decision; returns whether there were any.
    async fn read_all(&mut self) -> Result<bool, Failure> {
        let mut has_read = false;
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
            has_read = true;
            // Before the work on it, which may take long.
            self.save_now_and_then().await?;
            let mut lines = Vec::new();
            self.scanner
                .push_lines(&chunk.bytes, |line| lines.push(line.to_owned()));
            self.position = chunk.next;
            lines.iter().for_each(|line| self.take_line(line));
            self.search(lines).await;
        }
        Ok(has_read)
    }

    /// Saves the checkpoint, unless it was saved recently or the boot is decided.
    async fn save_now_and_then(&mut self) -> Result<(), Failure> {
        if self.decision.is_none() && self.saved.elapsed() >= SAVE_EVERY {
            self.save().await
        } else {
            Ok(())
        }
    }

    /// The newest line that is not blank, of this attempt or an earlier one.
    pub(super) fn last_line(&self) -> String {
        match self.scanner.last_line() {
            line if line.is_empty() => self.last.clone(),
            line => cut(&line, LINE_MAX).to_owned(),
        }
    }

    /// Checks the unfinished line: a guest may print the decisive line without a line end, and then
    /// nothing more.
    async fn check_pending(&mut self) {
        let pending = plain(self.scanner.pending());
        let matched = timeout_at(self.deadline, self.probes.search_piece(pending));
        let _ = matched.await;
        let decisive =
            |finding: &HplFinding| matches!(finding.kind, MessageKind::Ready | MessageKind::Fatal);
        let counts = |finding: &HplFinding| self.counts(finding) && decisive(finding);
        let decisive_finding = self.scanner.pending_findings().into_iter().find(counts);
        if let Some(finding) = decisive_finding {
            self.take(finding);
        }
    }

    async fn finish_line(&mut self) {
        let mut lines = Vec::new();
        self.scanner.finish_line(|line| lines.push(line.to_owned()));
        lines.iter().for_each(|line| self.take_line(line));
        self.search(lines).await;
    }

    /// Matches the probes' expressions, until the deadline.
    async fn search(&mut self, lines: Vec<String>) {
        let _ = timeout_at(self.deadline, self.probes.search(lines)).await;
    }

    fn take_line(&mut self, line: &str) {
        if !self.probes.is_none() {
            self.probes.line(line);
        }
        for finding in HplFinding::all_of_line(line) {
            if self.counts(&finding) {
                self.take(finding);
            }
        }
    }

    /// Codes have a meaning only in a Hyper Protect guest; a kernel panic in any.
    fn counts(&self, finding: &HplFinding) -> bool {
        self.params.guest.is_hyper_protect() || finding.is_panic()
    }

    /// Whether the console and all probes show that the guest is ready.
    fn is_ready(&self) -> bool {
        let is_ready = !self.params.guest.is_hyper_protect() || self.said_ready.is_some();
        is_ready && !self.probes.is_none() && self.probes.is_met()
    }

    /// The probes that are not met yet, as the end of a sentence.
    fn missing(&self) -> String {
        match self.probes.missing() {
            missing if missing.is_empty() => String::new(),
            missing => format!("; it waited for {missing}"),
        }
    }

    /// Reports the probes it waits for whenever they change.
    fn report_missing(&mut self) {
        let missing = self.probes.missing();
        if !missing.is_empty() && missing != self.reported_missing {
            self.cx
                .report(&format!("booting: waits for {missing}"), 0, None);
            self.reported_missing = missing;
        }
    }

    fn take(&mut self, finding: HplFinding) {
        if let Some(phase) = finding.phase()
            && self.phase != phase
        {
            phase.clone_into(&mut self.phase);
            self.cx.report(&format!("booting: {phase}"), 0, None);
        }
        match finding.kind {
            MessageKind::Ready if !self.probes.is_none() => {
                self.said_ready.get_or_insert(finding.line);
            }
            MessageKind::Ready | MessageKind::Fatal => {
                self.decision.get_or_insert(finding);
            }
            MessageKind::Warning => {
                let line = cut(&finding.line, LINE_MAX);
                if self.warnings.last().is_none_or(|last| last != line) {
                    self.warnings.push(line.to_owned());
                }
                while self.warnings.iter().map(String::len).sum::<usize>() > WARNINGS_MAX {
                    self.warnings.remove(0);
                }
            }
            MessageKind::Note => {}
        }
    }
}

/// The probes. Their expressions are compiled on a thread of low priority.
async fn probes(params: &Params, found: ProbeFound) -> Result<Probes, Failure> {
    let params_of_probes = params.clone();
    let compile = move || Probes::resume(&params_of_probes, found);
    let ended = |error| Failure::defect(format!("compiling an expression ended: {error}"));
    low_priority::aside(compile).await.map_err(ended)
}
