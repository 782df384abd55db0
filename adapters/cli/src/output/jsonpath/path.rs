//! JSON paths of users, and their limits.
//!
//! The client evaluates them. But a daemon parses the command lines that callers send, whatever is in them. The parser
//! needs exponential time for nested functions, and unions multiply what they select. So a path is short and shallow,
//! its selections have a bound, and its filters compare single fields.

use std::num::NonZeroUsize;
use std::sync::Once;

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Segment, Selector, Test,
    TestFunction,
};
use jsonpath_rust::{parser::parse_json_path, query::js_path_process};
use serde_json::Value;

/// Maximum length of a path, in bytes.
const TEXT_MAX: usize = 1_024;
/// How deep brackets and parentheses may be nested.
const NESTED_MAX: usize = 6;
/// How many calls of rules the parser may make.
const CALLS_MAX: usize = 200_000;
const SEGMENTS_MAX: usize = 32;
/// How many times a value may be selected.
const WIDTH_MAX: usize = 16;
/// How many comparisons and tests a filter may have.
const TESTS_MAX: usize = 16;
/// What `..` counts for in the width.
const DESCENDANT_WIDTH: usize = 4;

/// A parsed path, as in RFC 9535.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValuePath {
    text: String,
    query: JpQuery,
    width: usize,
}

impl ValuePath {
    /// Parses a path in its full form.
    pub(super) fn parse(text: String) -> Result<Self, String> {
        check_text(&text)?;
        limit_parser();
        let query = parse_json_path(&text).map_err(|error| error.to_string())?;
        let width = width_of(&query.segments)?;
        Ok(Self { text, query, width })
    }

    /// The path in its full form.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// How many times a value may be selected.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The values at the path.
    pub(crate) fn select<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let selected = js_path_process(&self.query, value).unwrap_or_default();
        selected.into_iter().map(|at| at.val()).collect()
    }
}

/// The parser's own limit; no other parser of the process uses that library.
fn limit_parser() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| pest::set_call_limit(NonZeroUsize::new(CALLS_MAX)));
}

fn check_text(text: &str) -> Result<(), String> {
    if text.len() > TEXT_MAX {
        return Err(format!("it is longer than {TEXT_MAX} bytes"));
    }
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    for c in text.chars() {
        match (c, quote) {
            _ if is_escaped => is_escaped = false,
            ('\\', Some(_)) => is_escaped = true,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('(' | '[', None) => depth = depth.saturating_add(1),
            (')' | ']', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTED_MAX {
            return Err(format!("it is nested more than {NESTED_MAX} deep"));
        }
    }
    Ok(())
}

/// How many times the segments may select a value.
fn width_of(segments: &[Segment]) -> Result<usize, String> {
    if segments.len() > SEGMENTS_MAX {
        return Err(format!("it has more than {SEGMENTS_MAX} segments"));
    }
    let mut width = 1_usize;
    for segment in segments {
        width = width.saturating_mul(width_of_segment(segment)?);
    }
    if width > WIDTH_MAX {
        return Err(format!(
            "its unions and `..` may select a value more than {WIDTH_MAX} times"
        ));
    }
    Ok(width)
}

fn width_of_segment(segment: &Segment) -> Result<usize, String> {
    match segment {
        Segment::Descendant(inner) => Ok(width_of_segment(inner)?.saturating_mul(DESCENDANT_WIDTH)),
        Segment::Selector(Selector::Filter(filter)) => {
            let mut tests = 0;
            check_filter(filter, &mut tests).map(|()| 1)
        }
        Segment::Selector(_) => Ok(1),
        Segment::Selectors(union) => {
            let is_plain =
                |selector: &Selector| matches!(selector, Selector::Name(_) | Selector::Index(_));
            if union.iter().all(is_plain) {
                Ok(union.len())
            } else {
                Err("a union in it has other members than names and indices".to_owned())
            }
        }
    }
}

fn check_filter(filter: &Filter, tests: &mut usize) -> Result<(), String> {
    match filter {
        Filter::Or(parts) | Filter::And(parts) => {
            parts.iter().try_for_each(|part| check_filter(part, tests))
        }
        Filter::Atom(atom) => {
            *tests = tests.saturating_add(1);
            if *tests > TESTS_MAX {
                return Err(format!("a filter in it has more than {TESTS_MAX} tests"));
            }
            check_atom(atom, tests)
        }
    }
}

fn check_atom(atom: &FilterAtom, tests: &mut usize) -> Result<(), String> {
    match atom {
        FilterAtom::Filter { expr, .. } => check_filter(expr, tests),
        FilterAtom::Test { expr, .. } => check_test(expr),
        FilterAtom::Comparison(comparison) => {
            let (left, right) = match &**comparison {
                Comparison::Eq(left, right)
                | Comparison::Ne(left, right)
                | Comparison::Gt(left, right)
                | Comparison::Gte(left, right)
                | Comparison::Lt(left, right)
                | Comparison::Lte(left, right) => (left, right),
            };
            check_comparable(left)?;
            check_comparable(right)
        }
    }
}

fn check_comparable(comparable: &Comparable) -> Result<(), String> {
    match comparable {
        Comparable::Literal(_) | Comparable::SingularQuery(_) => Ok(()),
        Comparable::Function(function) => check_function(function),
    }
}

fn check_test(test: &Test) -> Result<(), String> {
    match test {
        Test::RelQuery(segments) => check_single(segments),
        Test::AbsQuery(query) => check_single(&query.segments),
        Test::Function(function) => check_function(function),
    }
}

/// A query in a filter is evaluated for each value that is tested.
fn check_single(segments: &[Segment]) -> Result<(), String> {
    let is_single = |segment: &Segment| {
        let is_field = |selector: &Selector| {
            matches!(
                selector,
                Selector::Name(_) | Selector::Index(_) | Selector::Wildcard
            )
        };
        matches!(segment, Segment::Selector(selector) if is_field(selector))
    };
    let wildcards = segments
        .iter()
        .filter(|segment| matches!(segment, Segment::Selector(Selector::Wildcard)));
    if segments.iter().all(is_single) && wildcards.count() <= 1 {
        Ok(())
    } else {
        Err("a filter in it compares more than single fields".to_owned())
    }
}

fn check_function(function: &TestFunction) -> Result<(), String> {
    let argument = |argument: &FnArg| match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Test(test) => match &**test {
            Test::Function(_) => Err("a function in it is applied to a function".to_owned()),
            test => check_test(test),
        },
        FnArg::Filter(_) => Err("a function in it is applied to a filter".to_owned()),
    };
    match function {
        TestFunction::Length(of) => argument(of),
        TestFunction::Value(of) | TestFunction::Count(of) => argument(of),
        TestFunction::Custom(_, of) => of.iter().try_for_each(argument),
        // They compile an expression of the caller for each value.
        TestFunction::Search(..) | TestFunction::Match(..) => {
            Err("`search` and `match` are not available here; use `==`".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ValuePath, String> {
        ValuePath::parse(text.to_owned())
    }

    #[test]
    fn paths_as_people_write_them_are_within_the_limits() {
        for path in [
            "$",
            "$.items[*].metadata.name",
            "$.items[*]['metadata','status']",
            "$.items[?(@.status.phase=='Failed' && @.spec.cpus > 2)].metadata.name",
            "$..name",
            "$.status.conditions[?@.type == \"Ready\"].status",
            "$.items[?length(@.metadata.name) > 3]",
            "$.items[?count(@.status.ips[*]) > 1]",
            "$.items[-1:]",
        ] {
            parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }

    #[test]
    fn paths_that_would_take_long_are_refused_quickly() {
        let begun = std::time::Instant::now();
        let sixteen = vec!["'a'"; 16].join(",");
        for (path, words) in [
            (format!("$[?{}(!", "length(".repeat(36)), "nested"),
            (format!("$[?{}!", "length(".repeat(5)), ""),
            (format!("$[{sixteen}][{sixteen}]"), "more than 16 times"),
            ("$..*..*..*".to_owned(), "more than 16 times"),
            ("$[*,*]".to_owned(), "union"),
            ("$[?@..a]".to_owned(), "single fields"),
            ("$[?@.a[*][*]]".to_owned(), "single fields"),
            ("$[?@[?@.a]]".to_owned(), "single fields"),
            (
                "$[?search(@.a,'(a{500}){500}')]".to_owned(),
                "not available",
            ),
            (format!("$.{}", "x".repeat(2_000)), "longer"),
            (
                format!("$[?{}]", vec!["@.a"; 17].join("||")),
                "more than 16 tests",
            ),
            (
                format!("$[?{}@.a{}]", "(".repeat(6), ")".repeat(6)),
                "nested",
            ),
        ] {
            let error = parse(&path).unwrap_err();
            assert!(error.contains(words), "{path}: {error}");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    }
}
