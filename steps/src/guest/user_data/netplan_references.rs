//! What devices of a netplan configuration say about one another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{InputProblem, is_filled_later, netplan_keys::shown, network_values::is_vlan};

/// Keys that only devices of some sections have.
const OF_SECTIONS: [(&str, &[&str]); 3] = [
    ("access-points", &["wifis"]),
    ("interfaces", &["bonds", "bridges", "openvswitch", "vrfs"]),
    ("parameters", &["bonds", "bridges", "openvswitch"]),
];
/// Keys without which a device of a section is refused.
const NEEDED: [(&str, &str); 4] = [
    ("tunnels", "mode"),
    ("vlans", "id"),
    ("vlans", "link"),
    ("wifis", "access-points"),
];

/// A device with its section and name.
struct NamedDevice<'a> {
    section: &'a str,
    name: &'a str,
    fields: &'a Map<String, Value>,
}

/// The problem of the first device that lacks something, or names another that is not there.
pub(super) fn check(
    network: &Map<String, Value>,
    is_section: impl Fn(&str) -> bool,
) -> Option<InputProblem> {
    let sections = network.iter().filter(|(section, _)| is_section(section));
    let devices: Vec<NamedDevice<'_>> = sections
        .filter_map(|(section, devices)| Some((section, devices.as_object()?)))
        .flat_map(|(section, devices)| {
            let named = devices.iter();
            named.filter_map(move |(name, fields)| {
                Some(NamedDevice {
                    section,
                    name,
                    fields: fields.as_object()?,
                })
            })
        })
        .collect();
    let mut names = BTreeSet::new();
    let twice = devices.iter().find(|device| !names.insert(device.name));
    twice
        .map(|device| device.problem("is defined in two sections"))
        .or_else(|| devices.iter().find_map(NamedDevice::misplaced))
        .or_else(|| devices.iter().find_map(|device| device.undefined(&names)))
        .or_else(|| in_two(&devices))
        .or_else(|| in_itself(&devices))
}

impl NamedDevice<'_> {
    fn problem(&self, what: &str) -> InputProblem {
        let message = format!("`{}` {what}", shown(self.section, self.name));
        InputProblem::new(message, "correct it; `netplan generate` checks the file")
    }

    fn misplaced(&self) -> Option<InputProblem> {
        let misplaced_key = OF_SECTIONS.iter().find(|(key, sections)| {
            self.fields.contains_key(*key) && !sections.contains(&self.section)
        });
        if let Some((key, _)) = misplaced_key {
            return Some(self.problem(&format!(
                "has a `{key}`, which devices of its section have not"
            )));
        }
        let is_missing = |(section, key): &&(&str, &str)| {
            self.section == *section && !self.fields.contains_key(*key)
        };
        if let Some((_, key)) = NEEDED.iter().find(is_missing) {
            return Some(self.problem(&format!("has no `{key}`")));
        }
        let id = self.fields.get("id").filter(|_| self.section == "vlans");
        id.is_some_and(|id| !is_vlan(id))
            .then(|| self.problem("has an `id` that is not from 0 to 4094"))
    }

    /// The other devices that it names.
    fn referents(&self) -> impl Iterator<Item = &str> {
        let link = self.fields.get("link").filter(|_| self.section == "vlans");
        let interfaces = self.fields.get("interfaces").and_then(Value::as_array);
        let named = interfaces.into_iter().flatten().chain(link);
        named
            .filter_map(Value::as_str)
            .filter(|name| !is_filled_later(name))
    }

    fn undefined(&self, names: &BTreeSet<&str>) -> Option<InputProblem> {
        // Open vSwitch may have interfaces that netplan does not know.
        let mut referents = self
            .referents()
            .filter(|_| !self.fields.contains_key("openvswitch"));
        let is_unknown = referents.any(|name| !names.contains(name));
        is_unknown.then(|| self.problem("names a device that is not defined"))
    }
}

/// A device that two bonds or two bridges have.
fn in_two(devices: &[NamedDevice<'_>]) -> Option<InputProblem> {
    let mut owners: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    devices
        .iter()
        .filter(|device| ["bonds", "bridges"].contains(&device.section))
        .find_map(|device| {
            let mut referents = device.referents();
            let is_other = referents.any(|name| {
                let owner = owners.entry((device.section, name)).or_insert(device.name);
                *owner != device.name
            });
            is_other.then(|| device.problem("has a device that another one of its section has"))
        })
}

/// A device that others have among their devices, and that has those itself.
fn in_itself(devices: &[NamedDevice<'_>]) -> Option<InputProblem> {
    let below: BTreeMap<&str, Vec<&str>> = devices
        .iter()
        .map(|device| (device.name, device.referents().collect()))
        .collect();
    // Devices of which everything below is known to have an end.
    let mut ended: BTreeSet<&str> = BTreeSet::new();
    devices.iter().find_map(|device| {
        let (mut open, mut rest) = (BTreeSet::new(), vec![(device.name, false)]);
        while let Some((name, is_left)) = rest.pop() {
            if is_left {
                open.remove(name);
                ended.insert(name);
                continue;
            }
            if ended.contains(name) {
                continue;
            }
            if !open.insert(name) {
                return Some(device.problem("is a part of a device that is a part of itself"));
            }
            rest.push((name, true));
            let parts = below.get(name).into_iter().flatten();
            rest.extend(parts.map(|part| (*part, false)));
        }
        None
    })
}
