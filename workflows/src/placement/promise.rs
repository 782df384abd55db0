//! A host that is promised to a VSI, before the journal that has the host is told. Pure, and recorded in journal 0 of a
//! set of journals: docs/adr/0014-choices-over-journals.md. Fields are only ever added, with a default.

use serde::{Deserialize, Serialize};

use super::{Decision, Needs, PlacedVsi, PlacementHost};

/// How a promise stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromiseState {
    /// It counts beside what the host's journal says.
    #[default]
    Open,
    /// The VSI was there after the last request was answered.
    Kept,
    /// It was not: it was refused, or is gone again.
    Dropped,
}

/// A request that may make the VSI where it is promised, and the decision that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// What was decided, or is being decided again after a crash: it may still ask for the other.
    pub decision: String,
    /// What hands it over.
    pub hand_over: String,
}

/// A promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromiseRecord {
    /// The host's id.
    pub host: String,
    /// The VSI.
    pub vsi: PlacedVsi,
    /// What it takes.
    pub needs: Needs,
    /// Why that host; none of a VSI that was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The requests by which it may be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<OpenRequest>,
    /// How it stands.
    #[serde(default)]
    pub state: PromiseState,
}

impl PromiseRecord {
    /// Whether it is that VSI's.
    pub fn is_of(&self, vsi: &PlacedVsi) -> bool {
        self.vsi.namespace == vsi.namespace && self.vsi.name == vsi.name
    }
}

/// Counts open promises on their hosts, but those whose VSIs are counted there.
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
        // Who counts again counts nothing twice.
        count(&mut hosts, promises.iter());
        assert_eq!(hosts[0].promised.all.memory, 4);
    }
}
