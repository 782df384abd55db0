//! Checks guests after they became ready: what their consoles report since, and whether they still
//! answer.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use super::{Addresses, Card, await_ready::probes::probe_again};
use crate::{
    guest::{GuestType, Probe},
    hpl::{HplFinding, MessageKind, Scanner, cut},
    ports::{ConsolePosition, HostPorts, PortResult, VolumeKey},
};

const READ_MAX: u64 = 64 * 1024;
/// Maximum number of reads of one console in one check; the next check continues.
const READS_MAX: usize = 16;
/// Maximum number of bytes of a stored line.
const LINE_MAX: usize = 160;
/// One lost answer is no trouble: the probe is asked again after this pause.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A guest that became ready.
#[derive(Clone, Debug)]
pub struct ReadyGuest {
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The VSI's namespace.
    pub namespace: String,
    /// The host's ID.
    pub host: String,
    /// The console log.
    pub console: VolumeKey,
    /// Its network cards.
    pub cards: Vec<Card>,
    /// The type of guest.
    pub guest: GuestType,
    /// The probes that showed that it was ready.
    pub probes: Vec<Probe>,
}

/// The state of a guest's console between two checks.
#[derive(Clone, Debug, Default)]
pub struct ConsoleMemory {
    position: ConsolePosition,
    scanner: Scanner,
    failure: Option<HealthFailure>,
}

#[derive(Clone, Debug)]
struct HealthFailure {
    line: String,
    panic: bool,
}

impl ConsoleMemory {
    /// The state of a console that was read up to `position`.
    pub fn from(position: ConsolePosition) -> Self {
        Self {
            position,
            ..Self::default()
        }
    }
}

/// A problem of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestTrouble {
    /// The source: `console`, or the probe.
    pub what: String,
    /// The line, or why there was no answer.
    pub found: String,
}

impl ReadyGuest {
    /// Whether the probe can stop being met: an agent or a port that answered.
    fn is_lasting(probe: &&Probe) -> bool {
        matches!(probe, Probe::Agent {} | Probe::Tcp(_) | Probe::Http { .. })
    }

    /// Checks the guest and returns its current problems. It changes nothing on the host.
    ///
    /// A failure on the console lasts until the guest reports that it is ready again. A kernel panic also
    /// ends if a later check finds that all of its ports and its agent answer.
    ///
    /// # Errors
    /// When no call on the host can succeed, or the console cannot be read: then nothing is known.
    pub async fn inspect(
        &self,
        ports: &HostPorts,
        memory: &mut ConsoleMemory,
    ) -> PortResult<Vec<GuestTrouble>> {
        let failed_before = memory.failure.as_ref().is_some_and(|failure| failure.panic);
        let panicked = self.read_on(ports, memory).await?;
        let mut trouble = self.probe(ports).await?;
        let answers = self.probes.iter().any(|probe| Self::is_lasting(&probe));
        if failed_before && !panicked && answers && trouble.is_empty() {
            memory.failure = None;
        }
        if let Some(failure) = &memory.failure {
            let (what, found) = ("console".to_owned(), failure.line.clone());
            trouble.insert(0, GuestTrouble { what, found });
        }
        Ok(trouble)
    }

    /// Reads the new part of the console; returns whether a kernel panicked in it.
    async fn read_on(&self, ports: &HostPorts, memory: &mut ConsoleMemory) -> PortResult<bool> {
        let mut panicked = false;
        for _ in 0..READS_MAX {
            let chunk = ports
                .console
                .read(&self.console, memory.position, READ_MAX)
                .await?;
            memory.position = chunk.next;
            if chunk.bytes.is_empty() {
                break;
            }
            let mut findings = Vec::new();
            memory
                .scanner
                .push(&chunk.bytes, |finding| findings.push(finding));
            for finding in findings {
                panicked |= finding.is_panic();
                self.take(finding, memory);
            }
        }
        Ok(panicked)
    }

    fn take(&self, finding: HplFinding, memory: &mut ConsoleMemory) {
        let panic = finding.is_panic();
        if !panic && !self.guest.is_hyper_protect() {
            return;
        }
        match finding.kind {
            MessageKind::Fatal => {
                let line = cut(&finding.line, LINE_MAX).to_owned();
                memory.failure = Some(HealthFailure { line, panic });
            }
            MessageKind::Ready => memory.failure = None,
            MessageKind::Warning | MessageKind::Note => {}
        }
    }

    async fn probe(&self, ports: &HostPorts) -> PortResult<Vec<GuestTrouble>> {
        let lasting: Vec<_> = self.probes.iter().filter(Self::is_lasting).collect();
        if lasting.is_empty() {
            return Ok(Vec::new());
        }
        let addresses = Addresses::on(ports).of(self.uuid, &self.cards).await;
        let mut trouble = Vec::new();
        for probe in lasting {
            let ask = || probe_again(ports, self.uuid, &addresses, probe);
            let mut why = ask().await?;
            if why.is_some() {
                sleep(RETRY_DELAY).await;
                why = ask().await?;
            }
            trouble.extend(why.map(|why| GuestTrouble {
                what: probe.to_string(),
                found: why,
            }));
        }
        Ok(trouble)
    }
}
