//! The result of a boot, with what the user can do about it.

use vsiflow_engine::model::Failure;

use super::{
    Output,
    probes::cloud_init,
    watch::{LINE_MAX, ReadyWatch},
};
use crate::{
    error,
    hpl::{HplFinding, MessageKind, cut},
    vsi::{
        ready_report::{self, Addresses},
        start_domain,
    },
};

/// The code that follows any failure of a service.
const SOMETHING_FAILED: &str = "HPL10000E";
/// The remedy if the console of a running guest is empty.
const SILENT: &str =
    "Check on the host that virtlogd runs and that the image boots, then `vsiflow retry`.";

/// Maximum number of bytes of the line or answers that showed that a guest is ready.
const READY_MAX: usize = 512;

/// The ready line of a guest that resumed its saved memory: it was ready before.
const RESUMED: &str = "resumed from its saved memory";

impl ReadyWatch<'_> {
    pub(super) async fn taken_up(&self) -> Result<Output, Failure> {
        self.ready(RESUMED.to_owned()).await
    }

    /// The result when the probes are met.
    pub(super) async fn probed(&self) -> Result<Output, Failure> {
        let ready = self.said_ready.iter().cloned();
        let answers = ready.chain([self.probes.met_by()]).collect::<Vec<_>>();
        self.ready(cut(&answers.join("; "), READY_MAX).to_owned())
            .await
    }

    async fn ready(&self, ready_line: String) -> Result<Output, Failure> {
        let started = self.cx.output::<start_domain::Output>("start_domain")?;
        let (ports, log, begin) = (&self.ports, &self.params.console, started.console);
        let booted = (started.booted_because)
            .map(|why| format!("it booted without its snapshot's memory: {why}"));
        Ok(Output {
            ready_line,
            warnings: self
                .warnings
                .iter()
                .chain(self.probes.warnings())
                .cloned()
                .chain(booted)
                .collect(),
            console: self.position,
            console_tail: ready_report::console_tail(ports, log, begin, self.position).await,
            addresses: Addresses::on(ports)
                .of(self.params.uuid, &self.params.cards)
                .await,
        })
    }

    pub(super) async fn verdict(&self, finding: HplFinding) -> Result<Output, Failure> {
        if finding.kind == MessageKind::Ready {
            return self.ready(finding.line).await;
        }
        let line = cut(&finding.line, LINE_MAX);
        let failure = self.fail(error::BOOT_FATAL, &format!("{} {line}", finding.meaning()));
        // If the code only says that something failed, the remedy of the last warning is more helpful.
        let warned = failure.remedy.as_str() != error::BOOT_FATAL.remedy;
        Err(match finding.remedy() {
            "" => failure,
            _ if warned && finding.code == SOMETHING_FAILED => failure,
            remedy => failure.with_remedy(remedy),
        })
    }

    /// A failed boot: what happened, how far it was, and the last warning, which often has the reason.
    pub(super) fn fail(&self, code: error::Code, what: &str) -> Failure {
        let mut words = what.to_owned();
        if code != error::BOOT_FATAL && code != error::GUEST_SETUP {
            words.push_str(&self.boot_progress());
        }
        let warning = self.warnings.last();
        if let Some(line) = warning {
            words.push_str("; before that: ");
            words.push_str(line);
        }
        let of_setup = code.remedy.replace("user-data", cloud_init::input_of(what));
        let remedy = match warning.and_then(|line| HplFinding::of_line(line)) {
            Some(finding) if !finding.remedy().is_empty() => finding.remedy(),
            _ if code == error::GUEST_SETUP => &of_setup,
            _ if self.last_line().is_empty() && code == error::BOOT_DEADLINE => SILENT,
            _ => code.remedy,
        };
        code.failure(words)
            .with_remedy(remedy)
            .on_host(self.ports.host.name())
            .of_object(format!("domain {}", self.params.uuid))
    }

    /// How far the boot was when it ended or stopped making progress.
    fn boot_progress(&self) -> String {
        let last = self.last_line();
        match (self.phase.as_str(), last.as_str()) {
            (_, "") => "; its console is empty".to_owned(),
            ("", last) => format!("; its last line: {last}"),
            (phase, last) => format!("; it was at: {phase}; its last line: {last}"),
        }
    }
}
