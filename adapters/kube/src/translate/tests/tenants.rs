//! What the resources of one namespace may not reach: files, addresses, and hosts of other namespaces.

use std::path::Path;

use vsiflow_workflows::spec::Permits;

use super::*;
use crate::resource::Settings;

/// Permits the folder `/images`, and addresses that do not begin with 10.
struct SomeThings;

impl Permits for SomeThings {
    fn file(&self, path: &Path) -> Result<(), String> {
        if path.starts_with("/images") {
            Ok(())
        } else {
            Err(format!("the file {} is not read", path.display()))
        }
    }

    fn image(&self, url: &str) -> Result<(), String> {
        if url.contains("//10.") {
            Err("images are not read from 10.0.0.1".to_owned())
        } else {
            Ok(())
        }
    }
}

fn with_some(world: &Snapshot) -> Translation {
    let rules = TranslationRules {
        permits: &SomeThings,
        ..rules(None)
    };
    translate_by(world, &rules)
}

fn first(translation: &Translation, kind: ResourceKind, name: &str) -> String {
    let problems = translation.problems.get(&key(kind, name));
    problems.map_or(String::new(), |all| all[0].to_string())
}

#[test]
fn an_image_that_only_this_machine_can_read_is_refused() {
    for (url, refused) in [
        (
            "file:///var/run/secrets/kubernetes.io/serviceaccount/token",
            true,
        ),
        ("file://localhost/etc/shadow", true),
        ("file:/etc/shadow", true),
        ("FILE:///etc/shadow", true),
        ("file:///images/../etc/shadow", true),
        ("file:///images/%2e%2e/etc/shadow", true),
        ("http://10.0.0.1/x", true),
        ("http://me:pass@10.0.0.1/x?y=z", true),
        ("file:///images/hpcr.qcow2", false),
        ("https://images.example/x", false),
    ] {
        let world = world(vec![vsi("web", 1, json!({"imageURL": url}))]);
        let translation = with_some(&world);
        assert_eq!(translation.vsis.is_empty(), refused, "{url}");
        if refused {
            let problem = first(&translation, ResourceKind::Vsi, "web");
            assert!(
                problem.starts_with("VSI0611") && problem.contains("spec.imageURL"),
                "{problem}"
            );
            assert!(problem.contains("--allow-files"), "{problem}");
        }
    }
}

#[test]
fn a_data_disk_is_filled_from_nothing_that_an_image_may_not_be_read_from() {
    for (url, refused) in [
        ("file:///etc/shadow", true),
        ("http://10.0.0.1/x", true),
        ("file:///images/data.qcow2", false),
        ("https://images.example/x", false),
    ] {
        let spec = json!({"source": {"imageURL": url},
                          "targetSelector": {"matchLabels": {"config": "lpar1"}}});
        let disk = resource(ResourceKind::DataDisk, "d", 1, json!({"spec": spec}));
        let translation = with_some(&world(vec![disk]));
        assert_eq!(translation.rest.data_disks.is_empty(), refused, "{url}");
        if refused {
            let problem = first(&translation, ResourceKind::DataDisk, "d");
            assert!(
                problem.starts_with("VSI0611") && problem.contains("spec.source.imageURL"),
                "{problem}"
            );
        }
    }
}

#[test]
fn no_key_of_host_settings_names_a_file_of_this_machine() {
    for key in [
        "KEY_FILE",
        "KNOWN_HOSTS_FILE",
        "IMAGE_CA_FILE",
        "PROXY_JUMP_KEY_FILE",
        "PROXY_JUMP_1_KNOWN_HOSTS_FILE",
    ] {
        for in_secret in [false, true] {
            let mut world = world(vec![vsi("web", 1, json!({})), disk("d", 2)]);
            let settings = config_map(json!({key: "/root/.ssh/id", "PROXY_JUMP": "a"}));
            if in_secret {
                world.secrets = vec![settings]
            } else {
                world.config_maps = vec![settings]
            }
            let translation = with_some(&world);
            assert!(translation.vsis.is_empty() && translation.rest.hosts.is_empty());
            for (kind, name) in [(ResourceKind::Vsi, "web"), (ResourceKind::DataDisk, "d")] {
                let problem = first(&translation, kind, name);
                assert!(problem.starts_with("VSI0611"), "{problem}");
                assert!(problem.contains(&format!("data.{key}")), "{problem}");
            }
            let permitted = config_map(json!({key: "/images/id", "PROXY_JUMP": "a"}));
            world.secrets.clear();
            world.config_maps = vec![permitted];
            assert_eq!(with_some(&world).vsis.len(), 1, "{key}");
        }
    }
}

/// The ConfigMap of that namespace for the same host.
fn settings(namespace: &str, data: Value) -> Arc<Settings> {
    let mut settings = (*config_map(data)).clone();
    settings.namespace = namespace.to_owned();
    Arc::new(settings)
}

fn in_namespace(namespace: &str, kind: ResourceKind, name: &str, number: u8) -> Arc<Resource> {
    let resource = match kind {
        ResourceKind::Vsi => vsi(name, number, json!({})),
        _ => disk(name, number),
    };
    let mut resource = (*resource).clone();
    resource.key.namespace = namespace.to_owned();
    Arc::new(resource)
}

const HOST: &str = "root@lpar1.example.com:22";
const OTHER_KEYS: &str = "lpar1.example.com ssh-ed25519 B";

/// Both namespaces name one host: `a` with the normal settings, `b` with these instead.
fn both(of_b: Value) -> Snapshot {
    Snapshot {
        // The later one is a disk: those were checked before VSIs.
        resources: vec![
            in_namespace("a", ResourceKind::Vsi, "web", 1),
            in_namespace("b", ResourceKind::DataDisk, "data", 2),
            in_namespace("b", ResourceKind::Vsi, "web", 3),
        ],
        config_maps: vec![settings("b", of_b), settings("a", json!({}))],
        secrets: Vec::new(),
    }
}

fn problem_in(
    translation: &Translation,
    namespace: &str,
    kind: ResourceKind,
    name: &str,
) -> String {
    let key = ResourceKey {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let problems = translation.problems.get(&key).into_iter().flatten();
    let warnings = translation.warnings.get(&key).into_iter().flatten();
    let all = problems.map(ToString::to_string).chain(warnings.cloned());
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn settings_of_a_host_do_not_take_the_place_of_another_namespaces_and_both_are_told() {
    for differs in [
        json!({"KNOWN_HOSTS": OTHER_KEYS}),
        json!({"KEY": "other", "INSECURE_SECRETS_IN_CONFIGMAP": "true"}),
        json!({"SOCKET": "/tmp/other"}),
        json!({"INSECURE_SKIP_HOST_KEY": "true"}),
        json!({"UPLOAD_LIMIT": "1Ki"}),
        json!({"IMAGE_CA": "-----BEGIN CERTIFICATE-----"}),
    ] {
        let translation = translate(&both(differs.clone()), None);
        assert_eq!(
            translation.vsis.keys().collect::<Vec<_>>(),
            [&uid(1)],
            "{differs}"
        );
        assert!(translation.rest.data_disks.is_empty(), "{differs}");
        let host = &translation.rest.hosts[HOST];
        assert_eq!(host.namespace.as_deref(), Some("a"), "{differs}");
        assert!(host.record.known_hosts().unwrap().ends_with(" A"));
        for kind in [ResourceKind::Vsi, ResourceKind::DataDisk] {
            let name = if kind == ResourceKind::Vsi {
                "web"
            } else {
                "data"
            };
            let problem = problem_in(&translation, "b", kind, name);
            assert!(
                problem.starts_with("VSI0612") && problem.contains("namespace a"),
                "{problem}"
            );
        }
        let problem = problem_in(&translation, "a", ResourceKind::Vsi, "web");
        assert!(
            problem.contains("namespace b") && problem.contains(HOST),
            "{problem}"
        );
    }
}

#[test]
fn the_same_settings_are_shared_and_nobody_is_told_anything() {
    let translation = translate(&both(json!({})), None);
    assert_eq!(translation.vsis.len(), 2);
    assert!(translation.problems.is_empty() && translation.warnings.is_empty());
    assert_eq!(translation.rest.hosts.len(), 1);
}

#[test]
fn a_host_stays_its_namespaces_over_restarts_whoever_is_listed_first() {
    let world = both(json!({"KNOWN_HOSTS": OTHER_KEYS}));
    let with = |owner: &str, known: &dyn Fn(&str) -> Option<HostSettings>, of: &Snapshot| {
        let owners = BTreeMap::from([(HOST.to_owned(), owner.to_owned())]);
        let rules = TranslationRules {
            owners,
            known,
            ..rules(None)
        };
        translate_by(of, &rules)
    };
    let nothing = |_: &str| None;
    // The journal knows that `b` owned it.
    let translation = with("b", &nothing, &world);
    assert_eq!(translation.vsis.keys().collect::<Vec<_>>(), [&uid(3)]);
    assert!(problem_in(&translation, "a", ResourceKind::Vsi, "web").starts_with("VSI0612"));
    // Only `b` is listed yet, and the secrets of `a` are missing.
    let mut later = world.clone();
    later.resources.remove(0);
    later.config_maps.pop();
    let first_claim = with("a", &nothing, &later);
    assert!(first_claim.vsis.is_empty() && first_claim.rest.hosts.is_empty());
    assert_eq!(first_claim.stale, [(HOST.to_owned(), "a".to_owned())]);
    // It is known to be the same, so nothing is lost by continuing.
    let same = HostSettings::from_keys(Some(&later.config_maps[0].values), None).unwrap();
    let unchanged = with("a", &move |_| Some(same.clone()), &later);
    assert_eq!(unchanged.vsis.len(), 1);
}
