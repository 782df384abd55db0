//! Chooses hosts where hosts and what stands on them are in several journals
//! (docs/adr/0014-choices-over-journals.md).
//!
//! A journal with hosts says what it has to say ([`PlacementHandle::report`](crate::fleet::PlacementHandle::report)). The one journal that chooses takes its
//! turn ([`PlacementHandle::turn`](crate::fleet::PlacementHandle::turn)), asks the others, and records its choices as promises before anything follows from
//! them ([`ChoiceTurn::choose`]). What is asked of whom, and by what, is not known here.
//!
//! Guarantees, as long as whoever uses it keeps the order that [`ChoiceTurn`] asks for:
//! - What is promised to a VSI counts on its host until the VSI itself does, or until nothing is under way any more
//!   that could make it.
//! - A VSI that is there, or that a host is promised to, is given no other one.

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

/// What a journal is asked to say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportQuestions {
    /// Hosts of its own.
    pub hosts: BTreeSet<String>,
    /// The architectures of guests that they may have to run.
    pub archs: BTreeSet<String>,
    /// Names such as `vsi/default/web` and `disk/default/data`.
    pub objects: BTreeSet<String>,
    /// Namespaces of which is to be said what is taken in them.
    pub namespaces: BTreeSet<String>,
    /// Whether hosts are asked again that were asked a moment ago.
    pub now: bool,
    /// Why hosts are not asked; none where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
}

/// What a journal says, or several of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalReport {
    /// The hosts.
    pub hosts: Vec<PlacementHost>,
    /// Which of the objects are there and not gone, and on which hosts.
    pub objects: BTreeMap<String, String>,
    /// What is taken in the namespaces.
    pub taken: Vec<ObjectUsage>,
    /// Whether hosts were not asked again that were asked a moment ago.
    pub is_stale: bool,
}

impl JournalReport {
    /// And what another one says.
    pub fn add(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.objects.extend(other.objects);
        self.taken.extend(other.taken);
        self.is_stale |= other.is_stale;
    }
}

/// Where a VSI of documents is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenHost {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The host's id.
    pub host: String,
    /// Why; none of one that was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What is decided, and by what it is handed over to the journal of a host.
pub struct ForDecision<'a> {
    /// The request that asks for it.
    pub decision: &'a str,
    /// The request by which a host's journal is told.
    pub hand_over: &'a (dyn Fn(&str) -> String + Sync),
    /// Who asks.
    pub by: By,
}

impl ForDecision<'_> {
    /// Adds what is handed over to the journal of a host to the requests that are under way.
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

/// What counts as long as something is under way.
pub trait OpenRecord: DeserializeOwned {
    /// The kind of its entities.
    const KIND: &'static str;

    /// How it stands.
    fn state(&self) -> PromiseState;

    /// What is under way for it.
    fn requests(&self) -> &[OpenRequest];

    /// The name of the object that it is for.
    fn object(&self) -> String;

    /// The host of that.
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

/// Whether a host is to be chosen for a VSI.
pub fn is_open(vsi: &ResolvedVsi) -> bool {
    vsi.desired.placement.is_some() && vsi.desired.host.is_empty() && vsi.unresolved_refs.is_empty()
}

/// Puts hosts that were chosen elsewhere into documents: into the VSIs, and into the data disks that are made for them.
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
