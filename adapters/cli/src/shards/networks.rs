//! Networks in a set: a network is recorded in each journal that has a host where it was made.
//!
//! A question about a network takes turns with what is recorded under claims. So the answer that a journal
//! has nothing of a network means that nothing is being recorded there either, unless it was requested
//! afterwards.
//!
//! This module never ends a network while something in any journal uses it, unless the user orphans it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};
use vsiflow_kube::share::{NetworkInquiry, NetworkSummary};
use vsiflow_workflows::fleet::{
    EndedGroup, ErrorKind, Fleet, NetworkEnd, NetworkName, NetworkQuestion, NetworkReport,
    network_in_use,
};

use super::{
    SetPlace,
    failure::failure_of,
    journal_holder::JournalHolder,
    members::{
        Journals,
        stored::{EndedAnswer, NetworksAnswer},
    },
    read_journals::ReadJournals,
    remote_problem::RemoteProblem,
};
use crate::{args::Common, exit::ExitProblem};

/// How often all journals are asked about the networks of a cluster.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often while one of them is to end.
const SOON: Duration = Duration::from_secs(1);

/// Reports the state of networks in this journal, after asking those to end that should.
pub(super) async fn report(
    holder: &JournalHolder,
    questions: &[NetworkQuestion],
) -> NetworksAnswer {
    let _turn = holder.shard.turn.lock().await;
    let networks = holder.app.fleet.networks();
    let reports = Box::pin(networks.reports(questions, by())).await;
    NetworksAnswer {
        outcome: reports.map_err(|error| RemoteProblem::of(&error.into())),
    }
}

fn by() -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new("the network ends in all journals"),
    }
}

/// Ends the networks in this journal that only members of a group were on.
pub(super) async fn end_of_group(holder: &JournalHolder, group: &EndedGroup) -> EndedAnswer {
    let _turn = holder.shard.turn.lock().await;
    let networks = holder.app.fleet.networks();
    let ended = Box::pin(networks.end_of_group(group)).await;
    EndedAnswer {
        outcome: ended.map_err(|error| RemoteProblem::of(&error.into())),
    }
}

/// The journals that have networks with these namespaces and names; with `gone`, deleted networks count too.
pub(super) async fn journals_of(
    place: &SetPlace,
    common: &Common,
    names: &[NetworkName],
    gone: bool,
) -> Result<Vec<BTreeSet<u16>>, ExitProblem> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut journals = ReadJournals::none(place, common);
    let found = Box::pin(journals_among(&mut journals, names, gone)).await;
    journals.close().await;
    found
}

async fn journals_among(
    journals: &mut ReadJournals<'_>,
    names: &[NetworkName],
    gone: bool,
) -> Result<Vec<BTreeSet<u16>>, ExitProblem> {
    journals.open_all().await?;
    let mut all = Vec::new();
    for name in names {
        let mut found = BTreeSet::new();
        for (journal, app) in &journals.open {
            if is_there(&app.fleet, name, gone).await? {
                found.insert(*journal);
            }
        }
        all.push(found);
    }
    Ok(all)
}

async fn is_there(
    fleet: &Fleet,
    (namespace, name): &NetworkName,
    gone: bool,
) -> Result<bool, ExitProblem> {
    let networks = fleet.networks();
    let found = if gone {
        networks.find_ever(namespace, name).await.map(drop)
    } else {
        networks.find(namespace, name).await.map(drop)
    };
    match found {
        Ok(()) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The networks of a cluster: what journal 0 asks about them, and the last answers.
#[derive(Default)]
pub(super) struct ClusterNetworks {
    inquiries: Mutex<BTreeMap<NetworkName, NetworkInquiry>>,
    summaries: Mutex<BTreeMap<NetworkName, NetworkSummary>>,
    /// Notified when the questions change.
    news: Notify,
}

impl ClusterNetworks {
    /// Replaces the set of networks to ask about.
    pub(super) fn ask(&self, networks: BTreeMap<NetworkName, NetworkInquiry>) {
        let mut inquiries = self
            .inquiries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *inquiries != networks {
            self.reports().retain(|name, summary| {
                let next = networks.get(name);
                next.is_some_and(|next| next.uid == summary.inquiry.uid)
            });
            *inquiries = networks;
            self.news.notify_one();
        }
    }

    /// The last answer about a network.
    pub(super) fn last_report(&self, network: &NetworkName) -> Option<NetworkSummary> {
        self.reports().get(network).cloned()
    }

    fn reports(&self) -> MutexGuard<'_, BTreeMap<NetworkName, NetworkSummary>> {
        self.summaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn inquiries(&self) -> BTreeMap<NetworkName, NetworkInquiry> {
        let inquiries = self
            .inquiries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        inquiries.clone()
    }

    /// Polls all journals as long as this future is polled, and calls `wake` when the answers change.
    pub(super) async fn keep_polling(&self, journals: &Journals, wake: impl Fn()) -> Infallible {
        loop {
            let inquiries = self.inquiries();
            let mut pause = INTERVAL;
            if !inquiries.is_empty() {
                if Box::pin(self.poll_once(journals, &inquiries)).await {
                    wake();
                }
                if inquiries.values().any(|one| one.end.is_some()) {
                    pause = SOON;
                }
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep(pause), if !inquiries.is_empty() => {}
            }
        }
    }

    /// Asks once; returns whether the answers changed.
    async fn poll_once(
        &self,
        journals: &Journals,
        inquiries: &BTreeMap<NetworkName, NetworkInquiry>,
    ) -> bool {
        let collected = Box::pin(collect_reports(journals, inquiries)).await;
        let mut summaries = self.reports();
        let now = match collected {
            Ok(now) => now,
            Err(problem) => {
                let silent = Some(failure_of(&problem));
                let known = |name: &NetworkName| summaries.get(name).cloned().unwrap_or_default();
                let all = inquiries.keys().map(|name| {
                    let silent = silent.clone();
                    let before = known(name);
                    (name.clone(), NetworkSummary { silent, ..before })
                });
                all.collect()
            }
        };
        let is_news = *summaries != now;
        *summaries = now;
        is_news
    }
}

/// The answers of all journals, after asking the unused networks to end.
async fn collect_reports(
    journals: &Journals,
    inquiries: &BTreeMap<NetworkName, NetworkInquiry>,
) -> Result<BTreeMap<NetworkName, NetworkSummary>, ExitProblem> {
    let first = inquiries
        .iter()
        .map(|(name, one)| question(name, one.end.is_some(), None));
    let mut reports = journals.networks(first).await?;
    let ends = inquiries.iter().filter_map(|(name, one)| {
        let is_used = reports
            .get(name)
            .is_some_and(|outcome| !outcome.users.is_empty());
        let end = one
            .end
            .filter(|end| *end == NetworkEnd::Orphan || !is_used)?;
        Some(question(name, true, Some(end)))
    });
    let ends: Vec<_> = ends.collect();
    if !ends.is_empty() {
        reports.extend(journals.networks(ends).await?);
    }
    let summaries = inquiries.iter().map(|(name, one)| {
        let report = reports.remove(name).unwrap_or_default();
        (name.clone(), last_report(name, *one, report))
    });
    Ok(summaries.collect())
}

fn question(
    (namespace, name): &NetworkName,
    users: bool,
    end: Option<NetworkEnd>,
) -> NetworkQuestion {
    NetworkQuestion {
        namespace: namespace.clone(),
        name: name.clone(),
        users,
        end,
    }
}

fn last_report(
    (namespace, name): &NetworkName,
    inquiry: NetworkInquiry,
    report: NetworkReport,
) -> NetworkSummary {
    let is_held = inquiry.end == Some(NetworkEnd::Delete) && !report.users.is_empty();
    let in_use = is_held.then(|| network_in_use(namespace, name, &report.users));
    NetworkSummary {
        inquiry,
        states: report.states,
        refused: in_use.or(report.refused),
        silent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inquiry(uid: u128, end: Option<NetworkEnd>) -> NetworkInquiry {
        NetworkInquiry {
            uid: uuid::Uuid::from_u128(uid),
            end,
        }
    }

    fn name() -> NetworkName {
        ("default".to_owned(), "inner".to_owned())
    }

    #[test]
    fn what_was_heard_of_a_network_says_nothing_of_the_next_one_of_its_name() {
        let networks = ClusterNetworks::default();
        let ends = Some(NetworkEnd::Delete);
        networks.ask([(name(), inquiry(1, ends))].into());
        let summary = last_report(&name(), inquiry(1, ends), NetworkReport::default());
        networks.reports().insert(name(), summary.clone());
        networks.ask([(name(), inquiry(1, ends))].into());
        assert_eq!(networks.last_report(&name()), Some(summary));
        networks.ask([(name(), inquiry(2, ends))].into());
        assert_eq!(networks.last_report(&name()), None);
    }

    #[test]
    fn one_that_something_is_on_is_refused_unless_it_is_let_go() {
        let report = || NetworkReport {
            users: vec!["web".to_owned()],
            ..NetworkReport::default()
        };
        let refusal = |end| last_report(&name(), inquiry(1, end), report()).refused;
        let code = refusal(Some(NetworkEnd::Delete)).map(|failure| failure.code.to_string());
        assert_eq!(code.as_deref(), Some("VSI0746"));
        assert_eq!(refusal(Some(NetworkEnd::Orphan)), None);
        assert_eq!(refusal(None), None);
    }
}
