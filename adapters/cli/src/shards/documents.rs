//! Documents in a set: finds the journals that they concern, and has each of them do its part.
//!
//! Journal 0 decides first where hosts are chosen, quotas count or members are made ([`super::choose`]).

use std::collections::BTreeSet;

use vsiflow_api::{
    DocumentNotes, ForwardedRequest, JournalPart, Problem, ReadDocuments, SentDocuments, SetAnswer,
    SetWork,
};
use vsiflow_postgres::seal::Sealer;
use vsiflow_workflows::{
    fleet::{Fleets, NetworkName, is_open},
    spec::{HostSettings, Resolved},
};

use super::{
    DECIDES, SetPlace, api,
    ask::{self, CommandPart, ForwardedCommand, ForwardedDocuments},
    choose::DecidedAnswer,
    local_documents, networks, snapshots,
};
use crate::{args::Common, compose::database, daemon::api_problem, documents, exit::ExitProblem};

/// A set, as whoever has documents carried out in it sees it.
pub(super) struct DocumentSet<'a> {
    pub(super) place: &'a SetPlace,
    pub(super) common: &'a Common,
    pub(super) sealer: &'a Sealer,
    pub(super) fleets: &'a Fleets,
}

impl DocumentSet<'_> {
    /// Has every journal that the documents concern do its part.
    ///
    /// # Errors
    /// VSI0763, all mistakes in the documents, and when the database or journal 0 does not answer.
    pub(super) async fn carry_out(&self, work: SetWork<'_>) -> Result<SetAnswer, Problem> {
        let host = self.host(work.documents).await?;
        let ReadDocuments {
            resolved,
            mut notes,
            ..
        } = documents::resolved(work.documents, host, None).await?;
        let done = Box::pin(self.done(work, &resolved, &mut notes)).await;
        let parts = done.map_err(|problem| api_problem(&problem))?;
        Ok(SetAnswer { notes, parts })
    }

    /// The host that replaces those of the documents, if the request names one.
    async fn host(&self, documents: &SentDocuments) -> Result<Option<HostSettings>, Problem> {
        let Some(name) = &documents.on else {
            return documents::named_host(documents);
        };
        let journal = self.fleets.journal_of_host(name)?;
        let fleet = self.fleets.all().nth(journal.into());
        let fleet = fleet.unwrap_or_else(|| self.fleets.decides());
        Ok(Some(fleet.hosts().settings(name)?))
    }

    async fn done(
        &self,
        work: SetWork<'_>,
        resolved: &Resolved,
        notes: &mut DocumentNotes,
    ) -> Result<Vec<JournalPart>, ExitProblem> {
        local_documents::refuse_shared(resolved)?;
        let set = &self.place.set;
        let namespaces = local_documents::namespaces(resolved);
        let limited = set.limited_among(&namespaces).await;
        let limited = limited.map_err(database::problem)?;
        if let (Some(namespace), true) = (limited.first(), work.documents.on.is_some()) {
            // Journal 0 has no settings of the others' hosts to read the documents with.
            return Err(local_documents::limited_to_documents(namespace));
        }
        let is_open = resolved.vsis.iter().any(is_open);
        let of_journal_0 = !resolved.quotas.is_empty() || local_documents::makes_members(resolved);
        let described = local_documents::networks(resolved);
        let of_networks = networks::journals_of(self.place, self.common, &described, false).await?;
        leave_known(notes, &described, &of_networks);
        if is_open || !limited.is_empty() || of_journal_0 {
            return self.decided(work).await;
        }
        let mut journals = BTreeSet::new();
        for host in local_documents::hosts(resolved) {
            let journal = set.assign(&host).await;
            journals.insert(journal.map_err(database::problem)?);
        }
        if !resolved.types.is_empty() {
            journals.insert(DECIDES);
        }
        let of_snapshots = snapshots::homes(set, resolved).await?;
        journals.extend(of_snapshots.into_iter().flatten());
        journals.extend(of_networks.into_iter().flatten());
        let asking = journals.into_iter().map(|journal| {
            let request = work.request.clone();
            async move { self.part(journal, request).await }
        });
        Ok(futures::future::join_all(asking).await)
    }

    async fn part(&self, journal: u16, request: ForwardedRequest) -> JournalPart {
        let set = &self.place.set;
        let answer = api::ask_for_user(set, self.sealer, journal, request).await;
        JournalPart {
            journal,
            answer: answer.map_err(|problem| api_problem(&problem)),
        }
    }

    /// Has journal 0 decide, and the journals do their parts after that.
    async fn decided(&self, work: SetWork<'_>) -> Result<Vec<JournalPart>, ExitProblem> {
        let (set, id) = (&self.place.set, ask::id());
        let is_repeatable = work.request.is_repeatable;
        let forwarded = ForwardedDocuments {
            documents: work.documents.clone(),
            request: work.request,
            reason: work.reason,
        };
        let command = ForwardedCommand {
            actor: forwarded.request.actor.clone(),
            ..ForwardedCommand::of_engine(CommandPart::Decide(Box::new(forwarded)))
        };
        let request = (id.as_str(), DECIDES);
        ask::send(set, self.sealer, request, &command, is_repeatable, None).await?;
        let answer: DecidedAnswer = ask::answer(set, self.sealer, request, ask::TIMEOUT).await?;
        answer.outcome.map_err(|outcome| outcome.problem())
    }
}

/// Leaves out the networks that a journal has already: they are made.
fn leave_known(notes: &mut DocumentNotes, described: &[NetworkName], journals: &[BTreeSet<u16>]) {
    let known = described.iter().zip(journals);
    let known: BTreeSet<_> = known
        .filter(|(_, found)| !found.is_empty())
        .map(|((namespace, name), _)| (namespace.as_str(), name.as_str()))
        .collect();
    notes
        .unused_networks
        .retain(|unused| !known.contains(&(unused.namespace.as_str(), unused.name.as_str())));
}
