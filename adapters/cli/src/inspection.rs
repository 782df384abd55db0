//! Reads journals as they are stored, damaged or not, without opening a fleet on them.
//!
//! What it never does: write, make a state directory, or wait for the process that has one.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use vsiflow_api::{
    JournalAnchor, JournalAudits, Problem, RemovedEvents, ReplaySummary, ReplayedJournal,
    VerifiedJournal,
};
use vsiflow_engine::{
    audit::{Audit, AuditAnchor, PublicKey, VerifyReport},
    blob::Blobs,
    clock::{Clock as _, SystemClock},
    journal::{ChainedJournal, DiskJournal, JournalError},
    replay::{Deviation, ReplayError, StateMismatch, Summary, replay},
    state_dir::StateDir,
};
use vsiflow_postgres::{PostgresBlobs, PostgresJournal};

use crate::{
    args::Common,
    compose::{self, App, database},
    daemon::api_problem,
    exit::ExitProblem,
    journal_file::{of_error, there},
    membership::SetPlace,
};

/// A journal that is opened for inspection only.
pub(crate) enum Inspection {
    /// This process opened it; no other process has it.
    OwnJournal(Box<OwnJournal>),
    /// The process that has it inspects it, for a caller.
    Held(Box<App>),
}

/// The journal as it is stored, damaged or not, and its blobs.
pub(crate) struct OwnJournal {
    journal_id: String,
    /// Its number in a set.
    number: Option<u16>,
    journal: Arc<dyn ChainedJournal>,
    blobs: Arc<dyn Blobs>,
    /// Its files, if it is in a state directory.
    files: Option<(StateDir, Arc<DiskJournal>)>,
}

impl Inspection {
    /// Opens the journal; never makes a state directory.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or another process has it (VSI0002).
    pub(crate) async fn at(common: &Common) -> Result<Self, ExitProblem> {
        if let Some(app) = App::held() {
            return Ok(Self::Held(Box::new(app)));
        }
        if let Some(address) = common.journal()? {
            let journal = PostgresJournal::open_to_read(address).await;
            let journal = Arc::new(journal.map_err(database::problem)?);
            return Ok(Self::OwnJournal(Box::new(OwnJournal {
                journal_id: journal.identity().journal_id.clone(),
                number: common.shard.as_ref().map(|shard| shard.number),
                blobs: Arc::new(PostgresBlobs::of(&journal)),
                journal,
                files: None,
            })));
        }
        let path = compose::state_path(common)?;
        there(&path)?;
        let state = compose::lock_to_read(common, &path).await?;
        let (journal, blobs) = (state.inspect().await?, state.blobs().await?);
        let journal = Arc::new(journal);
        Ok(Self::OwnJournal(Box::new(OwnJournal {
            journal_id: state.journal_id().to_owned(),
            number: None,
            journal: journal.clone(),
            blobs: Arc::new(blobs),
            files: Some((state, journal)),
        })))
    }

    /// The journal, for verification and export.
    pub(crate) fn audit(&self) -> Audit<'_> {
        match self {
            Self::Held(app) => app.audit(),
            Self::OwnJournal(own) => Audit {
                journal: &*own.journal,
                blobs: &*own.blobs,
                journal_id: &own.journal_id,
            },
        }
    }

    fn number(&self) -> Option<u16> {
        match self {
            Self::Held(app) => app.shard().map(|shard| shard.number),
            Self::OwnJournal(own) => own.number,
        }
    }

    /// Closes the journal, unless another part of this process uses it.
    pub(crate) async fn close(&self) {
        if let Self::OwnJournal(own) = self
            && let Some((_state, journal)) = &own.files
        {
            journal.close().await;
        }
    }

    async fn report(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<VerifyReport, JournalError> {
        match self {
            Self::Held(app) if anchor.is_none() && key.is_none() => app.verify().await,
            Self::Held(app) => app.verify_by(anchor, key).await,
            Self::OwnJournal(_) => self.audit().verify(anchor, key).await,
        }
    }

    async fn verified(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<VerifiedJournal, Problem> {
        let report = self.report(anchor, key).await;
        let report = report.map_err(|error| api_problem(&of_error(&error.into())))?;
        let removed = report.removed.iter().map(|removed| RemovedEvents {
            range: removed.range.to_string(),
            base: removed.base,
        });
        let violations = report.violations.iter().map(Problem::of_violation);
        Ok(VerifiedJournal {
            journal: self.number(),
            journal_id: self.audit().journal_id.to_owned(),
            events: report.records,
            batches: report.batches,
            streams: report.streams,
            blobs: report.blobs,
            bases: report.bases,
            removed: removed.collect(),
            violations: violations.collect(),
            stopped: report.stopped,
        })
    }

    async fn anchor(&self) -> Result<JournalAnchor, Problem> {
        let head = self.audit().head(SystemClock.now()).await;
        let head = head.map_err(|error| api_problem(&of_error(&error.into())))?;
        Ok(JournalAnchor {
            journal: self.number(),
            head: head.to_string(),
        })
    }

    async fn replayed(&self, verify: bool) -> Result<ReplayedJournal, Problem> {
        let replayed = replay(self.audit().journal, verify).await;
        let (summary, deviation) = match replayed {
            Ok(summary) => (Some(summary_of(&summary)), None),
            Err(ReplayError::Audit(error)) => return Err(api_problem(&of_error(&error))),
            Err(ReplayError::Deviation(deviation)) => (None, Some(of_deviation(&deviation))),
            Err(ReplayError::StateMismatch(mismatch)) => (None, Some(of_states(&mismatch))),
        };
        Ok(ReplayedJournal {
            journal: self.number(),
            summary,
            deviation,
        })
    }
}

#[async_trait]
impl JournalAudits for Inspection {
    async fn verify(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<Vec<VerifiedJournal>, Problem> {
        Ok(vec![self.verified(anchor, key).await?])
    }

    async fn anchors(&self) -> Result<Vec<JournalAnchor>, Problem> {
        Ok(vec![self.anchor().await?])
    }

    async fn replay(&self, verify: bool) -> Result<Vec<ReplayedJournal>, Problem> {
        Ok(vec![self.replayed(verify).await?])
    }
}

/// The journals of a set, each of which is opened when it is read.
pub(crate) struct SetInspection {
    place: SetPlace,
    common: Common,
}

impl SetInspection {
    pub(crate) fn new(place: SetPlace, common: &Common) -> Self {
        let common = common.clone();
        Self { place, common }
    }

    async fn opened(&self) -> Result<Vec<Inspection>, Problem> {
        let mut opened = Vec::new();
        for member in self.place.members(&self.common) {
            let inspection = Inspection::at(&member).await;
            opened.push(inspection.map_err(|problem| api_problem(&problem))?);
        }
        Ok(opened)
    }
}

#[async_trait]
impl JournalAudits for SetInspection {
    async fn verify(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<Vec<VerifiedJournal>, Problem> {
        let mut verified = Vec::new();
        for journal in self.opened().await? {
            // An anchor says nothing of another journal.
            let is_meant = anchor.is_none_or(|of| of.journal == journal.audit().journal_id);
            if is_meant {
                verified.push(journal.verified(anchor, key).await?);
            }
        }
        match (verified.is_empty(), anchor) {
            (true, Some(anchor)) => Err(of_no_journal(anchor)),
            _ => Ok(verified),
        }
    }

    async fn anchors(&self) -> Result<Vec<JournalAnchor>, Problem> {
        let mut anchors = Vec::new();
        for journal in self.opened().await? {
            anchors.push(journal.anchor().await?);
        }
        Ok(anchors)
    }

    async fn replay(&self, verify: bool) -> Result<Vec<ReplayedJournal>, Problem> {
        let mut replayed = Vec::new();
        for journal in self.opened().await? {
            replayed.push(journal.replayed(verify).await?);
        }
        Ok(replayed)
    }
}

fn of_no_journal(anchor: &AuditAnchor) -> Problem {
    let detail = format!("no journal of the set is {}", anchor.journal);
    let remedy = "name the set that the head is of";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "VSI0905", detail, remedy)
}

fn summary_of(summary: &Summary) -> ReplaySummary {
    let Summary {
        events,
        began,
        batches,
        entities,
        unsettled,
        succeeded,
        failed,
        cancelled,
        superseded,
        open,
    } = *summary;
    ReplaySummary {
        events,
        began,
        batches,
        entities,
        unsettled,
        succeeded,
        failed,
        cancelled,
        superseded,
        open,
    }
}

fn of_deviation(deviation: &Deviation) -> Problem {
    let Deviation {
        stream,
        seq,
        offset,
        expected,
        found,
    } = deviation;
    let detail = format!("expected {expected}; found {found}");
    let remedy = "run `vsiflow audit verify`; where that finds nothing, report this with an export";
    Problem {
        object: format!("{stream} #{seq} (offset {offset})"),
        ..Problem::new(StatusCode::CONFLICT, "VSI0906", detail, remedy)
    }
}

fn of_states(mismatch: &StateMismatch) -> Problem {
    let remedy = "remove the folder `index` of the state directory, which is computed again from the \
                  log; keep a copy of it, and report it";
    Problem::new(
        StatusCode::CONFLICT,
        "VSI0906",
        mismatch.to_string(),
        remedy,
    )
}
