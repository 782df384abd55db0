//! What `describe` shows of an object, as data. A client decides how times, trees and the width are written.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fleet::{Condition, FleetError, HistoryLine, Metadata};

/// An object with everything known about it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The object for programs.
    pub value: Value,
    /// Its parts for people, in their order. If there are none, the value says everything.
    pub details: Vec<Detail>,
    /// Its history.
    pub history: Vec<HistoryLine>,
    /// The entities whose newest runs are shown, as [`HistoryLine::entity`] names them.
    pub entities: Vec<String>,
}

impl Description {
    /// The description of an object whose history begins with an event of its own.
    pub(super) fn of(
        object: &impl Serialize,
        details: Vec<Detail>,
        history: Vec<HistoryLine>,
    ) -> Result<Self, FleetError> {
        let value = serde_json::to_value(object);
        let own_entity = history.first().map(|line| line.entity.clone());
        Ok(Self {
            value: value.map_err(|error| FleetError::defect(error.to_string()))?,
            details,
            entities: own_entity.into_iter().collect(),
            history,
        })
    }
}

/// A part of a description.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    /// A named value; left out if it is empty.
    Field(Cow<'static, str>, Vec<Phrase>),
    /// A line on its own.
    Line(String),
    /// A head with lines below it.
    Section(Cow<'static, str>, Vec<String>),
    /// A head with a tree below it.
    Tree(Cow<'static, str>, Vec<TreeNode>),
    /// The desired state, with sizes in bytes.
    Spec(#[schemars(with = "serde_json::Map<String, Value>")] Value),
    /// What holds and what does not.
    Conditions(Vec<Condition>),
    /// What stands in its way, or the end of its console; left out if it is empty.
    Explanation(String),
}

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phrase {
    /// A text.
    Text(String),
    /// A moment, RFC 3339, that a sentence tells as `5m ago`.
    Moment(String),
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeNode {
    /// Its line.
    pub text: String,
    /// What is below it.
    pub children: Vec<TreeNode>,
}

impl Detail {
    /// A named text.
    pub(super) fn field(name: &'static str, value: impl ToString) -> Self {
        Self::Field(name.into(), vec![Phrase::Text(value.to_string())])
    }

    /// A named text that may be unknown.
    pub(super) fn optional(name: &'static str, value: Option<impl ToString>) -> Self {
        let phrase = value.map(|value| Phrase::Text(value.to_string()));
        Self::Field(name.into(), phrase.into_iter().collect())
    }

    /// A named moment that may be unknown.
    pub(super) fn moment(name: &'static str, at: Option<&str>) -> Self {
        let at = at.filter(|at| !at.is_empty());
        let phrase = at.map(|at| Phrase::Moment(at.to_owned()));
        Self::Field(name.into(), phrase.into_iter().collect())
    }

    /// Lines below a head, unless there are none.
    pub(super) fn lines(head: &'static str, lines: Vec<String>) -> Option<Self> {
        (!lines.is_empty()).then_some(Self::Section(head.into(), lines))
    }

    /// Who an object is.
    pub(super) fn identity(metadata: &Metadata) -> Vec<Self> {
        let labels = metadata.labels.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        vec![
            Self::field("Name", &metadata.name),
            Self::field("Namespace", &metadata.namespace),
            Self::field("UID", &metadata.uid),
            Self::field("Generation", metadata.generation),
            Self::moment("Created", Some(&metadata.creation_timestamp)),
            Self::field("Labels", labels.join(",")),
        ]
    }
}

impl Phrase {
    /// A moment, or that there is none.
    pub(super) fn moment_or_none(at: Option<&String>) -> Self {
        at.map_or_else(|| Self::text("none"), |at| Self::Moment(at.clone()))
    }

    /// A text.
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }
}
