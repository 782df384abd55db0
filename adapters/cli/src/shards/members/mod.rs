//! Members of pools, in all journals of a set (docs/adr/0015-pools-over-journals.md).
//!
//! Journal 0 has the pools. Its controller requests reports on members, and sends what it decided, through
//! the table of requests ([`Journals`]). [`carry_out`] answers these requests: in journal 0 as a decision,
//! and in a member's journal as a hand-over. [`stored`] defines their format.
//!
//! Guarantees:
//! - **A request of a pool is found again by the pool's UID** in the request's ID, whichever process sent it.
//!   So nothing new is decided for a pool while an earlier request may still be carried out.
//! - **A process that lost the lease of journal 0 sends nothing.** The statement that sends is fenced.
//!
//! This module decides nothing about a pool, and records only through a fleet.

pub(super) mod carry_out;
pub(super) mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_postgres::{Held, seal::Sealer, shards::ShardSet};
use vsiflow_workflows::fleet::{
    EndedGroup, ErrorKind, FleetError, GuestAnswer, GuestQuestion, GuestQuestions, GuestReports,
    MemberJournals, MemberQuestions, MemberReports, MembersReport, MembersRequest, NetworkName,
    NetworkQuestion, NetworkReport, RequestStatus,
};

use self::stored::{EndedAnswer, GuestsAnswer, MembersReportAnswer, NetworksAnswer, StoredRequest};
use super::{
    DECIDES,
    ask::{self, CommandPart, ForwardedCommand},
    claims,
    failure::unanswered,
    object_requests::{ObjectRequests, RequestingJournal},
    remote_problem::{self, RemoteProblem},
};
use crate::exit::ExitProblem;

/// How long a holder may take to begin a report.
const BEGIN: Duration = Duration::from_secs(10);
/// How long a report may take: it may include a look at hosts.
const REPORT: Duration = Duration::from_secs(60);

/// The journals of a set, as the pools of journal 0 reach them.
pub(super) struct Journals {
    set: Arc<ShardSet>,
    sealer: Sealer,
    held: Arc<Held>,
    asks: ObjectRequests,
}

impl Journals {
    /// The journals that the holder of journal 0 reaches.
    pub(super) fn new(set: Arc<ShardSet>, sealer: Sealer, held: Arc<Held>) -> Self {
        Self {
            set,
            sealer,
            held,
            asks: ObjectRequests::of("pool"),
        }
    }

    fn asking(&self) -> RequestingJournal<'_> {
        RequestingJournal {
            set: &self.set,
            sealer: &self.sealer,
            held: &self.held,
        }
    }

    /// Sends `part` to a journal and returns its answer.
    async fn answer_of<A: DeserializeOwned>(
        &self,
        journal: u16,
        part: CommandPart,
    ) -> Result<A, ExitProblem> {
        let id = ask::id();
        let (set, sealer) = (&self.set, &self.sealer);
        let request = (id.as_str(), journal);
        let command = ForwardedCommand::of_engine(part);
        ask::send(set, sealer, request, &command, true, Some(&self.held)).await?;
        let answer = ask::answer_quietly::<A>(set, sealer, request, BEGIN);
        let answer = timeout(REPORT, answer).await;
        if self.set.withdraw(&id).await.is_err() {
            tracing::debug!("a report is forgotten later");
        }
        answer.unwrap_or_else(|_| Err(remote_problem::silent(journal, REPORT)))
    }

    async fn members_report(
        &self,
        journal: u16,
        questions: &MemberQuestions,
    ) -> Result<MembersReport, ExitProblem> {
        let part = CommandPart::ReportMembers(questions.clone());
        let answer: MembersReportAnswer = self.answer_of(journal, part).await?;
        answer.outcome.map_err(RemoteProblem::problem)
    }

    async fn guests(
        &self,
        journal: u16,
        question: &GuestQuestion,
    ) -> Result<GuestAnswer, ExitProblem> {
        let part = CommandPart::AskGuests(GuestQuestions {
            question: question.clone(),
            left_alone: false,
        });
        let answer: GuestsAnswer = self.answer_of(journal, part).await?;
        answer.outcome()
    }
}

impl Journals {
    /// The state of networks over all journals, by namespace and name.
    ///
    /// # Errors
    /// When a journal does not report.
    pub(super) async fn networks(
        &self,
        questions: impl IntoIterator<Item = NetworkQuestion>,
    ) -> Result<BTreeMap<NetworkName, NetworkReport>, ExitProblem> {
        let questions: Vec<_> = questions.into_iter().collect();
        let asking = (0..self.set.journals()).map(|journal| {
            let part = CommandPart::ReportNetworks(questions.clone());
            self.answer_of::<NetworksAnswer>(journal, part)
        });
        let mut all: BTreeMap<_, NetworkReport> = BTreeMap::new();
        for answer in futures::future::try_join_all(asking).await? {
            let reports = answer.outcome.map_err(RemoteProblem::problem)?;
            for (question, report) in questions.iter().zip(reports) {
                let name = (question.namespace.clone(), question.name.clone());
                all.entry(name).or_default().add(report);
            }
        }
        Ok(all)
    }

    /// The journals of these hosts, except journal 0.
    async fn other_journals_of(&self, hosts: BTreeSet<&str>) -> Result<BTreeSet<u16>, FleetError> {
        let mut journals = BTreeSet::new();
        for host in hosts {
            journals.insert(self.set.assign(host).await.map_err(unanswered)?);
        }
        journals.remove(&DECIDES);
        Ok(journals)
    }

    async fn ended(&self, journal: u16, group: &EndedGroup) -> Result<bool, FleetError> {
        let part = CommandPart::EndNetworks(group.clone());
        let answer = self.answer_of::<EndedAnswer>(journal, part).await;
        let outcome = answer.and_then(|answer| answer.outcome.map_err(RemoteProblem::problem));
        outcome.map_err(|problem| {
            let why = "does not say whether the group's networks are deleted";
            FleetError {
                kind: ErrorKind::Blocked,
                failure: Box::new(silent(journal, why, &problem)),
            }
        })
    }
}

#[async_trait]
impl MemberJournals for Journals {
    async fn status_of(&self, pool: Uuid) -> Result<RequestStatus, FleetError> {
        self.asks.status_of(self.asking(), pool).await
    }

    async fn report(&self, questions: &MemberQuestions) -> Result<MemberReports, FleetError> {
        let asking = (0..self.set.journals()).map(|journal| async move {
            (
                journal,
                Box::pin(self.members_report(journal, questions)).await,
            )
        });
        let mut reports = MemberReports::default();
        for (journal, outcome) in futures::future::join_all(asking).await {
            match outcome {
                Ok(report) => _ = reports.reports.insert(journal, report),
                Err(problem) => {
                    let why = "does not say what members it has";
                    reports
                        .silent
                        .insert(journal, silent(journal, why, &problem));
                }
            }
        }
        Ok(reports)
    }

    async fn ask_guests(
        &self,
        of: Option<u16>,
        question: GuestQuestion,
    ) -> Result<GuestReports, FleetError> {
        let all = 0..self.set.journals();
        let journals = all.filter(|journal| of.is_none_or(|of| of == *journal));
        let question = &question;
        let asking = journals.map(|journal| async move {
            (journal, Box::pin(self.guests(journal, question)).await)
        });
        let mut reports = GuestReports::default();
        for (journal, outcome) in futures::future::join_all(asking).await {
            match outcome {
                Ok(answer) => _ = reports.answers.insert(journal, answer),
                Err(problem) => {
                    let why = "does not say what guests show";
                    reports
                        .silent
                        .insert(journal, silent(journal, why, &problem));
                }
            }
        }
        Ok(reports)
    }

    async fn journal_of(&self, namespace: &str, name: &str) -> Result<Option<u16>, FleetError> {
        let object = claims::object(claims::VSI, namespace, name);
        let journal = self.set.journal_of_name(&object).await;
        journal.map_err(unanswered)
    }

    async fn end_networks(&self, group: &EndedGroup) -> Result<bool, FleetError> {
        let templates = group.templates.iter();
        let hosts = templates.flat_map(|template| template.possible_hosts());
        let hosts = hosts.filter(|host| !host.is_empty()).collect();
        let journals = self.other_journals_of(hosts).await?;
        let asking = journals
            .into_iter()
            .map(|journal| self.ended(journal, group));
        let ended = futures::future::try_join_all(asking).await?;
        Ok(ended.contains(&true))
    }

    async fn ask(&self, pool: Uuid, ask: MembersRequest) -> Result<(), FleetError> {
        let part = CommandPart::DecideMembers(StoredRequest::of(ask));
        self.asks.ask(self.asking(), pool, part).await
    }
}

/// The failure when a journal does not report.
fn silent(journal: u16, what: &str, problem: &ExitProblem) -> Failure {
    let message = format!("journal {journal} {what}: {}", problem.message);
    Failure::new(FailureClass::Blocked, &problem.code, message).with_remedy(&problem.remedy)
}
