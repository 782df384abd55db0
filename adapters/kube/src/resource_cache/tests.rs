use serde_json::json;

use super::*;
use crate::sample::{resource, uid};

fn source() -> ObjectSource {
    (
        WatchedKind::Kind(ResourceKind::Vsi),
        Some("default".to_owned()),
    )
}

fn update(name: &str, number: u8, version: &str) -> CacheUpdate {
    let rest = json!({"metadata": {"resourceVersion": version}});
    CacheUpdate::Resource(resource(ResourceKind::Vsi, name, number, rest))
}

fn names(world: &ResourceCache) -> Vec<String> {
    let all = world.snapshot().resources;
    all.iter().map(|one| one.key.name.clone()).collect()
}

#[test]
fn nothing_is_concluded_before_every_watch_has_listed() {
    let other = (WatchedKind::Secrets, Some("default".to_owned()));
    let world = ResourceCache::new(vec![source(), other.clone()]);
    assert!(!world.is_complete());
    world.replace(&source(), Vec::new());
    assert!(!world.is_complete());
    world.replace(&other, Vec::new());
    assert!(world.is_complete());
}

#[test]
fn what_one_namespace_lacks_keeps_no_other_waiting() {
    let all = |namespace: &str| {
        [WatchedKind::Kind(ResourceKind::Vsi), WatchedKind::Secrets]
            .map(|what| (what, Some(namespace.to_owned())))
    };
    let sources: Vec<_> = ["default", "other"].into_iter().flat_map(all).collect();
    let world = ResourceCache::new(sources);
    let elsewhere = |name, number, meta: serde_json::Value| {
        let mut rest = json!({"metadata": {"resourceVersion": "1", "namespace": "other"}});
        for (key, value) in meta.as_object().unwrap() {
            rest["metadata"][key] = value.clone();
        }
        CacheUpdate::Resource(resource(ResourceKind::Vsi, name, number, rest))
    };
    let going = json!({"deletionTimestamp": "2027-01-01T00:00:00Z"});
    world.replace(
        &all("other")[0],
        vec![elsewhere("c", 3, json!({})), elsewhere("d", 4, going)],
    );
    world.replace(&source(), vec![update("a", 1, "1")]);
    // In a namespace without rights only resources with a deletion timestamp are used.
    assert_eq!(names(&world), ["d"]);
    world.replace(&all("default")[1], Vec::new());
    assert_eq!(names(&world).len(), 2);
    world.replace(&all("other")[1], Vec::new());
    assert_eq!(names(&world).len(), 3);
}

#[test]
fn a_list_takes_the_place_of_what_its_own_watch_told() {
    let world = ResourceCache::new(vec![source()]);
    world.replace(&source(), vec![update("a", 1, "1"), update("b", 2, "1")]);
    let elsewhere = (
        WatchedKind::Kind(ResourceKind::Vsi),
        Some("other".to_owned()),
    );
    world.replace(&elsewhere, Vec::new());
    assert_eq!(names(&world), ["a", "b"]);
    world.replace(&source(), vec![update("b", 2, "2")]);
    assert_eq!(names(&world), ["b"]);
}

#[test]
fn an_older_copy_is_not_taken_and_another_object_of_the_name_is() {
    let world = ResourceCache::new(vec![source()]);
    let changes = world.changes();
    world.put(source().0, update("a", 1, "10"));
    assert!(changes.has_changed().unwrap());
    let later = world.changes();
    world.put(source().0, update("a", 1, "9"));
    world.put(source().0, update("a", 1, "10"));
    assert!(!later.has_changed().unwrap());
    world.put(source().0, update("a", 2, "11"));
    assert!(world.vsi(uid(1)).is_none() && world.vsi(uid(2)).is_some());
}

/// A pass after each written status took time proportional to all resources.
#[test]
fn a_status_is_taken_and_asks_for_nothing() {
    let world = ResourceCache::new(vec![source()]);
    world.put(source().0, update("a", 1, "10"));
    let changes = world.changes();
    let changed = |version: &str, labels: serde_json::Value| {
        let rest = json!({
            "metadata": {"resourceVersion": version, "labels": labels},
            "status": {"phase": version},
        });
        CacheUpdate::Resource(resource(ResourceKind::Vsi, "a", 1, rest))
    };
    world.put(source().0, changed("11", json!({})));
    assert!(!changes.has_changed().unwrap());
    assert_eq!(world.vsi(uid(1)).unwrap().status["phase"], "11");
    world.put(source().0, changed("12", json!({"of": "a"})));
    assert!(changes.has_changed().unwrap());
}

#[test]
fn an_answer_that_comes_after_the_watch_told_of_the_end_brings_nothing_back() {
    let world = ResourceCache::new(vec![source()]);
    world.replace(&source(), Vec::new());
    let what = WatchedKind::Kind(ResourceKind::Vsi);
    let one = |version: &str| match update("a", 1, version) {
        CacheUpdate::Resource(resource) => Resource::clone(&resource),
        CacheUpdate::Settings(_) => unreachable!(),
    };
    world.created(one("1"));
    assert_eq!(names(&world), ["a"]);
    world.update(one("2"));
    world.remove(what, &update("a", 1, "4"));
    // Answers to our calls that the watch overtook.
    world.update(one("3"));
    world.created(one("1"));
    assert!(names(&world).is_empty());
    // Another object with the same name.
    world.put(what, update("a", 2, "5"));
    world.update(one("3"));
    assert_eq!(world.snapshot().resources[0].uid, uid(2));
}
