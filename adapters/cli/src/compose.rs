//! Assembles the program: state directory, journal, engine, hosts and image sources.

mod borrowed;
pub(crate) mod bounds;
mod bundles;
pub(crate) mod console_marks;
pub(crate) mod database;
mod host_fence;
mod hosts;
mod images;
pub(crate) mod journal_key;
mod open;
mod remote;
pub(crate) mod retention;
mod shared_work;
mod state_lock;
mod stores;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::sync::broadcast;
use vsiflow_api::Moments;
use vsiflow_engine::{
    Notice,
    audit::{Audit, AuditAnchor, PublicKey, VerifyReport},
    backup::Backup,
    journal::JournalError,
    state_dir::StateDir,
};
use vsiflow_workflows::fleet::{Fleet, Fleets};

use crate::{exit::ExitProblem, membership::Membership};

use self::stores::{Origin, Stores};
pub(crate) use self::{
    bundles::AppliedBundles,
    images::sources_for,
    open::Right,
    shared_work::SharedWork,
    state_lock::{lock_to_read, open_state, state_path},
    stores::past_damage,
};

/// Everything that a command works with; clones share it. [`App::close`] closes it in order.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) fleet: Fleet,
    inner: Arc<AppInner>,
    /// Whether it belongs to the process that opened the state directory, and not to this command.
    borrowed: bool,
}

struct AppInner {
    stores: Stores,
    origin: Origin,
    notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    state: Mutex<Option<StateDir>>,
    path: PathBuf,
    stays: bool,
    /// The membership in a set of journals, if any.
    shard: Option<Membership>,
    /// The view of the cluster that is served.
    view: OnceLock<vsiflow_kube::View>,
    /// The verification of the journal, which callers share.
    verification: SharedWork<Result<VerifyReport, JournalError>>,
    /// Views of the past, which callers share.
    moments: Arc<Moments>,
}

impl App {
    /// The engine's notices since it was opened. Only the first call returns the earliest ones.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Notice> {
        if self.borrowed {
            return self.fleet.notices();
        }
        let mut notices = self
            .inner
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        notices.take().unwrap_or_else(|| self.fleet.notices())
    }

    /// Sets the view of the cluster that is served.
    pub(crate) fn see(&self, view: vsiflow_kube::View) {
        let _ = self.inner.view.set(view);
    }

    /// The view of the cluster that is served, if any.
    pub(crate) fn view(&self) -> Option<&vsiflow_kube::View> {
        self.inner.view.get()
    }

    /// The journal, for verification and export.
    pub(crate) fn audit(&self) -> Audit<'_> {
        Audit {
            journal: &*self.inner.stores.journal,
            blobs: &*self.inner.stores.blobs,
            journal_id: &self.inner.origin.journal_id,
        }
    }

    /// Verifies the journal, without a head that is stored elsewhere. Callers who ask at the same time share
    /// one verification.
    ///
    /// # Errors
    /// When the journal cannot be read at all, or holds records of a newer format.
    pub(crate) async fn verify(&self) -> Result<VerifyReport, JournalError> {
        let audit = self.audit();
        let work = Box::pin(audit.verify(None, None));
        self.inner.verification.result(work).await
    }

    /// Verifies the journal with a head that is stored elsewhere, or a key: for this caller alone, and not beside
    /// another verification.
    ///
    /// # Errors
    /// As for [`App::verify`].
    pub(crate) async fn verify_by(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<VerifyReport, JournalError> {
        let audit = self.audit();
        let work = Box::pin(audit.verify(anchor, key));
        self.inner.verification.alone(work).await
    }

    /// The parts of a backup.
    pub(crate) fn backup(&self) -> Backup<'_> {
        Backup {
            audit: self.audit(),
            secrets: &*self.inner.stores.secrets,
            incarnation: self.inner.origin.incarnation,
        }
    }

    /// The fleets of all journals combined; journal 0 is the first.
    pub(crate) fn all_fleets(apps: &[Self]) -> Result<Fleets, ExitProblem> {
        Self::as_one(apps.iter().map(|app| app.fleet.clone()))
    }

    /// These fleets combined; journal 0 is the first.
    pub(crate) fn as_one(fleets: impl IntoIterator<Item = Fleet>) -> Result<Fleets, ExitProblem> {
        let mut fleets = fleets.into_iter();
        let decides = fleets.next();
        let decides = decides.ok_or_else(|| ExitProblem::defect("a set has no journal"))?;
        Ok(Fleets::of(decides, fleets))
    }

    /// Views of the past, which callers share.
    pub(crate) fn moments(&self) -> &Arc<Moments> {
        &self.inner.moments
    }

    /// The path of the state directory.
    pub(crate) fn state_path(&self) -> &Path {
        &self.inner.path
    }

    /// The membership in a set of journals, if any.
    pub(crate) fn shard(&self) -> Option<&Membership> {
        self.inner.shard.as_ref()
    }

    /// Whether the process that has the state directory is a daemon.
    pub(crate) fn stays(&self) -> bool {
        self.inner.stays
    }

    /// Stops the engine, closes the journal and releases the state directory. Work in progress
    /// resumes at the next start.
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

    /// Closes all of them at the end of a command that has read everything into `read`. Freeing that memory
    /// takes a good part of the time that reading took, so a thread does it.
    pub(crate) async fn end(all: Vec<Self>, read: impl Send + 'static) {
        for app in &all {
            app.close().await;
        }
        // If no thread can be started, the memory is freed here.
        let freeing = std::thread::Builder::new().spawn(move || drop((all, read)));
        drop(freeing);
    }

    /// The journal's files, for commands that work on them; `None` if it is in a database.
    pub(crate) fn files(&self) -> Option<&vsiflow_engine::journal::DiskJournal> {
        self.inner.stores.backend.files()
    }
}
