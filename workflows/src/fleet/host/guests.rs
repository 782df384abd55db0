//! Watches guests that became ready: their consoles are read on, and their ports and agents are
//! asked again, slowly.

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

/// Guests of one host that are looked at at the same time.
const TOGETHER: usize = 8;

/// What was found of guests since they became ready. In memory only: whoever starts anew reads
/// their consoles again from where they became ready.
#[derive(Debug, Default)]
pub(in crate::fleet) struct GuestHealth {
    all: Mutex<HashMap<Uuid, GuestRecord>>,
}

#[derive(Clone, Debug)]
struct GuestRecord {
    host: String,
    /// The newest run that was over: one since may have started another guest.
    run: Option<RunId>,
    /// Where its console was read to when it became ready.
    ready: ConsolePosition,
    memory: ConsoleMemory,
    found: Vec<DriftFinding>,
}

impl GuestHealth {
    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, GuestRecord>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a look found of the guest that runs now; none where nobody has looked at it.
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
    /// What is wrong within the guest: by the newest look, else what is recorded.
    pub(in crate::fleet) fn of_guest(&self, known: &Known) -> Vec<DriftFinding> {
        let found = self.health.found(known.record.uid, &known.state);
        found.unwrap_or_else(|| {
            let recorded = known.state.state.as_ref();
            recorded.map_or_else(Vec::new, |(_, detail)| drift::of_guest_in(detail))
        })
    }

    /// Looks at the guests of one host again and again; where one changes, the host is looked at
    /// for it and that is recorded.
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
                // Meanwhile a run may have begun on some of them.
                let changed_vsis = self.watched_of(&changed).await?;
                self.scan_and_publish(host, changed_vsis, false, scans)
                    .await?;
            }
        }
    }

    /// Looks at the guests that are ready; those of which it found something else than before. A panic concerns this
    /// host, or one guest of it: those who look for drift tell of a host that cannot be read.
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
        // A host that does not answer is told by those who look for drift.
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
        let mut looks = std::pin::pin!(looks.buffer_unordered(TOGETHER));
        let mut changed = BTreeSet::new();
        while let Some(uid) = looks.next().await {
            changed.extend(uid?);
        }
        Ok(changed)
    }

    /// Its UID where it found something else than before.
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
        // Of one that cannot be asked nothing new is known.
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

    /// Where the console was read to when the guest became ready; where nobody watched its boot,
    /// the end that it has now.
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

    /// What is gone needs no memory.
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
        console: vsi_graph::console(record),
        cards: vsi_graph::cards(record),
        guest: record.vsi.guest_type(),
        probes: vsi_graph::probes(&record.vsi),
    }
}
