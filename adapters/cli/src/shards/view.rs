//! All journals of a set, for whoever looks at them through this process: its own as they are, those of other processes as
//! they were a moment ago.
//!
//! A journal of another process is read anew once it goes further, at most every two seconds, and no more than a tenth of the
//! time; sooner by who changed something through the API. One process at a time reads for all who ask. What nobody asked for in a minute is forgotten. What somebody still
//! looks at stays open until they are done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use vsiflow_api::{ForwardedAnswer, ForwardedRequest, JournalSet, Problem};
use vsiflow_engine::executor::By;
use vsiflow_postgres::{seal::Sealer, shards::processes::JournalExtent};
use vsiflow_workflows::fleet::{ConsoleNote, Fleet, FleetError, Fleets};

use super::{SetPlace, api, consoles, failure::failed};
use crate::{
    args::Common,
    compose::{App, database},
    daemon,
    exit::ExitProblem,
};

/// What was looked at is as good as new for so long.
const SOON: Duration = Duration::from_millis(400);
/// Journals of other processes are read again no sooner.
const AGAIN: Duration = Duration::from_secs(2);
/// Nor sooner than so many times what reading them took.
const REST: u32 = 10;
/// What nobody asked for in so long is forgotten.
const IDLE: Duration = Duration::from_secs(60);

/// The journals that this process works on.
#[derive(Clone, Default)]
pub(super) struct HeldJournals(Arc<Mutex<BTreeMap<u16, App>>>);

/// One of them, as long as this process works on it.
pub(super) struct HeldJournalGuard {
    all: HeldJournals,
    number: u16,
}

impl HeldJournals {
    /// From now on this process works on a journal, until what is returned is dropped.
    pub(super) fn works_on(&self, number: u16, app: &App) -> HeldJournalGuard {
        self.lock().insert(number, app.clone());
        let all = self.clone();
        HeldJournalGuard { all, number }
    }

    fn fleet(&self, number: u16) -> Option<Fleet> {
        self.lock().get(&number).map(|app| app.fleet.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u16, App>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldJournalGuard {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

/// A journal of another process, as it was.
struct ViewedJournal {
    app: App,
    end: u64,
}

impl Drop for ViewedJournal {
    fn drop(&mut self) {
        let app = self.app.clone();
        // Outside of a runtime the process ends anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { app.close().await });
        }
    }
}

/// What was looked at last.
struct ShownFleets {
    fleets: Arc<Fleets>,
    others: BTreeMap<u16, Arc<ViewedJournal>>,
    /// Which journals were this process's.
    own: Vec<u16>,
    extents: Vec<JournalExtent>,
    /// When it was found to be as new as it may be.
    checked: Instant,
    /// When journals of others were read, and how long that took.
    read: Instant,
    took: Duration,
    used: Instant,
    /// Whether something was changed through this process since: who did sees it next.
    is_stale: bool,
}

/// All journals of a set, looked at through this process.
pub(super) struct SetView {
    place: SetPlace,
    common: Common,
    own: HeldJournals,
    sealer: Sealer,
    seen: AsyncMutex<Option<ShownFleets>>,
}

impl SetView {
    pub(super) fn new(place: SetPlace, common: &Common, own: HeldJournals, sealer: Sealer) -> Self {
        // What opening a journal tells is for who opens it.
        let common = Common {
            quiet: true,
            ..common.clone()
        };
        Self {
            place,
            common,
            own,
            sealer,
            seen: AsyncMutex::default(),
        }
    }

    /// Forgets what nobody asked for in a while.
    pub(super) fn tidy(&self) {
        // Somebody looks just now otherwise.
        if let Ok(mut seen) = self.seen.try_lock() {
            seen.take_if(|seen| seen.used.elapsed() > IDLE);
        }
    }

    /// What there is to be seen. A look that is given up leaves what was seen before.
    async fn refresh(&self) -> Result<Arc<Fleets>, ExitProblem> {
        let mut seen = self.seen.lock().await;
        let now = Instant::now();
        let own = self.numbers_of_own();
        if let Some(seen) = &mut *seen {
            seen.used = now;
            let is_new = !seen.is_stale && now.duration_since(seen.checked) < SOON;
            if seen.own == own && is_new {
                return Ok(seen.fleets.clone());
            }
        }
        let extents = self.place.set.extents().await;
        let extents = extents.map_err(database::problem)?;
        if let Some(seen) = &mut *seen {
            let rests = seen.read.elapsed() < AGAIN.max(seen.took.saturating_mul(REST));
            let rests = rests && !seen.is_stale;
            if seen.own == own && (rests || seen.is_as_new_as(&extents)) {
                (seen.checked, seen.is_stale) = (now, false);
                return Ok(seen.fleets.clone());
            }
        }
        let others = seen.as_ref().map(|seen| seen.others.clone());
        let read = self.read(own, extents, others.unwrap_or_default()).await?;
        let fleets = read.fleets.clone();
        *seen = Some(read);
        Ok(fleets)
    }

    fn numbers_of_own(&self) -> Vec<u16> {
        self.own.lock().keys().copied().collect()
    }

    /// Reads what goes further than it did.
    async fn read(
        &self,
        own: Vec<u16>,
        extents: Vec<JournalExtent>,
        before: BTreeMap<u16, Arc<ViewedJournal>>,
    ) -> Result<ShownFleets, ExitProblem> {
        let begun = Instant::now();
        let (mut others, mut fleets) = (BTreeMap::new(), Vec::new());
        for (number, extent) in (0..).zip(&extents) {
            if let Some(fleet) = self.own.fleet(number) {
                fleets.push(fleet);
                continue;
            }
            let known = before.get(&number).filter(|known| known.end >= extent.end);
            let viewed = match known {
                Some(known) => known.clone(),
                None => Arc::new(self.open(number).await?),
            };
            fleets.push(viewed.app.fleet.clone());
            others.insert(number, viewed);
        }
        let unheld = extents.iter().enumerate();
        let unheld = unheld.filter(|(_, extent)| !extent.is_held);
        let source: Vec<_> = others.values().cloned().collect();
        let fleets = App::as_one(fleets)?
            .with_unheld(unheld.map(|(number, _)| number))
            .read_from(Arc::new(source));
        let now = Instant::now();
        Ok(ShownFleets {
            fleets: Arc::new(fleets),
            others,
            own,
            extents,
            checked: now,
            read: now,
            took: now.duration_since(begun),
            used: now,
            is_stale: false,
        })
    }

    async fn open(&self, number: u16) -> Result<ViewedJournal, ExitProblem> {
        let member = self.place.member(&self.common, number, None);
        let app = Box::pin(App::open_to_read_at(&member)).await?;
        let end = app.fleet.history().end();
        Ok(ViewedJournal { app, end })
    }
}

impl ShownFleets {
    /// Whether nothing has come since: this process's own journals are always as they are.
    fn is_as_new_as(&self, extents: &[JournalExtent]) -> bool {
        let all = (0..).zip(self.extents.iter().zip(extents));
        all.into_iter().all(|(number, (before, now))| {
            let end = self.others.get(&number).map(|viewed| viewed.end);
            before.is_held == now.is_held && end.is_none_or(|end| end >= now.end)
        })
    }
}

#[async_trait]
impl JournalSet for SetView {
    async fn fleets(&self) -> Result<Arc<Fleets>, Problem> {
        let refreshed = Box::pin(self.refresh()).await;
        refreshed.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn answer(
        &self,
        journal: u16,
        request: ForwardedRequest,
    ) -> Result<ForwardedAnswer, Problem> {
        let answered = api::ask(&self.place.set, &self.sealer, journal, request).await;
        if let Some(seen) = &mut *self.seen.lock().await {
            seen.is_stale = true;
        }
        answered.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn note_console(
        &self,
        journal: u16,
        note: ConsoleNote,
        by: By,
    ) -> Result<(), FleetError> {
        let noted = consoles::note_by(&self.place.set, &self.sealer, journal, note, by).await;
        noted.map_err(|problem| failed(&problem))
    }
}
