//! Checks a network configuration, in netplan's form or in that of cloud-init's version 1.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    InputProblem,
    budget::too_large,
    duplicate_keys, is_filled_later, is_small, netplan_keys, netplan_references,
    netplan_values::RENDERERS,
    network_v1,
    yaml::{Unread, check_as_python, read_yaml},
};
use crate::verdicts::{VERDICTS_MAX, Verdicts};

const REMEDY: &str = "write netplan's YAML, for example: version: 2 and below it ethernets";
/// The sections of a network configuration of version 2 that define devices.
const DEVICES: [&str; 12] = [
    "ethernets",
    "wifis",
    "bonds",
    "bridges",
    "vlans",
    "tunnels",
    "vrfs",
    "modems",
    "nm-devices",
    "dummy-devices",
    "virtual-ethernets",
    "openvswitch",
];

static VERDICTS: Verdicts<Option<InputProblem>> = Verdicts::new(VERDICTS_MAX);

/// The problem of a network configuration, if cloud-init would ignore it.
pub fn check_network(text: &str) -> Option<InputProblem> {
    if is_small(text.as_bytes()) {
        return check_anew(text);
    }
    VERDICTS.of(text.as_bytes(), || check_anew(text))
}

/// Whether [`check_network`] returns at once, because it was called with the same text or it is short.
pub fn is_network_checked(text: &str) -> bool {
    is_small(text.as_bytes()) || VERDICTS.get(text.as_bytes()).is_some()
}

fn check_anew(text: &str) -> Option<InputProblem> {
    match check_values(text) {
        Some(problem) if !problem.is_doubt => Some(problem),
        doubt => duplicate_keys::check(text).or(doubt),
    }
}

fn check_values(text: &str) -> Option<InputProblem> {
    let problem = |message: String| Some(InputProblem::new(message, REMEDY));
    if text.starts_with('\u{feff}') {
        return problem("it begins with a byte order mark".to_owned());
    }
    let document: serde_json::Value = match read_yaml(text) {
        Ok(document) => document,
        Err(Unread::TooLarge) => return Some(too_large()),
        Err(Unread::Wrong(place)) => return problem(format!("it is not YAML{place}")),
    };
    if let Some(refused) = check_as_python(text) {
        return Some(refused);
    }
    if let Some(number) = unquoted_number(text, &document) {
        return Some(number);
    }
    let network = document.get("network").unwrap_or(&document);
    let Some(fields) = network.as_object() else {
        return problem("it is not a mapping of keys to values".to_owned());
    };
    if fields
        .get("config")
        .is_some_and(|config| config == "disabled")
    {
        return None;
    }
    let version = fields.get("version").map(|version| match version.as_str() {
        Some(number) => number.to_owned(),
        None => version.to_string(),
    });
    match version.as_deref() {
        Some("1") => match fields.get("config").and_then(|config| config.as_array()) {
            Some(entries) => network_v1::check(entries),
            None => problem("it has version 1 and no list `config`".to_owned()),
        },
        Some("2") => check_sections(fields),
        Some(_) => problem("its `version` is neither 1 nor 2".to_owned()),
        None => problem("it has no `version`".to_owned()),
    }
}

/// Python takes digits with colons for a number of base 60, unless they are in quotation marks.
fn unquoted_number(text: &str, read: &Value) -> Option<InputProblem> {
    let quoted = quoted_digits(text);
    let mut rest = vec![read];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(list) => rest.extend(list),
            Value::Object(fields) => rest.extend(fields.values()),
            Value::String(word) if is_base_60(word) && !quoted.contains(word.as_str()) => {
                let message = "it has digits with colons that cloud-init takes for a number";
                let remedy = "put hardware addresses into quotation marks";
                return Some(InputProblem::new(message, remedy));
            }
            _ => {}
        }
    }
    None
}

/// The texts of digits and colons between quotation marks of one kind.
fn quoted_digits(text: &str) -> BTreeSet<&str> {
    let (mut quoted, mut opened) = (BTreeSet::new(), None);
    for (at, c) in text.char_indices() {
        match (c, opened) {
            ('"' | '\'', open) => {
                let closed_quote = open.filter(|(quote, _)| *quote == c);
                quoted.extend(closed_quote.and_then(|(_, begin)| text.get(begin..at)));
                opened = Some((c, at.saturating_add(1)));
            }
            ('0'..='9' | ':', _) => {}
            _ => opened = None,
        }
    }
    quoted
}

fn is_base_60(word: &str) -> bool {
    let is_digits = |part: &str| {
        (1..=2).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let is_part = |part: &str| is_digits(part) && part < "6" || part.len() == 1 && is_digits(part);
    let Some((first, others)) = word.split_once(':') else {
        return false;
    };
    let is_first = !first.starts_with('0')
        && !first.is_empty()
        && first.bytes().all(|digit| digit.is_ascii_digit());
    is_first && others.split(':').all(is_part)
}

/// The problem of version 2: netplan refuses the whole of a configuration for one section that it does not know,
/// and for one device that is wrong.
fn check_sections(fields: &Map<String, Value>) -> Option<InputProblem> {
    let problem = |message: &str| Some(InputProblem::new(message, REMEDY));
    let is_device = |key: &str| DEVICES.contains(&key);
    let is_known = |key: &str| is_device(key) || ["version", "renderer"].contains(&key);
    // One without any section is valid, and configures nothing.
    if !fields.keys().all(|key| is_known(key)) {
        return if fields.keys().any(|key| is_device(key)) {
            problem("it has a section that netplan does not know")
        } else {
            problem("it has version 2 and defines no devices")
        };
    }
    let renderer = fields.get("renderer").and_then(Value::as_str);
    if renderer.is_some_and(|renderer| !RENDERERS.contains(&renderer) && !is_filled_later(renderer))
    {
        return problem("its `renderer` is neither networkd nor NetworkManager");
    }
    let sections = fields.iter().filter(|(key, _)| is_device(key));
    for (key, section) in sections {
        let Some(devices) = section.as_object() else {
            return problem("a section of devices is not a mapping of names to devices");
        };
        if key == "openvswitch" {
            continue;
        }
        for (name, device) in devices {
            if !device.is_object() {
                return problem("a device is not a mapping of keys to values");
            }
            if device
                .get("addresses")
                .is_some_and(|list| !are_addresses(list))
            {
                return Some(InputProblem::new(
                    "the `addresses` of a device are not a list of addresses with the lengths of their prefixes",
                    "write a list, for example: addresses: [192.0.2.7/24]",
                ));
            }
            if let Some(misspelt) = netplan_keys::check(key, name, device) {
                return Some(misspelt);
            }
        }
    }
    netplan_references::check(fields, is_device)
}

fn are_addresses(list: &Value) -> bool {
    let is_address = |text: &str| match text.split_once('/') {
        Some((address, length)) => {
            let most = match address.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(_)) => 32,
                Ok(std::net::IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            length
                .parse::<u8>()
                .is_ok_and(|length| (1..=most).contains(&length))
        }
        None => is_filled_later(text),
    };
    list.as_array().is_some_and(|list| {
        list.iter().all(|entry| match entry {
            Value::String(text) => is_address(text),
            // With options, such as a label.
            Value::Object(entry) => entry.keys().all(|text| is_address(text)),
            _ => false,
        })
    })
}
