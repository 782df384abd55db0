//! Placement: how a host is chosen among those that the target selector matches.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::desired::DesiredVsi;
use super::documents::Document;
use super::meta;
use super::problem::{FieldPath, ProblemCode};
use super::quantity::Quantity;
use super::selector::LabelSelector;
use super::vsi::{self, VsiSpec};

/// How a host is chosen. All fields are optional; by default the host with the most free room is
/// chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlacementSpec {
    /// Over what those that belong together are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "{over: host}"))]
    pub spread: Option<Spread>,
    /// Whether the fullest host that fits is chosen.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("x-example" = true))]
    pub pack: bool,
    /// No host is chosen that has a server of this namespace with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<LabelSelector>,
    /// What a host must have free, or at all.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("x-example" = "{memory: 64Gi}"))]
    pub requires: Requires,
}

/// The placement of a document: with labels that an API server accepts. Records are read without this check.
pub(super) fn of_document<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PlacementSpec>, D::Error> {
    let placement = Option::<PlacementSpec>::deserialize(deserializer)?;
    if let Some(placement) = &placement {
        placement.check_labels().map_err(D::Error::custom)?;
    }
    Ok(placement)
}

impl PlacementSpec {
    fn check_labels(&self) -> Result<(), String> {
        let spread = self.spread.as_ref();
        if let Some(key) = spread.and_then(|spread| spread.label.as_deref()) {
            meta::check_label_key(key)?;
        }
        let among = spread.and_then(|spread| spread.among.as_ref());
        let mut selectors = self.anti_affinity.iter().chain(among);
        selectors.try_for_each(LabelSelector::check_labels)
    }
}

/// How VSIs are spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// Over hosts, or over the values of a label of hosts.
    pub over: SpreadOver,
    /// The label of hosts, where it is over a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "zone"))]
    pub label: Option<String>,
    /// The servers of the namespace that count; where absent, the members of the same pool, and for a server of
    /// no pool all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub among: Option<LabelSelector>,
}

/// Over hosts, or over the values of a label of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpreadOver {
    /// Over hosts.
    Host,
    /// Over the values of a label of hosts.
    Label,
}

/// What a host must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requires {
    /// Free memory, where that is more than the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "64Gi"))]
    pub memory: Option<Quantity>,
    /// Free processors, where that is more than the machine's.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_cpus"
    )]
    #[schemars(range(min = 1, max = vsi::MAX_CPUS), extend("x-example" = 8))]
    pub cpus: Option<u32>,
    /// Free room in the storage pool, where that is more than the sizes of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "100Gi"))]
    pub pool_room: Option<Quantity>,
    /// A device that the host's settings name.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_device"
    )]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_./-]{1,63}$"), extend("x-example" = "crypto"))]
    pub device: Option<String>,
}

/// The recorded placement: the request, and the candidate hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredPlacement {
    /// How a host is chosen.
    pub request: PlacementSpec,
    /// The IDs of the hosts that matched when it was recorded. Not compared, because a placed VSI
    /// stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Why matched hosts are not candidates, by host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<(String, String)>,
}

impl DesiredPlacement {
    /// The part that is compared.
    pub fn compared(&self) -> Self {
        Self {
            request: self.request.clone(),
            ..Self::default()
        }
    }
}

impl DesiredVsi {
    /// Takes the candidate hosts of a newer template, if vsiflow chooses among hosts for both.
    pub(crate) fn take_candidates(&mut self, newer: &Self) {
        if let (Some(own), Some(newer)) = (&mut self.placement, &newer.placement) {
            own.candidates.clone_from(&newer.candidates);
            own.excluded.clone_from(&newer.excluded);
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

/// The longest name of a device, in bytes.
const DEVICE_MAX: usize = 63;

/// Whether a text is a valid device name.
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

/// Checks a placement, whatever hosts there are.
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
