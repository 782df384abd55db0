//! The documents of requests: reads them, and applies them to the journal that this process has open.
//!
//! In a set of journals, a journal keeps only what is on its own hosts ([`local_documents`]), with the hosts that journal 0
//! chose for it.
//!
//! This module reads no file of a caller. A bundle is the exception: it is on this machine ([`bundle`]).

mod bundle;
mod read;

use async_trait::async_trait;
use vsiflow_api::{
    DocumentNotes, DocumentUse, DocumentWork, EarlierState, Problem, ReadDocuments, SentDocuments,
};
use vsiflow_engine::executor::By;
use vsiflow_workflows::{
    fleet::{Applied, ChosenHost},
    spec::{HostSettings, Resolved},
};

pub(crate) use self::read::{loaded, named_host, resolved};
use crate::{
    args::Common, compose::App, daemon::api_problem, exit::ExitProblem, shards::local_documents,
};

/// The documents of requests to one journal.
pub(crate) struct JournalDocuments {
    app: App,
    /// The options that other journals of the set are opened with, if it is one of a set.
    common: Option<Common>,
    /// The hosts that journal 0 of a set chose, if it was asked.
    chosen: Option<Vec<ChosenHost>>,
    /// What a command has worked out itself, instead of documents.
    worked_out: Option<Resolved>,
}

impl JournalDocuments {
    /// For a journal that is none of a set.
    pub(crate) fn of(app: App) -> Self {
        Self {
            app,
            common: None,
            chosen: None,
            worked_out: None,
        }
    }

    /// For a journal of a set, with the hosts that journal 0 chose, if it was asked.
    pub(crate) fn of_member(app: App, common: &Common, chosen: Option<Vec<ChosenHost>>) -> Self {
        Self {
            app,
            common: Some(common.clone()),
            chosen,
            worked_out: None,
        }
    }

    /// For requests that mean this desired state, which the command has worked out itself.
    pub(crate) fn worked_out(app: App, common: &Common, resolved: Resolved) -> Self {
        Self {
            worked_out: Some(resolved),
            ..Self::of_member(app, common, None)
        }
    }

    /// What is recorded, if the request means that instead of files.
    async fn recorded(&self, documents: &SentDocuments) -> Result<Option<ReadDocuments>, Problem> {
        let (mut resolved, mut generation) = (Resolved::default(), None);
        if let Some(EarlierState {
            namespace,
            name,
            generation: asked_for,
        }) = &documents.earlier
        {
            let earlier = self.app.fleet.vsis().earlier(namespace, name, *asked_for);
            let earlier = earlier.await?;
            (resolved, generation) = (earlier.resolved, Some(earlier.generation));
        } else if let Some(copies) = &documents.copies {
            for name in &copies.names {
                let snapshots = self.app.fleet.snapshots();
                let copy = snapshots.new_vsi(&copies.namespace, &copies.snapshot, name);
                let copy = copy.await?;
                resolved.vsis.extend(copy.vsis);
                resolved.data_disks.extend(copy.data_disks);
            }
        } else {
            return Ok(None);
        }
        let namespaces = local_documents::namespaces(&resolved);
        let permitted = local_documents::refuse_limited(&self.app, &namespaces).await;
        permitted.map_err(|problem| api_problem(&problem))?;
        Ok(Some(ReadDocuments {
            resolved,
            notes: DocumentNotes {
                generation,
                ..DocumentNotes::default()
            },
            preparation: None,
        }))
    }

    /// The host that replaces those of the documents, if the request names one.
    fn host(&self, documents: &SentDocuments) -> Result<Option<HostSettings>, Problem> {
        match &documents.on {
            Some(name) => Ok(Some(self.app.fleet.hosts().settings(name)?)),
            None => named_host(documents),
        }
    }
}

#[async_trait]
impl DocumentWork for JournalDocuments {
    async fn read(
        &self,
        documents: &SentDocuments,
        reads_for: DocumentUse,
    ) -> Result<ReadDocuments, Problem> {
        if let Some(resolved) = &self.worked_out {
            return Ok(ReadDocuments {
                notes: DocumentNotes::of(resolved, Vec::new()),
                resolved: resolved.clone(),
                preparation: None,
            });
        }
        if let Some(resolved) = self.recorded(documents).await? {
            return Ok(resolved);
        }
        let host = self.host(documents)?;
        let view = self.app.view().filter(|_| reads_for == DocumentUse::Plan);
        let mut read = match &documents.bundle {
            Some(bundle) => Box::pin(bundle::read(&self.app, documents, bundle, host)).await?,
            None => resolved(documents, host, view).await?,
        };
        if let Some(shard) = self.app.shard() {
            let chosen = self.chosen.as_deref();
            let kept = local_documents::keep(shard, &mut read.resolved, chosen).await;
            kept.map_err(|problem| api_problem(&problem))?;
            // Who has all of the documents says this of them.
            read.notes = DocumentNotes::default();
        }
        Ok(read)
    }

    async fn apply(&self, resolved: Resolved, by: By) -> Result<Vec<Applied>, Problem> {
        let applied = match (&self.common, self.app.shard()) {
            (_, None) => return Ok(self.app.fleet.apply(resolved, by).await?),
            (Some(common), Some(_)) => {
                local_documents::apply(&self.app, common, resolved, by).await
            }
            (None, Some(_)) => Err(ExitProblem::defect("a journal is changed without its set")),
        };
        applied.map_err(|problem| api_problem(&problem))
    }
}
