//! Promises of hosts to VSIs. A promise is recorded in journal 0 of a set of journals before it is
//! handed over to the host's journal: docs/adr/0014-choices-over-journals.md. Pure. Fields are only
//! ever added, with a default.

use serde::{Deserialize, Serialize};

use super::{Decision, Needs, PlacedVsi, PlacementHost};

/// The state of a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromiseState {
    /// It counts in addition to what the host's journal reports.
    #[default]
    Open,
    /// The VSI existed after the last request had ended.
    Kept,
    /// The VSI did not exist then: it was refused, or is deleted again.
    Dropped,
}

/// A request that may make the VSI where it is promised, and the decision that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The request of the decision. After a crash it may be repeated, and send the other one again.
    pub decision: String,
    /// The request that hands it over.
    pub hand_over: String,
}

/// A promise of a host to a VSI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromiseRecord {
    /// The host's id.
    pub host: String,
    /// The VSI.
    pub vsi: PlacedVsi,
    /// The resources that it needs.
    pub needs: Needs,
    /// Why that host; `None` for a VSI that existed already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The requests that may make it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<OpenRequest>,
    /// Its state.
    #[serde(default)]
    pub state: PromiseState,
}

impl PromiseRecord {
    /// Whether the promise is for that VSI.
    pub fn is_of(&self, vsi: &PlacedVsi) -> bool {
        self.vsi.namespace == vsi.namespace && self.vsi.name == vsi.name
    }
}

/// Adds open promises to their hosts, except those whose VSIs count there already.
pub fn count<'a>(hosts: &mut [PlacementHost], promises: impl Iterator<Item = &'a PromiseRecord>) {
    for promise in promises {
        let mut hosts = hosts.iter_mut();
        let Some(host) = hosts.find(|host| host.id == promise.host) else {
            continue;
        };
        if !host.vsis.iter().any(|vsi| promise.is_of(vsi)) {
            host.promised.add(&promise.needs, false);
            host.vsis.push(promise.vsi.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(name: &str) -> PromiseRecord {
        PromiseRecord {
            host: "a".to_owned(),
            vsi: PlacedVsi {
                namespace: "default".to_owned(),
                name: name.to_owned(),
                ..PlacedVsi::default()
            },
            needs: Needs {
                memory: 4,
                ..Needs::default()
            },
            decision: None,
            requests: Vec::new(),
            state: PromiseState::Open,
        }
    }

    #[test]
    fn a_promise_counts_until_the_vsi_itself_does() {
        let mut hosts = [PlacementHost {
            id: "a".to_owned(),
            vsis: vec![promise("there").vsi],
            ..PlacementHost::default()
        }];
        let promises = [promise("there"), promise("coming")];
        count(&mut hosts, promises.iter());
        assert_eq!(hosts[0].promised.all.memory, 4);
        assert_eq!(hosts[0].vsis.len(), 2);
        // Counting again adds nothing twice.
        count(&mut hosts, promises.iter());
        assert_eq!(hosts[0].promised.all.memory, 4);
    }
}
