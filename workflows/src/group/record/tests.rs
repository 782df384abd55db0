use super::*;

fn item(name: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name, "replicas": 2,
        "template": {"revision": "r1", "contract": "secret-1", "vsi": {
            "namespace": "default", "name": name, "host": "sim:a", "pool": "images",
            "image": {"url": "http://images.test/a.qcow2", "fileName": "a.qcow2"},
            "bootDisk": {"mode": "copy"}, "networks": [],
            "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096}, "deletionPolicy": "Delete",
        }},
    })
}

fn output(name: &str, item: &str, secret: bool) -> serde_json::Value {
    serde_json::json!({
        "name": name, "item": item, "number": 0, "from": {"file": format!("/etc/{name}")}, "secret": secret,
    })
}

/// A group as a version recorded it that did not know which outputs a template was filled with.
fn earlier() -> GroupRecord {
    serde_json::from_value(serde_json::json!({
        "uid": Uuid::nil(), "namespace": "default", "name": "g",
        "waves": [
            {"name": "first", "gate": {}, "items": [item("a"), item("b")]},
            {"name": "second", "gate": {}, "items": [item("c")]},
        ],
        "outputs": [output("t", "a", true), output("u", "b", false)],
        "removed": ["a"],
        "found": {"t": {"secret": "secret-2"}},
    }))
    .unwrap()
}

fn source(value: serde_json::Value) -> OutputSource {
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_item_keeps_the_output_that_its_template_was_filled_with() {
    let mut record = earlier();
    assert!(!record.has_filled("c", "t"));
    let read = record.found["t"].clone();
    assert_eq!(record.output_for("c", "t"), Some(&read));
    let filled = FilledOutput {
        value: OutputValue::Secret(Name::of("secret-3")),
        source: None,
    };
    let of_item = BTreeMap::from([("t".to_owned(), filled.clone())]);
    record.filled.insert("c".to_owned(), of_item);
    assert!(record.has_filled("c", "t"));
    assert_eq!(record.output_for("c", "t"), Some(&filled.value));
    assert_eq!(record.output_for("b", "t"), Some(&read));
    for secret in ["secret-1", "secret-2", "secret-3"] {
        assert!(record.secrets().contains(&Name::of(secret)), "{secret}");
    }
    record.outputs.clear();
    record.found.clear();
    assert!(record.is_secret_output("c", "t"), "as it is stored");
    let stored = serde_json::to_value(&record).unwrap();
    assert_eq!(
        serde_json::from_value::<GroupRecord>(stored).unwrap(),
        record
    );
}

#[test]
fn a_new_output_of_a_removed_member_comes_too_late() {
    let mut record = earlier();
    let late = |group: &GroupRecord, output| group.comes_too_late(&source(output));
    assert!(late(&record, output("new", "a", true)));
    assert!(
        late(&record, output("u", "a", true)),
        "it was of another one"
    );
    assert!(!late(&record, output("new", "b", true)));
    assert!(!late(&record, output("t", "a", false)));
    record.found.clear();
    assert!(
        !late(&record, output("t", "a", true)),
        "it was asked for before"
    );
}

#[test]
fn a_pool_was_made_from_a_template_whatever_its_number_of_members_was() {
    let record = earlier();
    let item = record.item("b").unwrap();
    for replicas in [None, Some(0), Some(7), Some(1000)] {
        let before = ItemRecord {
            replicas,
            ..item.clone()
        };
        assert!(item.has_template_of(&before.revision(), item.strategy));
    }
    let mut other = item.clone();
    other.template.revision = "r2".to_owned();
    assert!(!item.has_template_of(&other.revision(), item.strategy));
}
