//! Watches guests that became ready: continues to read their consoles, and slowly repeats the checks of
//! their ports and agents.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::{sync::mpsc, time::sleep};
use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityState, RunId},
    step::Step as _,
};
use vsiflow_steps::{
    ports::{ConsolePosition, HostPorts},
    vsi::{AwaitReady, ConsoleMemory, ReadyGuest},
};

use super::watch::{HostScan, ReadOfHost};
use crate::{
    drift::{self, DriftFinding},
    fleet::{Fleet, FleetError, index::Known},
    phase::Phase,
    vsi_graph,
};

/// How many guests of one host are scanned at the same time.
const CONCURRENT_GUESTS: usize = 8;

/// What scans found about guests since they became ready. In memory only: a new process reads their
/// consoles again from where they became ready.
#[derive(Debug, Default)]
pub(in crate::fleet) struct GuestHealth {
    all: Mutex<HashMap<Uuid, GuestRecord>>,
}

#[derive(Clone, Debug)]
struct GuestRecord {
    host: String,
    /// The newest run that had ended. A later run may have started another guest.
    run: Option<RunId>,
    /// The console position when the guest became ready.
    ready: ConsolePosition,
    memory: ConsoleMemory,
    found: Vec<DriftFinding>,
}

impl GuestHealth {
    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, GuestRecord>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a scan found about the guest that runs now; `None` if it was not scanned.
    fn found(&self, uid: Uuid, state: &EntityState) -> Option<Vec<DriftFinding>> {
        let all = self.all();
        let record = all.get(&uid)?;
        (record.run == newest(state)).then(|| record.found.clone())
    }
}

fn newest(state: &EntityState) -> Option<RunId> {
    state.runs.last().copied()
}

impl Fleet {
    /// What is wrong inside the guest: from the newest scan, else from the recorded state.
    pub(in crate::fleet) fn of_guest(&self, known: &Known) -> Vec<DriftFinding> {
        let found = self.health.found(known.record.uid, &known.state);
        found.unwrap_or_else(|| {
            let recorded = known.state.state.as_ref();
            recorded.map_or_else(Vec::new, |(_, detail)| drift::of_guest_in(detail))
        })
    }

    /// Scans the guests of one host again and again. If a guest changed, the host is scanned for it and the
    /// result is recorded.
    pub(in crate::fleet) async fn watch_guests(
        &self,
        host: &str,
        every: Duration,
        read: &ReadOfHost,
        scans: &mpsc::Sender<HostScan>,
    ) -> Result<Infallible, FleetError> {
        loop {
            sleep(every).await;
            let known = self.watched_on(host, read).await?;
            let changed = self.scan_guests(host, known).await?;
            if !changed.is_empty() {
                // A run may have begun on some of them in the meantime.
                let changed_vsis = self.watched_of(&changed).await?;
                self.scan_and_publish(host, changed_vsis, false, scans)
                    .await?;
            }
        }
    }

    /// Scans the guests that are ready and returns those with other findings than before. A panic concerns
    /// only this host, or one guest of it; the drift scan reports a host that cannot be read.
    pub(in crate::fleet) async fn scan_guests(
        &self,
        host: &str,
        known: Vec<Known>,
    ) -> Result<BTreeSet<Uuid>, FleetError> {
        let scanned = AssertUnwindSafe(self.scan_ready(host, known)).catch_unwind();
        scanned.await.unwrap_or_else(|_| {
            tracing::error!(host, "a look at its guests panicked");
            Ok(BTreeSet::new())
        })
    }

    async fn scan_ready(
        &self,
        host: &str,
        mut known: Vec<Known>,
    ) -> Result<BTreeSet<Uuid>, FleetError> {
        known.retain(|known| matches!(known.phase(), Phase::Running | Phase::Degraded));
        self.forget_others(host, &known);
        // The drift scan reports a host that does not answer.
        let Ok(ports) = self.hosts.host(host).await else {
            return Ok(BTreeSet::new());
        };
        let ports = &ports;
        let looks = stream::iter(known).map(|known| async move {
            let scanned = AssertUnwindSafe(self.scan_guest(ports, &known)).catch_unwind();
            scanned.await.unwrap_or_else(|_| {
                tracing::error!(host, vsi = known.label(), "a look at the guest panicked");
                Ok(None)
            })
        });
        let mut looks = std::pin::pin!(looks.buffer_unordered(CONCURRENT_GUESTS));
        let mut changed = BTreeSet::new();
        while let Some(uid) = looks.next().await {
            changed.extend(uid?);
        }
        Ok(changed)
    }

    /// Scans one guest and returns its UID if the findings differ from before.
    async fn scan_guest(
        &self,
        ports: &HostPorts,
        known: &Known,
    ) -> Result<Option<Uuid>, FleetError> {
        let (uid, before) = (known.record.uid, self.of_guest(known));
        let Some(ready) = self.ready_at(ports, known).await? else {
            return Ok(None);
        };
        let record = self.health.all().get(&uid).cloned();
        let mut memory = match record.filter(|record| record.ready == ready) {
            Some(record) => record.memory,
            None => ConsoleMemory::from(ready),
        };
        // Nothing new is known about a guest that cannot be asked.
        let Ok(trouble) = guest(known).inspect(ports, &mut memory).await else {
            return Ok(None);
        };
        let found: Vec<_> = trouble
            .iter()
            .map(|trouble| drift::of_guest(&trouble.what, &trouble.found))
            .collect();
        let what = |findings: &[DriftFinding]| -> Vec<String> {
            findings.iter().map(|one| one.what.clone()).collect()
        };
        let is_news = what(&found) != what(&before);
        let health = GuestRecord {
            host: known.record.vsi.host.clone(),
            run: newest(&known.state),
            ready,
            memory,
            found,
        };
        self.health.all().insert(uid, health);
        Ok(is_news.then_some(uid))
    }

    /// The console position when the guest became ready. If its boot was not watched, the current end of
    /// the console.
    async fn ready_at(
        &self,
        ports: &HostPorts,
        known: &Known,
    ) -> Result<Option<ConsolePosition>, FleetError> {
        let output = self.output_of(AwaitReady::NAME, &known.state).await?;
        let position = output.get("console").cloned().unwrap_or_default();
        if let Ok(position) = serde_json::from_value(position) {
            return Ok(Some(position));
        }
        let seen = self.health.all().get(&known.record.uid).map(|r| r.ready);
        let end = async { ports.console.end(&vsi_graph::console(&known.record)).await };
        Ok(match seen {
            Some(seen) => Some(seen),
            None => end.await.ok(),
        })
    }

    /// Drops the findings of guests that are no longer on the host.
    fn forget_others(&self, host: &str, known: &[Known]) {
        let there: BTreeSet<_> = known.iter().map(|known| known.record.uid).collect();
        let mut all = self.health.all();
        all.retain(|uid, health| there.contains(uid) || health.host != host);
    }
}

fn guest(known: &Known) -> ReadyGuest {
    let record = &known.record;
    ReadyGuest {
        uuid: record.uid,
        namespace: record.vsi.namespace.clone(),
        host: record.vsi.host.clone(),
        console: vsi_graph::console(record),
        cards: vsi_graph::cards(record),
        guest: record.vsi.guest_type(),
        probes: vsi_graph::probes(&record.vsi),
    }
}
