//! How a virtual server chooses among the hosts that its target selector matches.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::documents::Document;
use super::problem::{FieldPath, ProblemCode};
use super::quantity::Quantity;
use super::selector::LabelSelector;
use super::vsi::{self, VsiSpec};

/// How a host is chosen. Everything may be left out: then the host with the most free room is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlacementSpec {
    /// Over what those that belong together are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Whether the fullest host that fits is chosen.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pack: bool,
    /// No host is chosen that has a VSI of this namespace with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<LabelSelector>,
    /// What a host must have free, or at all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requires: Requires,
}

/// Over what VSIs are spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// Over hosts, or over the values of a label of hosts.
    pub over: SpreadOver,
    /// The label of hosts, where it is over a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The VSIs of the namespace that count; where absent, the members of the same pool, and for a VSI
    /// of no pool all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub among: Option<LabelSelector>,
}

/// Over hosts, or over the values of a label of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SpreadOver {
    /// Over hosts.
    Host,
    /// Over the values of a label of hosts.
    Label,
}

/// What a host must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requires {
    /// Free memory in bytes, where that is more than the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Free processors, where that is more than the machine's.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_cpus"
    )]
    pub cpus: Option<u32>,
    /// Free room in the storage pool in bytes, where that is more than the sizes of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_room: Option<Quantity>,
    /// A device that the host's settings name.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_device"
    )]
    pub device: Option<String>,
}

/// What is recorded of a placement: what was asked for, and among which hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredPlacement {
    /// How a host is chosen.
    pub request: PlacementSpec,
    /// The ids of the hosts that were matched when it was recorded. They are not compared: what is
    /// placed stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Why hosts that were matched are no candidates, by host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<(String, String)>,
}

impl DesiredPlacement {
    /// The same without what is not compared.
    pub fn compared(&self) -> Self {
        Self {
            request: self.request.clone(),
            ..Self::default()
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

fn is_default(value: &Requires) -> bool {
    *value == Requires::default()
}

fn some_cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    vsi::cpus(deserializer).map(Some)
}

/// The longest name of a device.
const DEVICE_MAX: usize = 63;

/// Whether a text can name a device.
pub(super) fn is_device(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    !name.is_empty() && name.len() <= DEVICE_MAX && name.bytes().all(plain)
}

fn some_device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let device = String::deserialize(deserializer)?;
    if is_device(&device) {
        Ok(Some(device))
    } else {
        Err(D::Error::custom(format_args!(
            "a device is a name of at most {DEVICE_MAX} letters, digits, `-`, `_`, `.` and `/`"
        )))
    }
}

/// What a placement cannot say, whatever hosts there are.
pub(super) fn check(document: &Document<VsiSpec>) -> Vec<super::Problem> {
    let Some(placement) = &document.spec.placement else {
        return Vec::new();
    };
    let path = FieldPath::of(["spec", "placement"]);
    let wrong = |at: FieldPath, message: &str, remedy: &str| {
        document.problem(ProblemCode::WrongValue, at, message, remedy)
    };
    let mut problems = Vec::new();
    if let Some(spread) = &placement.spread {
        let label = path.clone().key("spread").key("label");
        match (spread.over, spread.label.as_deref()) {
            (SpreadOver::Label, None | Some("")) => problems.push(wrong(
                label,
                "a spread over a label names the label",
                "write which label of the hosts, such as label: zone",
            )),
            (SpreadOver::Host, Some(_)) => problems.push(wrong(
                label,
                "a spread over hosts has no label",
                "write over: label, or remove the label",
            )),
            _ => {}
        }
    }
    if placement.pack && placement.spread.is_some() {
        problems.push(wrong(
            path.key("pack"),
            "pack and spread contradict one another",
            "remove one of them",
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_placement_reads_what_it_writes() {
        let document = json!({
            "spread": {"over": "label", "label": "zone"},
            "antiAffinity": {"matchLabels": {"app": "db"}},
            "requires": {"memory": "64Gi", "cpus": 8, "poolRoom": "100Gi", "device": "crypto"},
        });
        let read: PlacementSpec = serde_json::from_value(document).unwrap();
        assert_eq!(read.requires.memory, Some(Quantity(64 << 30)));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(
            serde_json::from_value::<PlacementSpec>(written).unwrap(),
            read
        );
        let nothing: PlacementSpec = serde_json::from_value(json!({})).unwrap();
        assert_eq!(nothing, PlacementSpec::default());
        assert_eq!(serde_json::to_value(nothing).unwrap(), json!({}));
    }

    #[test]
    fn what_no_host_could_have_is_refused() {
        for wrong in [
            json!({"requires": {"cpus": 0}}),
            json!({"requires": {"device": "a b"}}),
            json!({"requires": {"memory": "much"}}),
            json!({"spread": {"over": "moon"}}),
            json!({"spread": {}}),
            json!({"stack": true}),
        ] {
            assert!(
                serde_json::from_value::<PlacementSpec>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }
}
