use proptest::prelude::*;
use serde_json::json;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn selector(value: serde_json::Value) -> LabelSelector {
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_absent_selector_matches_nothing_and_an_empty_one_everything() {
    assert!(!matches(None, &labels(&[("a", "1")])));
    assert!(matches(Some(&selector(json!({}))), &labels(&[("a", "1")])));
    assert!(matches(
        Some(&selector(json!({"matchLabels": {}}))),
        &labels(&[])
    ));
}

#[test]
fn each_operator_means_what_it_means_in_kubernetes() {
    let with = |operator: &str, values: serde_json::Value| {
        selector(json!({"matchExpressions": [
            {"key": "tier", "operator": operator, "values": values}
        ]}))
    };
    let (none, a, c) = (
        labels(&[]),
        labels(&[("tier", "a")]),
        labels(&[("tier", "c")]),
    );
    let table = [
        (with("In", json!(["a", "b"])), [false, true, false]),
        (with("NotIn", json!(["a", "b"])), [true, false, true]),
        (with("Exists", json!([])), [false, true, true]),
        (with("DoesNotExist", json!([])), [true, false, false]),
    ];
    for (selector, expected) in table {
        assert_eq!(
            [&none, &a, &c].map(|labels| selector.matches(labels)),
            expected,
            "{selector}"
        );
    }
}

#[test]
fn conditions_that_make_no_sense_are_refused() {
    for bad in [
        json!({"key": "a", "operator": "In"}),
        json!({"key": "a", "operator": "NotIn", "values": []}),
        json!({"key": "a", "operator": "Exists", "values": ["x"]}),
        json!({"key": "a", "operator": "Equals", "values": ["x"]}),
        json!({"key": "a", "operator": "In", "value": ["x"]}),
    ] {
        assert!(
            serde_json::from_value::<Expression>(bad.clone()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_selector_prints_as_kubectl_writes_it() {
    let selector = selector(json!({
        "matchLabels": {"app": "hpcr"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }));
    assert_eq!(selector.to_string(), "app=hpcr,tier in (a,b),!old");
    assert_eq!(LabelSelector::default().to_string(), "everything");
}

/// Few keys and values, so that selectors and labels meet often.
fn some_labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[abc]", "[xyz]", 0..4)
}

fn some_expression() -> impl Strategy<Value = Expression> {
    let values = proptest::collection::vec("[xyz]", 1..3);
    ("[abc]", 0..4_u8, values).prop_map(|(key, operator, values)| match operator {
        0 => Expression {
            key,
            operator: SelectorOperator::In,
            values,
        },
        1 => Expression {
            key,
            operator: SelectorOperator::NotIn,
            values,
        },
        2 => Expression {
            key,
            operator: SelectorOperator::Exists,
            values: Vec::new(),
        },
        _ => Expression {
            key,
            operator: SelectorOperator::DoesNotExist,
            values: Vec::new(),
        },
    })
}

fn some_selector() -> impl Strategy<Value = LabelSelector> {
    (
        some_labels(),
        proptest::collection::vec(some_expression(), 0..3),
    )
        .prop_map(|(match_labels, match_expressions)| LabelSelector {
            match_labels,
            match_expressions,
        })
}

proptest! {
    #[test]
    fn every_operator_has_its_opposite(expression in some_expression(), labels in some_labels()) {
        let opposite = Expression {
            operator: match expression.operator {
                SelectorOperator::In => SelectorOperator::NotIn,
                SelectorOperator::NotIn => SelectorOperator::In,
                SelectorOperator::Exists => SelectorOperator::DoesNotExist,
                SelectorOperator::DoesNotExist => SelectorOperator::Exists,
            },
            ..expression.clone()
        };
        prop_assert_ne!(expression.matches(&labels), opposite.matches(&labels));
    }

    #[test]
    fn more_conditions_never_match_more(
        selector in some_selector(),
        more in some_expression(),
        labels in some_labels(),
    ) {
        let mut narrower = selector.clone();
        narrower.match_expressions.push(more);
        prop_assert!(!narrower.matches(&labels) || selector.matches(&labels));
    }

    #[test]
    fn match_labels_are_short_for_in_one_value(required in some_labels(), labels in some_labels()) {
        let short = LabelSelector { match_labels: required.clone(), match_expressions: Vec::new() };
        let long = LabelSelector {
            match_labels: Labels::new(),
            match_expressions: required
                .into_iter()
                .map(|(key, value)| Expression { key, operator: SelectorOperator::In, values: vec![value] })
                .collect(),
        };
        prop_assert_eq!(short.matches(&labels), long.matches(&labels));
    }

    #[test]
    fn an_object_is_matched_by_its_own_labels(labels in some_labels()) {
        let own = LabelSelector { match_labels: labels.clone(), match_expressions: Vec::new() };
        prop_assert!(own.matches(&labels));
    }

    #[test]
    fn what_is_written_reads_back(selector in some_selector()) {
        let text = serde_json::to_string(&selector).unwrap();
        prop_assert_eq!(serde_json::from_str::<LabelSelector>(&text).unwrap(), selector);
    }
}

#[test]
fn a_selector_of_a_document_has_labels_that_an_api_server_accepts() {
    #[derive(Debug, serde::Deserialize)]
    struct Spec {
        #[serde(default, deserialize_with = "of_document")]
        selector: Option<LabelSelector>,
    }
    let read = |selector: serde_json::Value| {
        serde_json::from_value::<Spec>(serde_json::json!({"selector": selector}))
    };
    let long = "a".repeat(64);
    for (key, value) in [
        ("app", "a b"),
        ("app", "-a"),
        ("app", "a_"),
        ("app", &long),
        ("app", "caf\u{e9}"),
        ("a b", "x"),
        ("", "x"),
        ("a/b/c", "x"),
        ("UPPER.example/a", "x"),
        ("/a", "x"),
        (&long, "x"),
    ] {
        let labels = serde_json::json!({"matchLabels": {key: value}});
        assert!(read(labels).is_err(), "{key}={value}");
        let expression = serde_json::json!({"key": key, "operator": "In", "values": [value]});
        let refused = read(serde_json::json!({"matchExpressions": [expression]}));
        assert!(refused.is_err(), "{key} in ({value})");
    }
    for (key, value) in [
        ("app.kubernetes.io/name", "A.b_c-9"),
        ("x", ""),
        ("$(a)", "$(b.c)"),
    ] {
        let labels = serde_json::json!({"matchLabels": {key: value}});
        assert!(read(labels).unwrap().selector.is_some(), "{key}={value}");
    }
    assert!(read(serde_json::Value::Null).unwrap().selector.is_none());
}
