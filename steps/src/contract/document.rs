//! Parses a contract into its sections and finds the lines of their keys.

use std::{
    cell::{Cell, OnceCell},
    collections::BTreeMap,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{finding::Finding, token};
use crate::error;

/// Maximum nesting depth.
const DEEPEST: usize = 64;
/// Maximum number of nodes, those that aliases repeat among them. A real contract has some dozens.
const MAX_NODES: usize = 10_000;
/// Maximum number of bytes of texts, those that aliases repeat among them. An archive of 16 MiB is shorter in base64.
const MAX_TEXTS: usize = 24 << 20;
/// For how many findings lines are searched; the lines of more are unknown.
const MAX_SEARCHES: usize = 256;

#[derive(Deserialize)]
struct Sections(BTreeMap<String, Value>);

/// A contract that is a mapping of sections.
pub(super) struct ContractDocument<'a> {
    lines: Vec<&'a str>,
    searches_left: Cell<usize>,
    sections: BTreeMap<String, Value>,
    workload: OnceCell<Plain>,
    env: OnceCell<Plain>,
}

impl<'a> ContractDocument<'a> {
    pub(super) fn read(contract: &'a [u8]) -> Result<Self, Finding> {
        let text = std::str::from_utf8(contract).map_err(|error| {
            let valid = contract.get(..error.valid_up_to()).unwrap_or_default();
            let breaks = valid.iter().filter(|byte| **byte == b'\n').count() as u64;
            Finding::error(error::CONTRACT_YAML, "the contract is not UTF-8 text")
                .at(Some(breaks.saturating_add(1)))
        })?;
        let sections = parse(text).map_err(|line| {
            let words = "the contract is not a YAML mapping with each section once";
            Finding::error(error::CONTRACT_YAML, words).at(line)
        })?;
        Ok(Self {
            lines: text.lines().collect(),
            searches_left: Cell::new(MAX_SEARCHES),
            sections,
            workload: OnceCell::new(),
            env: OnceCell::new(),
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    pub(super) fn get(&self, section: &str) -> Option<&Value> {
        self.sections.get(section)
    }

    /// A section's text; `None` if it is not text.
    pub(super) fn text(&self, section: &str) -> Option<&str> {
        self.get(section)?.as_str()
    }

    pub(super) fn is_encrypted(&self, section: &str) -> bool {
        self.text(section).is_some_and(token::looks_encrypted)
    }

    /// The content of `workload`: the mapping itself, or the one that its text describes.
    pub(super) fn workload(&self) -> &Plain {
        self.workload.get_or_init(|| self.plain("workload"))
    }

    /// The same of `env`.
    pub(super) fn env(&self) -> &Plain {
        self.env.get_or_init(|| self.plain("env"))
    }

    fn plain(&self, section: &str) -> Plain {
        match self.get(section) {
            Some(Value::Object(map)) => Plain::Mapping(map.clone()),
            Some(Value::String(text)) if token::looks_encrypted(text) => Plain::Hidden,
            Some(Value::String(text)) => match value(text) {
                Ok(Value::Object(map)) if !map.is_empty() => Plain::Mapping(map),
                Ok(_) => Plain::Other,
                Err(line) => Plain::Broken(self.within(section, line)),
            },
            _ => Plain::Hidden,
        }
    }

    /// Converts a line within a section that is a block of text to a line of the contract.
    fn within(&self, section: &str, inner: Option<u64>) -> Option<u64> {
        let line = self.line(&[section])?;
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let head = self.lines.get(index)?.trim_end();
        match inner {
            Some(inner) if head.ends_with(['|', '-', '+', '>']) => line.checked_add(inner),
            _ => Some(line),
        }
    }

    /// The line of a key, by the keys that lead to it; if the key is not found, the line of its nearest
    /// parent.
    pub(super) fn line(&self, path: &[&str]) -> Option<u64> {
        let searches_left = self.searches_left.get().checked_sub(1)?;
        self.searches_left.set(searches_left);
        let mut lines = self.lines.iter().zip(1_u64..);
        let (section, rest) = path.split_first()?;
        let top = |line: &str| !line.starts_with([' ', '\t']) && begins_with(line, section);
        let mut number = lines.find(|(line, _)| top(line))?.1;
        let mut inside = lines.take_while(|(line, _)| {
            line.trim().is_empty() || line.starts_with([' ', '\t', '#', '-'])
        });
        for key in rest {
            match inside.find(|(line, _)| begins_with(line.trim_start(), key)) {
                Some((_, inner_number)) => number = inner_number,
                None => break,
            }
        }
        Some(number)
    }
}

/// The content of a section, as far as it is visible outside the guest.
pub(super) enum Plain {
    /// Keys and values.
    Mapping(Map<String, Value>),
    /// Text that is not a mapping.
    Other,
    /// Text that is not YAML, and the line of the syntax error.
    Broken(Option<u64>),
    /// The section is encrypted or missing.
    Hidden,
}

impl Plain {
    pub(super) fn mapping(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Mapping(map) => Some(map),
            Self::Other | Self::Broken(_) | Self::Hidden => None,
        }
    }
}

fn begins_with(line: &str, key: &str) -> bool {
    line.trim_start_matches(['"', '\'', '-', ' '])
        .strip_prefix(key)
        .is_some_and(|rest| rest.starts_with([':', '"', '\'', ' ']))
}

/// Parses a YAML mapping; the error is the line where parsing failed. An empty text is an empty mapping.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Value>, Option<u64>> {
    read::<Option<Sections>>(text).map(|sections| sections.map(|s| s.0).unwrap_or_default())
}

fn value(text: &str) -> Result<Value, Option<u64>> {
    read(text)
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Option<u64>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_TEXTS,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| error.location().map(|location| location.line()))
}
