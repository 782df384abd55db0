//! Puts everything together: state directory, journal, engine, hosts and image sources.

mod borrowed;
pub(crate) mod bounds;
mod bundles;
pub(crate) mod console_marks;
pub(crate) mod database;
mod hosts;
mod images;
pub(crate) mod journal_key;
mod open;
mod remote;
pub(crate) mod retention;
mod state_lock;
mod stores;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::sync::broadcast;
use vsiflow_engine::{Notice, audit::Audit, backup::Backup, state_dir::StateDir};
use vsiflow_workflows::fleet::{Fleet, Fleets, Moment};

use crate::{exit::ExitProblem, output, shards::Membership};

use self::stores::{Origin, Stores};
pub(crate) use self::{
    bundles::AppliedBundles,
    images::sources_for,
    open::Right,
    state_lock::{lock_to_read, open_state, state_path},
    stores::past_damage,
};

/// Everything a command works with; clones share it. [`App::close`] ends it in order.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) fleet: Fleet,
    inner: Arc<AppInner>,
    /// It belongs to the command that opened the state directory, not to this one.
    borrowed: bool,
}

struct AppInner {
    stores: Stores,
    origin: Origin,
    notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    state: Mutex<Option<StateDir>>,
    path: PathBuf,
    stays: bool,
    /// Which journal of a set it is, if it is of one.
    shard: Option<Membership>,
    /// What is seen of the cluster that is served.
    view: OnceLock<vsiflow_kube::View>,
}

impl App {
    /// The engine's notices since it was opened; they can be taken once.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Notice> {
        if self.borrowed {
            return self.fleet.notices();
        }
        let mut kept = self
            .inner
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.take().unwrap_or_else(|| self.fleet.notices())
    }

    /// A cluster is served: this is what is seen of it.
    pub(crate) fn see(&self, view: vsiflow_kube::View) {
        let _ = self.inner.view.set(view);
    }

    /// What is seen of the cluster that is served, if one is.
    pub(crate) fn view(&self) -> Option<&vsiflow_kube::View> {
        self.inner.view.get()
    }

    /// The journal, to be proved and exported.
    pub(crate) fn audit(&self) -> Audit<'_> {
        Audit {
            journal: &*self.inner.stores.journal,
            blobs: &*self.inner.stores.blobs,
            journal_id: &self.inner.origin.journal_id,
        }
    }

    /// What a backup is made of.
    pub(crate) fn backup(&self) -> Backup<'_> {
        Backup {
            audit: self.audit(),
            secrets: &*self.inner.stores.secrets,
            incarnation: self.inner.origin.incarnation,
        }
    }

    /// The fleet as it was at a moment, which is said; as it is, where none is asked for.
    pub(crate) async fn fleet_at(&self, moment: Option<Moment>) -> Result<Fleet, ExitProblem> {
        let Some(moment) = moment else {
            return Ok(self.fleet.clone());
        };
        let own = self.inner.shard.as_ref().map(|shard| shard.number);
        let moment = match moment {
            Moment::Event { journal, offset } if Some(journal) == own => Moment::Offset(offset),
            moment => moment,
        };
        let fleet = self.fleet.at(moment).await?;
        if let Some((offset, time)) = fleet.history().newest_event().await? {
            output::note(&format!("as of offset {offset}, {time}"));
        }
        Ok(fleet)
    }

    /// The fleets of all journals as one, that of journal 0 first.
    pub(crate) fn all_fleets(apps: &[Self]) -> Result<Fleets, ExitProblem> {
        Self::as_one(apps.iter().map(|app| app.fleet.clone()))
    }

    /// These fleets as one, that of journal 0 first.
    pub(crate) fn as_one(fleets: impl IntoIterator<Item = Fleet>) -> Result<Fleets, ExitProblem> {
        let mut fleets = fleets.into_iter();
        let decides = fleets.next();
        let decides = decides.ok_or_else(|| ExitProblem::defect("a set has no journal"))?;
        Ok(Fleets::of(decides, fleets))
    }

    /// The fleets of all journals as one, as they were at a moment, which is said; as they are, where none is asked for.
    pub(crate) async fn fleets_at(
        apps: &[Self],
        moment: Option<Moment>,
    ) -> Result<Fleets, ExitProblem> {
        if let [app] = apps {
            return Ok(app.fleet_at(moment).await?.into());
        }
        let fleets = Self::all_fleets(apps)?;
        let Some(moment) = moment else {
            return Ok(fleets);
        };
        let past = fleets.at(moment).await?;
        if let Some((_, time)) = past.newest_event().await? {
            output::note(&format!("as of {time} in {} journals", apps.len()));
        }
        Ok(past)
    }

    /// Where the state is.
    pub(crate) fn state_path(&self) -> &Path {
        &self.inner.path
    }

    /// Which journal of a set it is, if it is of one.
    pub(crate) fn shard(&self) -> Option<&Membership> {
        self.inner.shard.as_ref()
    }

    /// Whether the holder of the state directory is a daemon.
    pub(crate) fn stays(&self) -> bool {
        self.inner.stays
    }

    /// Ends the engine, closes the journal and lets go of the state directory. What is under way
    /// continues at the next start.
    pub(crate) async fn close(&self) {
        if self.borrowed {
            return;
        }
        self.inner.stores.backend.wait_no_more();
        self.fleet.close().await;
        self.inner.stores.backend.close().await;
        let state = self.inner.state.lock();
        drop(state.unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The same of all of them at the end of a command that has read everything, into `read`: to free that
    /// takes a good part of the time that reading it took, and nobody has to wait for it.
    pub(crate) async fn end(all: Vec<Self>, read: impl Send + 'static) {
        for app in &all {
            app.close().await;
        }
        // Without a thread it is freed here.
        let freeing = std::thread::Builder::new().spawn(move || drop((all, read)));
        drop(freeing);
    }

    /// The journal's files, for what commands do to them; none where it is kept elsewhere.
    pub(crate) fn files(&self) -> Option<&vsiflow_engine::journal::DiskJournal> {
        self.inner.stores.backend.files()
    }
}
