//! One choice of hosts: asks the journals for reports and lets the fleet of journal 0 decide from
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};
use vsiflow_api::SentDocuments;
use vsiflow_workflows::{
    fleet::{ChosenHost, ForDecision, JournalReport, OpenRecord, ReportQuestions},
    placement::{OpenRequest, PlacementHost},
    spec::Resolved,
};

use vsiflow_engine::executor::By;

use super::{hand_over_id, journal_of_host, reports};
use crate::{
    compose::database,
    exit::{Exit, ExitProblem},
    shards::{journal_holder::JournalHolder, local_documents},
};

/// How long a choice waits for journals that have no holder, or that do not act on their hosts yet.
const TIMEOUT: Duration = Duration::from_secs(180);
/// The delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// The code for: no host fits.
const NO_HOST: &str = "VSI0737";

/// A choice that is being made.
pub(in crate::shards) struct Choice<'a> {
    pub(in crate::shards) holder: &'a Arc<JournalHolder>,
    pub(in crate::shards) id: &'a str,
    /// The documents, sent to the journals with the request for a report: they may describe hosts.
    pub(in crate::shards) documents: Option<&'a SentDocuments>,
    pub(in crate::shards) by: By,
    pub(in crate::shards) resolved: &'a Resolved,
    /// Whether the choice is recorded, or only shown.
    pub(in crate::shards) records: bool,
}

/// The reports of several journals, combined.
#[derive(Default)]
struct JournalReports {
    report: JournalReport,
    /// The journals that did not report, and why.
    silent: BTreeMap<u16, ExitProblem>,
    /// Whether any of them does not act on its hosts yet.
    is_quiet: bool,
}

/// Why nothing was chosen.
struct NotChosen {
    problem: ExitProblem,
    /// Whether the reports about hosts may be out of date.
    is_stale: bool,
    /// Whether a later attempt may succeed.
    may_pass: bool,
}

impl From<ExitProblem> for NotChosen {
    fn from(problem: ExitProblem) -> Self {
        Self {
            problem,
            is_stale: false,
            may_pass: false,
        }
    }
}

impl Choice<'_> {
    /// Makes the choice, and retries while a later attempt may succeed.
    pub(in crate::shards) async fn made(&self) -> Result<Vec<ChosenHost>, ExitProblem> {
        let until = Instant::now() + TIMEOUT;
        let mut now = false;
        loop {
            match Box::pin(self.attempt(now)).await {
                Ok(chosen) => return Ok(chosen),
                Err(failed) if failed.is_stale && !now => now = true,
                Err(failed) if failed.may_pass && Instant::now() < until => {
                    sleep(RETRY_DELAY).await;
                }
                Err(failed) => return Err(failed.problem),
            }
        }
    }

    async fn attempt(&self, now: bool) -> Result<Vec<ChosenHost>, NotChosen> {
        let placements = self.holder.app.fleet.placements();
        let turn = placements.turn().await;
        let mut under_way: Vec<_> = open(turn.promises().await.map_err(ExitProblem::from)?);
        under_way.extend(open(turn.admissions().await.map_err(ExitProblem::from)?));
        let hosts = under_way.iter().map(|one| one.host.clone());
        let mut hosts: BTreeSet<_> = hosts.chain(local_documents::hosts(self.resolved)).collect();
        let idle = self.idle(&under_way).await?;
        let questions = turn.questions(self.resolved).await;
        let questions = questions.map_err(ExitProblem::from)?;
        let (by_journal, whose) = self.by_journal(&questions, &idle, now).await?;
        let reports = Box::pin(self.collect_reports(&by_journal)).await;
        self.refuse_silent(&questions, &whose, &reports)?;
        let over = idle.into_iter().filter(|object| {
            let journal = whose.get(object);
            journal.is_none_or(|journal| !reports.silent.contains_key(journal))
        });
        let over: BTreeSet<_> = over.collect();
        hosts.extend(questions.hosts);
        hosts.extend(reports.report.objects.values().cloned());
        let journals = self.journals_of(&hosts).await?;
        let hand_over = |host: &str| {
            let journal = journals.get(host).copied().unwrap_or_default();
            hand_over_id(self.id, journal)
        };
        let of = self.records.then(|| ForDecision {
            decision: self.id,
            hand_over: &hand_over,
            by: self.by.clone(),
        });
        let chosen = turn.choose(self.resolved, &reports.report, &over, of).await;
        chosen.map_err(|error| {
            let is_room = error.failure.code.as_str() == NO_HOST;
            NotChosen {
                problem: error.into(),
                is_stale: is_room && reports.report.is_stale,
                may_pass: is_room && (reports.is_quiet || !reports.silent.is_empty()),
            }
        })
    }

    /// The names of the objects that no open request concerns any more.
    async fn idle(&self, under_way: &[UnderWay]) -> Result<BTreeSet<String>, ExitProblem> {
        let requests = under_way.iter().flat_map(|one| &one.requests);
        let ids = requests.flat_map(|one| [one.decision.clone(), one.hand_over.clone()]);
        let ids: BTreeSet<_> = ids.collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let open = self.holder.shard.set().open_among(&ids).await;
        let open = open.map_err(database::problem)?;
        let is_busy = |one: &&UnderWay| {
            let mut own_requests = one.requests.iter();
            own_requests.any(|open_request| {
                open.contains(&open_request.decision) || open.contains(&open_request.hand_over)
            })
        };
        let objects = |all: &mut dyn Iterator<Item = &UnderWay>| -> BTreeSet<_> {
            all.map(|one| one.object.clone()).collect()
        };
        let busy = objects(&mut under_way.iter().filter(is_busy));
        let all = objects(&mut under_way.iter());
        Ok(all.difference(&busy).cloned().collect())
    }

    async fn journals_of(
        &self,
        hosts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, ExitProblem> {
        let mut journals = BTreeMap::new();
        for host in hosts {
            journals.insert(host.clone(), journal_of_host(self.holder, host).await?);
        }
        Ok(journals)
    }

    /// The questions for each journal, and the journal that each name belongs to.
    async fn by_journal(
        &self,
        questions: &ReportQuestions,
        idle: &BTreeSet<String>,
        now: bool,
    ) -> Result<(BTreeMap<u16, ReportQuestions>, BTreeMap<String, u16>), ExitProblem> {
        let mut by_journal = BTreeMap::<u16, ReportQuestions>::new();
        for (host, journal) in self.journals_of(&questions.hosts).await? {
            by_journal.entry(journal).or_default().hosts.insert(host);
        }
        let mut whose = BTreeMap::new();
        let objects = questions.objects.iter().cloned();
        for object in objects.chain(idle.iter().cloned()) {
            let journal = self.holder.shard.set().journal_of_name(&object).await;
            if let Some(journal) = journal.map_err(database::problem)? {
                let its = by_journal.entry(journal).or_default();
                its.objects.insert(object.clone());
                whose.insert(object, journal);
            }
        }
        if !questions.namespaces.is_empty() {
            // Any journal may have objects in these namespaces.
            for journal in 0..self.holder.shard.set().journals() {
                let its = by_journal.entry(journal).or_default();
                its.namespaces.clone_from(&questions.namespaces);
            }
        }
        for questions_of_one in by_journal.values_mut() {
            questions_of_one.archs.clone_from(&questions.archs);
            questions_of_one.now = now;
        }
        Ok((by_journal, whose))
    }

    /// Asks all journals at the same time.
    async fn collect_reports(&self, by_journal: &BTreeMap<u16, ReportQuestions>) -> JournalReports {
        let asking = by_journal.iter().map(|(journal, questions)| async move {
            (
                *journal,
                questions,
                Box::pin(reports::ask(
                    self.holder,
                    *journal,
                    questions,
                    self.documents,
                ))
                .await,
            )
        });
        let mut reports = JournalReports::default();
        for (journal, questions, answer) in futures::future::join_all(asking).await {
            let outcome = answer.and_then(|answer| {
                reports.is_quiet |= answer.is_quiet;
                answer.outcome.map_err(|outcome| outcome.problem())
            });
            match outcome {
                Ok(report) => reports.report.add(report),
                Err(problem) => {
                    let why = format!(
                        "journal {journal} does not say what it has: {}",
                        problem.message
                    );
                    let hosts = questions.hosts.iter().map(|host| PlacementHost {
                        id: host.clone(),
                        unreachable: Some(why.clone()),
                        ..PlacementHost::default()
                    });
                    reports.report.hosts.extend(hosts);
                    reports.silent.insert(journal, problem);
                }
            }
        }
        reports
    }

    /// Refuses to decide about objects of a journal that does not answer: unknown is not absent.
    fn refuse_silent(
        &self,
        questions: &ReportQuestions,
        whose: &BTreeMap<String, u16>,
        reports: &JournalReports,
    ) -> Result<(), NotChosen> {
        if let (false, Some((journal, problem))) = (
            questions.namespaces.is_empty(),
            reports.silent.first_key_value(),
        ) {
            let message = format!(
                "journal {journal} does not say what is taken in namespaces that have quotas: {}",
                problem.message
            );
            return Err(NotChosen {
                problem: ExitProblem::new(problem.exit, &problem.code, message, &problem.remedy),
                is_stale: false,
                may_pass: problem.exit == Exit::Failed,
            });
        }
        let mut objects = questions.objects.iter();
        let silent = objects.find_map(|object| {
            let journal = whose.get(object)?;
            Some((object, journal, reports.silent.get(journal)?))
        });
        let Some((object, journal, problem)) = silent else {
            return Ok(());
        };
        let message = format!(
            "journal {journal} has the name {object} and does not say whether it is there: {}",
            problem.message
        );
        Err(NotChosen {
            problem: ExitProblem::new(problem.exit, &problem.code, message, &problem.remedy),
            is_stale: false,
            may_pass: problem.exit == Exit::Failed,
        })
    }
}

/// A promise or an admission that counts.
struct UnderWay {
    object: String,
    host: String,
    requests: Vec<OpenRequest>,
}

fn open<R: OpenRecord>(records: Vec<R>) -> Vec<UnderWay> {
    let all = records.iter().map(|record| UnderWay {
        object: record.object(),
        host: record.host().to_owned(),
        requests: record.requests().to_vec(),
    });
    all.collect()
}
