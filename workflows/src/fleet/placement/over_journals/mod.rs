//! Chooses hosts when hosts and their VSIs are in several journals
//! (docs/adr/0014-choices-over-journals.md).
//!
//! A journal with hosts reports on them
//! ([`PlacementHandle::report`](crate::fleet::PlacementHandle::report)). The one journal that chooses
//! takes its turn ([`PlacementHandle::turn`](crate::fleet::PlacementHandle::turn)), asks the others,
//! and records its choices as promises before anything follows from them ([`ChoiceTurn::choose`]). How
//! the journals communicate is outside this module.
//!
//! Guarantees, as long as the caller keeps the order that [`ChoiceTurn`] requires:
//! - A promise to a VSI counts on its host until the VSI itself does, or until no request is under way
//!   that could make it.
//! - A VSI that exists, or that a host is promised to, never gets another host.

mod report;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vsiflow_engine::executor::By;

pub use self::turn::ChoiceTurn;
use super::settle;
use crate::{
    fleet::quota::over_journals::ObjectUsage,
    placement::{Decision, OpenRequest, PlacementHost, PromiseRecord, PromiseState},
    record::kind,
    spec::{Resolved, ResolvedVsi},
};

/// What a journal is asked to report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportQuestions {
    /// Hosts of the journal.
    pub hosts: BTreeSet<String>,
    /// The guest architectures that the hosts may have to run.
    pub archs: BTreeSet<String>,
    /// Names such as `vsi/default/web` and `disk/default/data`.
    pub objects: BTreeSet<String>,
    /// Namespaces whose quota usage is to be reported.
    pub namespaces: BTreeSet<String>,
    /// Whether to ask hosts again that were asked a moment ago.
    pub now: bool,
    /// Why hosts must not be contacted; `None` if they may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
}

/// The report of one journal, or of several together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalReport {
    /// The hosts.
    pub hosts: Vec<PlacementHost>,
    /// The objects that exist, with their hosts.
    pub objects: BTreeMap<String, String>,
    /// The quota usage in the namespaces.
    pub taken: Vec<ObjectUsage>,
    /// Whether some capacities are from an earlier measurement.
    pub is_stale: bool,
}

impl JournalReport {
    /// Adds the report of another journal.
    pub fn add(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.objects.extend(other.objects);
        self.taken.extend(other.taken);
        self.is_stale |= other.is_stale;
    }
}

/// The host of a VSI of the documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenHost {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The host's id.
    pub host: String,
    /// The reasons for the choice; `None` if the VSI already had a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// The request of a decision, and how it is handed over to the journal of a host.
pub struct ForDecision<'a> {
    /// The request that the decision is made for.
    pub decision: &'a str,
    /// Names the request that hands the decision over to a host's journal.
    pub hand_over: &'a (dyn Fn(&str) -> String + Sync),
    /// The actor that asks.
    pub by: By,
}

impl ForDecision<'_> {
    /// Adds the hand-over to a host's journal to the open requests.
    pub(in crate::fleet) fn add_to(&self, requests: &mut Vec<OpenRequest>, host: &str) {
        let request = OpenRequest {
            decision: self.decision.to_owned(),
            hand_over: (self.hand_over)(host),
        };
        if !requests.contains(&request) {
            requests.push(request);
        }
    }
}

/// A record that counts as long as a request for it is under way.
pub trait OpenRecord: DeserializeOwned {
    /// The kind of its entities.
    const KIND: &'static str;

    /// Its state.
    fn state(&self) -> PromiseState;

    /// The requests under way for it.
    fn requests(&self) -> &[OpenRequest];

    /// The name of its object.
    fn object(&self) -> String;

    /// The host of the object.
    fn host(&self) -> &str;
}

impl OpenRecord for PromiseRecord {
    const KIND: &'static str = kind::PROMISE;

    fn state(&self) -> PromiseState {
        self.state
    }

    fn requests(&self) -> &[OpenRequest] {
        &self.requests
    }

    fn object(&self) -> String {
        name_of(kind::VSI, &self.vsi.namespace, &self.vsi.name)
    }

    fn host(&self) -> &str {
        &self.host
    }
}

/// Whether a host must be chosen for a VSI.
pub fn is_open(vsi: &ResolvedVsi) -> bool {
    vsi.desired.placement.is_some() && vsi.desired.host.is_empty() && vsi.unresolved_refs.is_empty()
}

/// Puts hosts that were chosen elsewhere into documents: into the VSIs, and into the data disks that
/// are made for them.
pub fn put_hosts(resolved: &mut Resolved, chosen: &[ChosenHost]) {
    for index in 0..resolved.vsis.len() {
        let Some(vsi) = resolved.vsis.get(index).filter(|vsi| is_open(vsi)) else {
            continue;
        };
        let its = &vsi.desired;
        let mut all = chosen.iter();
        let found = all.find(|one| one.namespace == its.namespace && one.name == its.name);
        if let Some(found) = found {
            let decision = Decision {
                host: found.host.clone(),
                ..found.decision.clone().unwrap_or_default()
            };
            settle(resolved, index, decision);
            if let (Some(unplaced), None) = (resolved.vsis.get_mut(index), &found.decision) {
                unplaced.placed = None;
            }
        }
    }
}

fn name_of(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}
