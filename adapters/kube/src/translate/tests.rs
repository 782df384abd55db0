use proptest::prelude::*;
use serde_json::{Value, json};

mod tenants;

use super::{translate as translate_by, *};
use crate::sample::{config_map, disk, resource, rules, uid, vsi, world};

fn translate(snapshot: &Snapshot, host: Option<&HostSettings>) -> Translation {
    translate_by(snapshot, &rules(host))
}

fn key(kind: ResourceKind, name: &str) -> ResourceKey {
    ResourceKey {
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn problem_of(translation: &Translation, name: &str) -> String {
    let problems = translation.problems.get(&key(ResourceKind::Vsi, name));
    crate::report::problems_text(problems.map_or(&[], Vec::as_slice))
}

#[test]
fn a_resource_is_a_document_with_its_uid() {
    let translation = translate(&world(vec![vsi("web", 1, json!({}))]), None);
    let found = &translation.vsis[&uid(1)].desired;
    assert_eq!(found.uid, Some(uid(1)));
    assert_eq!(
        (found.namespace.as_str(), found.name.as_str()),
        ("default", "web")
    );
    assert_eq!(found.host, "root@lpar1.example.com:22");
    assert_eq!(found.pool, "images");
    assert!(translation.problems.is_empty());
}

#[test]
fn what_is_wrong_with_one_leaves_the_others_alone() {
    let all = vec![
        vsi("good", 1, json!({})),
        vsi(
            "no-disk",
            2,
            json!({"diskSelector": {"matchLabels": {"disk": "gone"}}}),
        ),
        vsi("not-read", 3, json!({"machine": {"cpus": 0}})),
        vsi(
            "no-host",
            4,
            json!({"targetSelector": {"matchLabels": {"config": "other"}}}),
        ),
    ];
    let translation = translate(&world(all), None);
    assert_eq!(translation.vsis.keys().collect::<Vec<_>>(), [&uid(1)]);
    assert!(problem_of(&translation, "no-disk").contains("disk=gone"));
    assert!(problem_of(&translation, "not-read").starts_with("spec.machine.cpus: "));
    assert!(problem_of(&translation, "no-host").contains("config=other"));
}

#[test]
fn kube_settings_that_cannot_be_used_are_said_of_whoever_selects_them() {
    let mut world = world(vec![vsi("web", 1, json!({})), disk("d", 2)]);
    world.config_maps = vec![config_map(json!({"HOSTNAME": ""}))];
    let translation = translate(&world, None);
    assert!(translation.vsis.is_empty());
    assert!(problem_of(&translation, "web").contains("the host's name is empty"));
    assert!(
        translation
            .problems
            .contains_key(&key(ResourceKind::DataDisk, "d"))
    );
}

#[test]
fn kube_defect_25_of_two_config_maps_none_is_taken_by_chance() {
    let mut world = world(vec![vsi("web", 1, json!({}))]);
    let mut other = (*config_map(json!({"HOSTNAME": "lpar2.example.com"}))).clone();
    other.name = "lpar2".to_owned();
    world.config_maps.push(Arc::new(other));
    let translation = translate(&world, None);
    assert!(translation.vsis.is_empty());
    let problem_of = problem_of(&translation, "web");
    assert!(
        problem_of.contains("lpar1") && problem_of.contains("lpar2"),
        "{problem_of}"
    );
}

#[test]
fn kube_defect_28_without_known_hosts_nobody_is_trusted() {
    let mut world = world(vec![vsi("web", 1, json!({}))]);
    world.config_maps = vec![config_map(json!({"KNOWN_HOSTS": ""}))];
    let translation = translate(&world, None);
    assert!(translation.vsis.is_empty());
    let problem_of = problem_of(&translation, "web");
    assert!(problem_of.contains("KNOWN_HOSTS"), "{problem_of}");
}

#[test]
fn kube_defect_29_a_key_in_a_secret_wins_and_shows_nowhere() {
    let mut world = world(vec![vsi("web", 1, json!({}))]);
    let open = json!({"KEY": "in the open", "INSECURE_SECRETS_IN_CONFIGMAP": "true"});
    world.config_maps = vec![config_map(open)];
    let mut secret = (*config_map(json!({"KEY": "hunter2"}))).clone();
    secret.values.0.retain(|key, _| key == "KEY");
    world.secrets = vec![Arc::new(secret)];
    let translation = translate(&world, None);
    let desired = &translation.vsis[&uid(1)].desired;
    let host = &translation.rest.hosts[&desired.host];
    assert_eq!(host.key.as_ref().unwrap().expose(), b"hunter2");
    let shown = format!("{desired:?} {:?} {:?}", host.record, world.secrets);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn kube_defect_29_a_secret_in_a_config_map_is_refused_unless_it_insists() {
    for key in [
        "KEY",
        "ssh-privatekey",
        "IMAGE_PASSWORD",
        "IMAGE_TOKEN",
        "IMAGE_S3_SECRET_KEY",
        ".dockerconfigjson",
    ] {
        let mut world = world(vec![vsi("web", 1, json!({})), disk("d", 2)]);
        world.config_maps = vec![config_map(json!({key: "hunter2"}))];
        let translation = translate(&world, None);
        assert!(translation.vsis.is_empty() && translation.rest.data_disks.is_empty());
        assert!(translation.rest.hosts.is_empty());
        let problem = &translation.problems[&self::key(ResourceKind::Vsi, "web")][0];
        assert_eq!(problem.code.as_str(), "VSI0613", "{problem}");
        let place = match key.strip_prefix('.') {
            Some(_) => format!("data[{key:?}]"),
            None => format!("data.{key}"),
        };
        assert!(problem.to_string().contains(&place), "{problem}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
        assert!(
            translation
                .problems
                .contains_key(&self::key(ResourceKind::DataDisk, "d"))
        );
        let insists = json!({"KEY": "hunter2", "INSECURE_SECRETS_IN_CONFIGMAP": "true"});
        world.config_maps = vec![config_map(insists)];
        assert_eq!(translate(&world, None).vsis.len(), 1);
    }
}

#[test]
fn of_two_vsis_for_one_disk_the_older_one_gets_it() {
    let selects = json!({"diskSelector": {"matchLabels": {"disk": "d"}}});
    let all = vec![
        vsi("older", 1, selects.clone()),
        vsi("newer", 2, selects),
        disk("d", 3),
    ];
    let translation = translate(&world(all), None);
    assert_eq!(translation.vsis.keys().collect::<Vec<_>>(), [&uid(1)]);
    assert!(problem_of(&translation, "newer").contains("default/older"));
    let users = &translation.used_by[&key(ResourceKind::DataDisk, "d")];
    assert_eq!(users, &["older"]);
}

#[test]
fn a_vsi_that_goes_or_cannot_be_read_still_has_its_disks() {
    let selects = json!({"diskSelector": {"matchLabels": {"disk": "d"}}});
    let going = json!({
        "metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {
            "contract": "a", "imageURL": "http://a/b",
            "targetSelector": {"matchLabels": {"config": "lpar1"}},
            "diskSelector": {"matchLabels": {"disk": "d"}},
        },
    });
    let unreadable = json!({"spec": {
        "contract": 5, "diskSelector": {"matchLabels": {"disk": "d"}},
    }});
    for older in [going, unreadable] {
        let all = vec![
            resource(ResourceKind::Vsi, "older", 1, older),
            vsi("newer", 2, selects.clone()),
            disk("d", 3),
        ];
        let translation = translate(&world(all), None);
        assert!(translation.vsis.is_empty());
        assert!(problem_of(&translation, "newer").contains("is selected by default/older"));
    }
}

#[test]
fn kube_defect_19_expressions_with_values_match() {
    let expressions = |field: &str| {
        json!({"diskSelector": {"matchExpressions": [
            {"key": "disk", "operator": "In", field: ["d"]},
        ]}})
    };
    let all = vec![vsi("web", 1, expressions("values")), disk("d", 3)];
    let translation = translate(&world(all), None);
    assert_eq!(translation.vsis[&uid(1)].desired.disks.len(), 1);

    let corrected = vec![vsi("web", 1, expressions("value")), disk("d", 3)];
    let unmet = translate(&world(corrected), None);
    assert!(problem_of(&unmet, "web").contains("needs at least one of `values`"));
}

#[test]
fn the_old_slip_is_let_in_and_warned_of() {
    let spec = json!({
        "selector": {"matchLabels": {"a": "b"}},
        "targetSelector": {"matchExpressions": [
            {"key": "config", "operator": "Exists", "value": ["x"]},
        ]},
    });
    let translation = translate(&world(vec![vsi("web", 1, spec)]), None);
    assert!(translation.vsis.contains_key(&uid(1)));
    let warnings = &translation.warnings[&key(ResourceKind::Vsi, "web")];
    assert_eq!(warnings.len(), 2);
    assert!(warnings[1].contains("matchExpressions[0].value"));
}

#[test]
fn nothing_repeats_a_contract() {
    for contract in [
        json!(12_345),
        json!({"secret": 12_345}),
        json!(["secret 12345"]),
    ] {
        let translation = translate(
            &world(vec![vsi("web", 1, json!({"contract": contract}))]),
            None,
        );
        let problem_of = problem_of(&translation, "web");
        assert!(
            problem_of.starts_with("spec.contract: ") && !problem_of.contains("12345"),
            "{problem_of}"
        );
    }
    let printed = format!("{:?}", vsi("web", 1, json!({})));
    assert!(!printed.contains("hyper-protect"), "{printed}");
}

#[test]
fn namespaces_do_not_see_one_another() {
    let other = json!({
        "metadata": {"namespace": "other"},
        "spec": {
            "contract": "a", "imageURL": "http://a/b",
            "targetSelector": {"matchLabels": {"config": "lpar1"}},
        },
    });
    let translation = translate(
        &world(vec![resource(ResourceKind::Vsi, "web", 1, other)]),
        None,
    );
    assert!(translation.vsis.is_empty());
    let problems: Vec<_> = translation.problems.values().flatten().collect();
    assert!(problems[0].message.contains("namespace other"));
}

/// A spec whose reading panics.
#[derive(Debug)]
struct PanickingDocument;

impl<'de> serde::Deserialize<'de> for PanickingDocument {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("the test asked for it")
    }
}

#[test]
fn a_panic_while_reading_concerns_its_own_resource() {
    let mut reading = TranslationPass::default();
    let (odd, good) = (vsi("odd", 1, json!({})), vsi("good", 2, json!({})));
    reading.settings(&world(Vec::new()).config_maps, documents::CONFIG_MAP);
    let at = reading.number(SettingsOwner::Resource(odd.clone()), odd.key.to_string());
    assert!(reading.read::<PanickingDocument>(&odd, at).is_none());
    reading.resource(&good);
    let translation = reading.resolve(None);
    assert!(translation.vsis.contains_key(&uid(2)));
    assert!(problem_of(&translation, "odd").contains("a defect of vsiflow"));
}

/// Any JSON, with the field names of specs among its keys.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-zA-Z0-9:/.-]{0,12}".prop_map(Value::from),
    ];
    let keys = prop_oneof![
        "[a-z]{1,4}",
        prop::sample::select(vec![
            "contract",
            "imageURL",
            "storagePool",
            "targetSelector",
            "diskSelector",
            "machine",
            "matchLabels",
            "matchExpressions",
            "operator",
            "values",
            "value",
            "bootDisk",
            "size",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone(), inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever an API server accepts: nothing panics, the contract is never repeated, and the other
    /// resources are served.
    #[test]
    fn whatever_a_spec_holds_harms_nobody(spec in anything(), kind in 0..4_usize) {
        let mut rest = json!({"spec": spec});
        if rest["spec"].is_object() {
            rest["spec"]["contract"] = json!(["hyper-protect-basic.secret"]);
        }
        let odd = resource(ResourceKind::ALL[kind], "odd", 2, rest);
        let translation = translate(&world(vec![vsi("good", 1, json!({})), odd]), None);
        prop_assert!(translation.vsis.contains_key(&uid(1)));
        let problems = format!("{:?}", translation.problems);
        prop_assert!(!problems.contains("hyper-protect"), "{}", problems);
    }
}
