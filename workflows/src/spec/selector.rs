//! Label selectors, with exactly the meaning they have in Kubernetes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::meta;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Chooses objects by their labels. All parts must hold; an empty selector matches every object.
/// An absent selector matches none: see [`matches()`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-example" = "{matchLabels: {app: hpcr}}", "x-expected" = "a label selector"))]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-example" = "{app: hpcr}"))]
    pub match_labels: Labels,
    /// Further conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-example" = "[{key: app, operator: In, values: [hpcr]}]", "x-expected" = "a list of conditions"))]
    pub match_expressions: Vec<Expression>,
}

/// One condition of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Expression {
    /// The label.
    #[schemars(extend("x-example" = "app"))]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: SelectorOperator,
    /// The values of In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-example" = "[hpcr]"))]
    pub values: Vec<String>,
}

/// How an [`Expression`] tests a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The label exists, with one of the values.
    In,
    /// The label does not exist, or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

/// An [`Expression`] before the rules between its fields were checked.
#[derive(Deserialize)]
#[serde(rename = "Expression", deny_unknown_fields)]
struct RawExpression {
    key: String,
    operator: SelectorOperator,
    #[serde(default)]
    values: Vec<String>,
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawExpression {
            key,
            operator,
            values,
        } = RawExpression::deserialize(deserializer)?;
        check(operator, &values).map_err(serde::de::Error::custom)?;
        Ok(Self {
            key,
            operator,
            values,
        })
    }
}

/// Checks the number of values, as an API server does: a condition that can never hold is a mistake.
fn check(operator: SelectorOperator, values: &[String]) -> Result<(), String> {
    let wants_values = matches!(operator, SelectorOperator::In | SelectorOperator::NotIn);
    match (wants_values, values.is_empty()) {
        (true, true) => Err(format!(
            "operator {operator:?} needs at least one of `values`"
        )),
        (false, false) => Err(format!("operator {operator:?} accepts no `values`")),
        _ => Ok(()),
    }
}

impl Expression {
    /// Whether the condition holds for these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        let found = labels.get(&self.key);
        let listed = || found.is_some_and(|value| self.values.contains(value));
        match self.operator {
            SelectorOperator::In => listed(),
            SelectorOperator::NotIn => !listed(),
            SelectorOperator::Exists => found.is_some(),
            SelectorOperator::DoesNotExist => found.is_none(),
        }
    }
}

impl LabelSelector {
    /// Whether every part holds for these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|expression| expression.matches(labels))
    }
}

/// A selector of a document: with labels that an API server accepts. A label with another one selects nothing, ever.
/// Records are read without this check.
pub(super) fn of_document<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<LabelSelector>, D::Error> {
    let selector = Option::<LabelSelector>::deserialize(deserializer)?;
    if let Some(selector) = &selector {
        selector.check_labels().map_err(serde::de::Error::custom)?;
    }
    Ok(selector)
}

impl LabelSelector {
    /// Checks keys and values. Variables of a group are filled in later.
    pub(super) fn check_labels(&self) -> Result<(), String> {
        for (key, value) in &self.match_labels {
            check_label(key, Some(value))?;
        }
        for Expression { key, values, .. } in &self.match_expressions {
            check_label(key, None)?;
            for value in values {
                check_label(key, Some(value))?;
            }
        }
        Ok(())
    }
}

fn check_label(key: &str, value: Option<&String>) -> Result<(), String> {
    let is_known = |text: &str| !text.contains("$(");
    if is_known(key) {
        meta::check_label_key(key)?;
    }
    match value.filter(|value| is_known(value)) {
        Some(value) => meta::check_label_value(key, value),
        None => Ok(()),
    }
}

/// Whether an optional selector matches; an absent one matches nothing.
pub fn matches(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}

impl std::fmt::Display for LabelSelector {
    /// As `kubectl -l` writes it: `app=hpcr,tier in (a,b),!old`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels = self
            .match_labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let conditions = self.match_expressions.iter().map(Expression::to_string);
        let all: Vec<String> = labels.chain(conditions).collect();
        if all.is_empty() {
            f.write_str("everything")
        } else {
            f.write_str(&all.join(","))
        }
    }
}

impl std::fmt::Display for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            SelectorOperator::In => write!(f, "{key} in ({values})"),
            SelectorOperator::NotIn => write!(f, "{key} notin ({values})"),
            SelectorOperator::Exists => f.write_str(key),
            SelectorOperator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
