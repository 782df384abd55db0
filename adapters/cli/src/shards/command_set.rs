//! All journals of a set, for the requests of one command: it reads them, and their holders do what is asked.

use std::sync::Arc;

use async_trait::async_trait;
use vsiflow_api::{ForwardedAnswer, ForwardedRequest, JournalSet, Problem, SetAnswer, SetWork};
use vsiflow_engine::executor::By;
use vsiflow_postgres::seal::Sealer;
use vsiflow_workflows::{
    fleet::{ConsoleNote, FleetError, Fleets},
    kinds::ObjectKind,
};

use super::{SetPlace, api, claims, consoles, documents::DocumentSet, failure::failed};
use crate::{args::Common, compose::journal_key, daemon, exit::ExitProblem};

/// The journals of a set that a command has opened.
pub(crate) struct CommandSet {
    place: SetPlace,
    common: Common,
    fleets: Arc<Fleets>,
    sealer: Sealer,
}

impl CommandSet {
    /// The set, with its journals as they were read.
    ///
    /// # Errors
    /// If this process has no key of the set.
    pub(crate) async fn new(
        place: SetPlace,
        common: &Common,
        fleets: Arc<Fleets>,
    ) -> Result<Self, ExitProblem> {
        let sealer = journal_key::needed().await?;
        Ok(Self {
            place,
            common: common.clone(),
            fleets,
            sealer,
        })
    }
}

#[async_trait]
impl JournalSet for CommandSet {
    async fn fleets(&self) -> Result<Arc<Fleets>, Problem> {
        Ok(self.fleets.clone())
    }

    async fn with_tokens(&self) -> Result<Arc<Fleets>, Problem> {
        Ok(self.fleets.clone())
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
        let answered = api::ask_for_user(&self.place.set, &self.sealer, journal, request).await;
        answered.map_err(|problem| daemon::api_problem(&problem))
    }

    async fn carry_out(&self, work: SetWork<'_>) -> Result<SetAnswer, Problem> {
        let set = DocumentSet {
            place: &self.place,
            common: &self.common,
            sealer: &self.sealer,
            fleets: &self.fleets,
        };
        Box::pin(set.carry_out(work)).await
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
