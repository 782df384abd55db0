//! Parses a selector as `kubectl -l` does: `app=web,tier!=test,zone in (a,b),!old`.
//!
//! Source: "Labels and Selectors" of Kubernetes' documentation. `key!=value` and `notin` also hold if
//! the label does not exist.

use std::str::FromStr;

use super::meta;
use super::selector::{Expression, LabelSelector, SelectorOperator};

impl FromStr for LabelSelector {
    type Err = String;

    /// An empty text selects everything.
    ///
    /// # Errors
    /// Which condition cannot be understood, and how one is written.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut selector = Self::default();
        if text.trim().is_empty() {
            return Ok(selector);
        }
        // An empty condition is refused, because a variable of a script may have been empty.
        for condition in split(text) {
            if condition.is_empty() {
                return Err(format!("{text:?} has an empty condition"));
            }
            selector.match_expressions.push(condition_of(condition)?);
        }
        Ok(selector)
    }
}

/// Splits the conditions; a comma in parentheses separates values.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let parts = text.split(move |c| {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim)
}

fn condition_of(text: &str) -> Result<Expression, String> {
    use SelectorOperator::{DoesNotExist, Exists, In, NotIn};
    if let Some(key) = text.strip_prefix('!').filter(|key| !key.contains('=')) {
        return expression(key, DoesNotExist, Vec::new());
    }
    for (sign, operator) in [("!=", NotIn), ("==", In), ("=", In)] {
        if let Some((key, value)) = text.split_once(sign) {
            return expression(key, operator, vec![value.trim().to_owned()]);
        }
    }
    let Some((front, list)) = text.split_once('(') else {
        return expression(text, Exists, Vec::new());
    };
    let (key, word) = front
        .trim()
        .rsplit_once(char::is_whitespace)
        .unwrap_or((front, ""));
    let operator = match word {
        "in" => In,
        "notin" => NotIn,
        _ => return Err(unclear(text)),
    };
    let list = list.strip_suffix(')').ok_or_else(|| unclear(text))?;
    let values = list.split(',').map(|value| value.trim().to_owned());
    expression(key, operator, values.collect())
}

fn expression(
    key: &str,
    operator: SelectorOperator,
    values: Vec<String>,
) -> Result<Expression, String> {
    let key = key.trim();
    meta::check_label_pair(key, "")?;
    for value in &values {
        meta::check_label_pair(key, value)?;
    }
    Ok(Expression {
        key: key.to_owned(),
        operator,
        values,
    })
}

fn unclear(text: &str) -> String {
    format!(
        "{text:?} is not a condition; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        selector
            .parse::<LabelSelector>()
            .unwrap()
            .matches(&labels.collect())
    }

    #[test]
    fn selectors_mean_what_kubectl_means_by_them() {
        let web = [("app", "web"), ("zone", "a")];
        for selector in [
            "",
            "app",
            "app=web",
            "app==web",
            "app = web , zone=a",
            "app!=db",
            "tier!=x",
            "zone in (a, b)",
            "zone notin (c,d),app=web",
            "!old",
            "tier notin (x)",
        ] {
            assert!(selects(selector, &web), "{selector}");
        }
        for selector in [
            "app=db",
            "app!=web",
            "old",
            "!app",
            "zone in (b,c)",
            "zone notin (a)",
            "app=web,zone=b",
        ] {
            assert!(!selects(selector, &web), "{selector}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_how_one_is_written() {
        for wrong in [
            "=a",
            "a in (b",
            "a on (b)",
            "a b",
            "a=b c",
            "a=$(x)",
            "(a)",
            "!",
            "a in b)",
            "a=b,",
            ",a=b",
            "a=b,,c",
            ",",
            "a_=b",
            "a=-b",
            "a/b/c=d",
            "A.B/c",
            "a in (b,.c)",
        ] {
            let refused = wrong.parse::<LabelSelector>();
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
    }
}
