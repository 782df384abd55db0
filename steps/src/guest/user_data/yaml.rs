//! Reads YAML as cloud-init does, as far as its shape matters.

use granit_parser::{Event, Parser, ScalarStyle};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::{
    InputProblem,
    budget::{CheckBudget, too_large},
    python_yaml,
};

/// The most nodes of one text, those that aliases repeat among them.
const NODES_MAX: usize = 100_000;
/// The most bytes of texts in it.
const TEXTS_MAX: usize = 4 << 20;

/// Why a text is not read.
pub(super) enum Unread {
    /// It is not YAML, at the place in brackets, if one is known.
    Wrong(String),
    /// It exceeds what is read.
    TooLarge,
}

/// The outermost part of a YAML text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum YamlShape {
    Nothing,
    Mapping,
    List,
    Scalar,
}

pub(super) fn check_yaml(
    text: &str,
    expected: YamlShape,
    budget: &CheckBudget,
) -> Option<InputProblem> {
    let remedy = "correct its YAML; `cloud-init schema --config-file FILE` checks it";
    let words = match expected {
        YamlShape::List => "a list",
        _ => "a mapping of keys to values",
    };
    match shape_of(text, budget) {
        Err(Unread::TooLarge) => Some(too_large()),
        Err(Unread::Wrong(place)) => {
            Some(InputProblem::new(format!("it is not YAML{place}"), remedy))
        }
        Ok(shape) if shape == expected || shape == YamlShape::Nothing => check_as_python(text),
        Ok(_) => Some(InputProblem::new(
            format!("its YAML is not {words}"),
            remedy,
        )),
    }
}

/// The problem of a text that is YAML, if cloud-init's parser does not take it.
pub(super) fn check_as_python(text: &str) -> Option<InputProblem> {
    check_tabs(text).or_else(|| python_yaml::check(text))
}

/// PyYAML refuses a tab outside of quotation marks, of blocks of text and of comments.
fn check_tabs(text: &str) -> Option<InputProblem> {
    if !text.contains('\t') {
        return None;
    }
    let (mut at, mut rest) = (0_usize, None);
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let may_have_tabs = match event {
            Event::Scalar(_, style, ..) => style != ScalarStyle::Plain,
            Event::Comment(..) => true,
            _ => false,
        };
        let Some(range) = span.byte_range().filter(|_| may_have_tabs) else {
            continue;
        };
        rest = rest.or_else(|| tab_between(text, at, range.start));
        at = at.max(range.end);
    }
    let tab = rest.or_else(|| tab_between(text, at, text.len()))?;
    let preceding = text.get(..tab).unwrap_or_default();
    let line = preceding.matches('\n').count().saturating_add(1);
    let message = format!("it has a tab where YAML has spaces (line {line})");
    Some(InputProblem::new(
        message,
        "write spaces instead of the tab",
    ))
}

fn tab_between(text: &str, begin: usize, end: usize) -> Option<usize> {
    let tab = text.get(begin..end)?.find('\t')?;
    Some(begin.saturating_add(tab))
}

/// The shape of a YAML text, or why it is not read.
pub(super) fn shape_of(text: &str, budget: &CheckBudget) -> Result<YamlShape, Unread> {
    budget
        .take_bytes(text.len())
        .map_err(|_| Unread::TooLarge)?;
    read_yaml(text)
}

/// Reads YAML as cloud-init does, or says where it is wrong without repeating any of it.
pub(super) fn read_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Unread> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_total_scalar_bytes: TEXTS_MAX,
        },
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        if is_too_large(&error) {
            return Unread::TooLarge;
        }
        let place = error.location();
        Unread::Wrong(place.map_or_else(String::new, |place| {
            format!(" (line {}, column {})", place.line(), place.column())
        }))
    })
}

fn is_too_large(mut cause: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = cause {
        cause = error;
    }
    matches!(
        cause,
        Error::Budget { .. }
            | Error::AliasReplayLimitExceeded { .. }
            | Error::AliasExpansionLimitExceeded { .. }
            | Error::AliasReplayStackDepthExceeded { .. }
    )
}

impl<'de> Deserialize<'de> for YamlShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

macro_rules! scalars {
    ($($name:ident: $type:ty),*) => {
        $(fn $name<E>(self, _: $type) -> Result<YamlShape, E> {
            Ok(YamlShape::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = YamlShape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("YAML")
    }

    scalars! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64, visit_str: &str
    }

    fn visit_unit<E>(self) -> Result<YamlShape, E> {
        Ok(YamlShape::Nothing)
    }

    fn visit_none<E>(self) -> Result<YamlShape, E> {
        Ok(YamlShape::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<YamlShape, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<YamlShape, A::Error> {
        while list.next_element::<Self::Value>()?.is_some() {}
        Ok(YamlShape::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlShape, A::Error> {
        while let Some(key) = map.next_key::<Self::Value>()? {
            // As where the braces of a template were not filled in. Python has no such keys.
            if matches!(key, YamlShape::Mapping | YamlShape::List) {
                return Err(serde::de::Error::custom("a key is not a text"));
            }
            map.next_value::<Self::Value>()?;
        }
        Ok(YamlShape::Mapping)
    }
}
