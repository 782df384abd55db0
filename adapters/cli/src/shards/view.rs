//! A view of all journals of a set through this process: its own journals are current, those of other
//! processes may be slightly older.
//!
//! A journal of another process is read again once it has new events, at most every 2 seconds and for no more
//! than a tenth of the time; sooner after a change through this process's API. One reading serves all callers
//! at the same time. A view that was not requested for a minute is dropped. Journals that a caller still uses
//! stay open until the caller is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use vsiflow_api::{ForwardedAnswer, ForwardedRequest, JournalSet, Problem, SetAnswer, SetWork};
use vsiflow_engine::executor::By;
use vsiflow_postgres::{seal::Sealer, shards::processes::JournalExtent};
use vsiflow_workflows::{
    fleet::{ConsoleNote, Fleet, FleetError, Fleets},
    kinds::ObjectKind,
};

use super::{SetPlace, api, claims, consoles, documents::DocumentSet, failure::failed};
use crate::{
    args::Common,
    compose::{App, database},
    daemon,
    exit::ExitProblem,
};

/// How long a view counts as current.
const SOON: Duration = Duration::from_millis(400);
/// The minimum time between two readings of other processes' journals.
const REREAD_DELAY: Duration = Duration::from_secs(2);
/// The minimum pause between readings, as a multiple of the last one's duration.
const REST_FACTOR: u32 = 10;
/// A view that was not requested for this long is dropped.
const IDLE: Duration = Duration::from_secs(60);

/// The journals that this process works on.
#[derive(Clone, Default)]
pub(super) struct HeldJournals(Arc<Mutex<BTreeMap<u16, App>>>);

/// Marks a journal as worked on until it is dropped.
pub(super) struct HeldJournalGuard {
    all: HeldJournals,
    number: u16,
}

impl HeldJournals {
    /// Records that this process works on a journal, until the returned guard is dropped.
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

/// A journal of another process, as it was last read.
struct ViewedJournal {
    app: App,
    end: u64,
}

impl Drop for ViewedJournal {
    fn drop(&mut self) {
        let app = self.app.clone();
        // Without a runtime the process is ending anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { app.close().await });
        }
    }
}

/// The last view of all journals.
struct ShownFleets {
    fleets: Arc<Fleets>,
    others: BTreeMap<u16, Arc<ViewedJournal>>,
    /// The numbers of the journals that this process worked on.
    own: Vec<u16>,
    extents: Vec<JournalExtent>,
    /// When the view was last found to be current.
    checked: Instant,
    /// When journals of other processes were last read, and how long that took.
    read: Instant,
    took: Duration,
    used: Instant,
    /// Whether something was changed through this process since; the next view must show it.
    is_stale: bool,
}

/// The view of all journals of a set through this process.
pub(super) struct SetView {
    place: SetPlace,
    common: Common,
    own: HeldJournals,
    sealer: Sealer,
    seen: AsyncMutex<Option<ShownFleets>>,
    /// The same of journal 0 alone, which has the tokens.
    with_tokens: AsyncMutex<Option<ShownFleets>>,
}

impl SetView {
    pub(super) fn new(place: SetPlace, common: &Common, own: HeldJournals, sealer: Sealer) -> Self {
        // Messages about opening a journal are not for the callers of the view.
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
            with_tokens: AsyncMutex::default(),
        }
    }

    /// Drops the view if it was not requested for a while.
    pub(super) fn tidy(&self) {
        for view in [&self.seen, &self.with_tokens] {
            // If it is locked, a caller is using it.
            if let Ok(mut seen) = view.try_lock() {
                seen.take_if(|seen| seen.used.elapsed() > IDLE);
            }
        }
    }

    /// The current view of the first journals, `most` of them. Cancel safe: the previous view is retained.
    async fn refresh(
        &self,
        view: &AsyncMutex<Option<ShownFleets>>,
        most: usize,
    ) -> Result<Arc<Fleets>, ExitProblem> {
        let mut seen = view.lock().await;
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
        let mut extents = extents.map_err(database::problem)?;
        extents.truncate(most);
        if let Some(seen) = &mut *seen {
            let rests =
                seen.read.elapsed() < REREAD_DELAY.max(seen.took.saturating_mul(REST_FACTOR));
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

    /// Reads the journals that have new events.
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

    /// Has the journals read anew at the next request: one of them has just been changed.
    async fn outdate(&self) {
        for view in [&self.seen, &self.with_tokens] {
            if let Some(seen) = &mut *view.lock().await {
                seen.is_stale = true;
            }
        }
    }

    async fn open(&self, number: u16) -> Result<ViewedJournal, ExitProblem> {
        let member = self.place.member(&self.common, number, None);
        let app = Box::pin(App::open_to_read_at(&member)).await?;
        let end = app.fleet.history().end();
        Ok(ViewedJournal { app, end })
    }
}

impl ShownFleets {
    /// Whether no events were added since. This process's own journals are always current.
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
        let refreshed = Box::pin(self.refresh(&self.seen, usize::MAX)).await;
        refreshed.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn with_tokens(&self) -> Result<Arc<Fleets>, Problem> {
        let refreshed = Box::pin(self.refresh(&self.with_tokens, 1)).await;
        refreshed.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn claimed_by(
        &self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<u16>, Problem> {
        let claimed = claims::journal_of(&self.place.set, kind, namespace, name).await;
        claimed.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn answer(
        &self,
        journal: u16,
        request: ForwardedRequest,
    ) -> Result<ForwardedAnswer, Problem> {
        let answered = api::ask(&self.place.set, &self.sealer, journal, request).await;
        self.outdate().await;
        answered.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn carry_out(&self, work: SetWork<'_>) -> Result<SetAnswer, Problem> {
        let fleets = self.fleets().await?;
        let set = DocumentSet {
            place: &self.place,
            common: &self.common,
            sealer: &self.sealer,
            fleets: &fleets,
        };
        let answered = Box::pin(set.carry_out(work)).await;
        self.outdate().await;
        answered
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
