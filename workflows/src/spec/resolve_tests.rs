use serde_json::{Value, json};
use vsiflow_engine::secret::Secret;

use super::super::documents::{self, KeyValues};
use super::super::meta::ObjectMeta;
use super::super::problem::DocumentRef;
use super::*;

/// Documents built one by one, as a front end does.
#[derive(Default)]
struct TestDocuments {
    documents: Documents,
}

impl TestDocuments {
    fn document<T>(&self, kind: &'static str, name: &str, labels: Value, spec: T) -> Document<T> {
        let index = self.documents.len();
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        let mut meta = ObjectMeta::named(namespace, name);
        meta.labels = serde_json::from_value(labels).unwrap();
        let at = DocumentRef {
            index,
            source: "a.yaml".into(),
            line: Some(index * 10 + 1),
        };
        Document {
            at,
            kind,
            meta,
            spec,
        }
    }

    fn vsi(mut self, name: &str, more: Value) -> Self {
        let mut spec = json!({
            "contract": "env: x", "imageURL": "http://a/b.qcow2",
            "targetSelector": {"matchLabels": {"host": "one"}},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let spec = serde_json::from_value(spec).unwrap();
        let document = self.document(documents::VSI, name, json!({}), spec);
        self.documents.vsis.push(document);
        self
    }

    fn host(mut self, name: &str, labels: Value, keys: &[(&str, &str)]) -> Self {
        let document = self.document(documents::CONFIG_MAP, name, labels, values(keys));
        self.documents.config_maps.push(document);
        self
    }

    fn secret(mut self, name: &str, labels: Value, keys: &[(&str, &str)]) -> Self {
        let document = self.document(documents::SECRET, name, labels, values(keys));
        self.documents.secrets.push(document);
        self
    }

    fn disk(mut self, name: &str, host: &str) -> Self {
        let spec = json!({"size": "1Gi", "targetSelector": {"matchLabels": {"host": host}}});
        let spec = serde_json::from_value(spec).unwrap();
        let document = self.document(documents::DATA_DISK, name, json!({"app": "hpcr"}), spec);
        self.documents.data_disks.push(document);
        self
    }

    fn group(mut self, name: &str, spec: Value) -> Self {
        let spec = serde_json::from_value(spec).unwrap();
        let document = self.document(documents::GROUP, name, json!({}), spec);
        self.documents.groups.push(document);
        self
    }

    fn disk_ref(mut self, name: &str, volume: &str) -> Self {
        let spec =
            json!({"volumeName": volume, "targetSelector": {"matchLabels": {"host": "one"}}});
        let spec = serde_json::from_value(spec).unwrap();
        let document = self.document(documents::DATA_DISK_REF, name, json!({"app": "hpcr"}), spec);
        self.documents.data_disk_refs.push(document);
        self
    }

    fn network(mut self, name: &str, network: &str) -> Self {
        let spec =
            json!({"networkName": network, "targetSelector": {"matchLabels": {"host": "one"}}});
        let spec = serde_json::from_value(spec).unwrap();
        let document = self.document(documents::NETWORK_REF, name, json!({"app": "hpcr"}), spec);
        self.documents.network_refs.push(document);
        self
    }

    fn problems(&self) -> Vec<(ProblemCode, String)> {
        let problems = resolve(&self.documents, None).unwrap_err();
        problems
            .into_iter()
            .map(|p| (p.code, format!("{} {}", p.object, p.path)))
            .collect()
    }

    fn only(&self) -> Resolved {
        resolve(&self.documents, None).unwrap()
    }

    /// The unresolved references, which must be the only problems.
    fn unresolved_refs(&self) -> Vec<String> {
        let unresolved_refs = self.only().unresolved_refs;
        let lacks = |p: &Problem| p.code == ProblemCode::MatchesNothing;
        assert!(unresolved_refs.iter().all(lacks), "{unresolved_refs:?}");
        unresolved_refs
            .iter()
            .map(|p| format!("{} {}", p.object, p.path))
            .collect()
    }
}

fn values(keys: &[(&str, &str)]) -> KeyValues {
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    KeyValues(
        keys.iter()
            .map(|(key, value)| ((*key).to_owned(), secret(value)))
            .collect(),
    )
}

fn one_host() -> TestDocuments {
    TestDocuments::default().host(
        "h",
        json!({"host": "one"}),
        &[("HOSTNAME", "h1"), ("KNOWN_HOSTS", "k")],
    )
}

fn all_hpcr() -> Value {
    json!({"matchLabels": {"app": "hpcr"}})
}

#[test]
fn a_vsi_alone() {
    let resolved = one_host().vsi("a", json!({})).only();
    let vsi = &resolved.vsis[0];
    assert_eq!(vsi.desired.host, "root@h1:22");
    assert_eq!(vsi.desired.networks, ["default"]);
    assert!(vsi.desired.disks.is_empty());
    assert_eq!(vsi.contract.expose(), b"env: x");
    assert_eq!(resolved.hosts.keys().collect::<Vec<_>>(), ["root@h1:22"]);
    assert!(
        !serde_json::to_string(&vsi.desired)
            .unwrap()
            .contains("env: x")
    );
}

#[test]
fn disks_and_networks_come_in_the_order_of_their_names() {
    let documents = one_host()
        .disk("zeta", "one")
        .disk_ref("beta", "existing")
        .disk("alpha", "one")
        .network("n2", "first")
        .network("n1", "second")
        .vsi(
            "a",
            json!({"diskSelector": all_hpcr(), "networkSelector": all_hpcr()}),
        );
    let resolved = documents.only();
    let desired = &resolved.vsis[0].desired;
    let disks: Vec<_> = desired
        .disks
        .iter()
        .map(|disk| disk.name.as_str())
        .collect();
    assert_eq!(disks, ["alpha", "beta", "zeta"]);
    assert_eq!(desired.networks, ["second", "first"]);
    assert_eq!(resolved.data_disks.len(), 2);
}

#[test]
fn a_given_host_replaces_what_documents_say_of_hosts() {
    let documents = TestDocuments::default()
        .disk("d", "nowhere")
        .vsi("a", json!({"diskSelector": all_hpcr()}));
    let sim: HostSettings = "sim:".parse().unwrap();
    let resolved = resolve(&documents.documents, Some(&sim)).unwrap();
    assert_eq!(resolved.vsis[0].desired.host, "sim");
    assert_eq!(resolved.vsis[0].desired.disks.len(), 1);
    assert_eq!(resolved.hosts.len(), 1);
}

#[test]
fn selectors_look_only_into_their_own_namespace() {
    let documents = one_host().vsi("other/a", json!({}));
    assert_eq!(documents.unresolved_refs(), ["other/a spec.targetSelector"]);
}

#[test]
fn selectors_that_match_nothing_are_lacks_of_what_has_them() {
    let none = json!({"matchLabels": {"app": "nothing"}});
    let documents = one_host()
        .disk("d", "nowhere")
        .network("n", "first")
        .vsi("a", json!({"diskSelector": none, "networkSelector": none}))
        .vsi("b", json!({"networkSelector": all_hpcr()}));
    assert_eq!(
        documents.unresolved_refs(),
        [
            "default/d spec.targetSelector",
            "default/a spec.diskSelector",
            "default/a spec.networkSelector",
        ]
    );
    let resolved = documents.only();
    let fields: Vec<_> = resolved.vsis[0]
        .unresolved_refs
        .iter()
        .map(|l| &l.field)
        .collect();
    assert_eq!(fields, ["diskSelector", "networkSelector"]);
    assert!(resolved.vsis[1].unresolved_refs.is_empty());
    let disk = resolved.unmatched_selectors(documents::DATA_DISK, "default", "d");
    assert_eq!((disk.len(), resolved.data_disks[0].host.as_str()), (1, ""));
}

#[test]
fn all_problems_come_at_once() {
    let documents = one_host()
        .host(
            "h2",
            json!({"host": "two"}),
            &[("HOSTNAME", ""), ("KNOWN_HOSTS", "k")],
        )
        .host(
            "h3",
            json!({"host": "three"}),
            &[("HOSTNAME", "x"), ("KNOWN_HOSTS", "k")],
        )
        .host(
            "h4",
            json!({"host": "three"}),
            &[("HOSTNAME", "y"), ("KNOWN_HOSTS", "k")],
        )
        .vsi(
            "a",
            json!({"diskSelector": all_hpcr(), "networkSelector": all_hpcr()}),
        )
        .vsi("a", json!({}))
        .vsi(
            "b",
            json!({"targetSelector": {"matchLabels": {"host": "two"}}}),
        )
        .vsi(
            "c",
            json!({"targetSelector": {"matchLabels": {"host": "three"}}}),
        )
        .vsi("d", json!({"targetSelector": null}));
    let expected = [
        (ProblemCode::HostSettings, "default/h2 data.HOSTNAME"),
        (ProblemCode::MatchesNothing, "default/a spec.diskSelector"),
        (
            ProblemCode::MatchesNothing,
            "default/a spec.networkSelector",
        ),
        (ProblemCode::Twice, "default/a metadata.name"),
        (ProblemCode::HostSettings, "default/c spec.targetSelector"),
        (ProblemCode::MissingField, "default/d spec.targetSelector"),
    ];
    assert_eq!(
        documents.problems(),
        expected.map(|(code, place)| (code, place.to_owned()))
    );
}

#[test]
fn a_secret_completes_its_config_map() {
    let documents = TestDocuments::default()
        .host(
            "h",
            json!({"host": "one"}),
            &[("HOSTNAME", "h1"), ("USER", "me")],
        )
        .secret(
            "s",
            json!({"host": "one"}),
            &[("KEY", "k"), ("KNOWN_HOSTS", "h1 ssh-rsa x")],
        )
        .vsi("a", json!({}));
    let resolved = documents.only();
    assert_eq!(
        resolved.hosts["me@h1:22"].key.as_ref().unwrap().expose(),
        b"k"
    );
}

#[test]
fn a_disk_on_another_host_cannot_be_attached() {
    let documents = one_host()
        .host(
            "h2",
            json!({"host": "two"}),
            &[("HOSTNAME", "h2"), ("KNOWN_HOSTS", "k")],
        )
        .disk("d", "two")
        .vsi("a", json!({"diskSelector": all_hpcr()}));
    let expected = (
        ProblemCode::WrongValue,
        "default/a spec.diskSelector".to_owned(),
    );
    assert_eq!(documents.problems(), [expected]);
}

#[test]
fn a_disk_belongs_to_one_vsi() {
    let documents = one_host()
        .disk("d", "one")
        .vsi("a", json!({"diskSelector": all_hpcr()}))
        .vsi("b", json!({"diskSelector": {}}));
    let expected = (ProblemCode::Twice, "default/b spec.diskSelector".to_owned());
    assert_eq!(documents.problems(), [expected]);
}

#[test]
fn one_host_cannot_be_reached_in_two_ways() {
    let documents = one_host()
        .host(
            "h2",
            json!({"host": "two"}),
            &[("HOSTNAME", "h1"), ("KNOWN_HOSTS", "other")],
        )
        .vsi("a", json!({}))
        .vsi(
            "b",
            json!({"targetSelector": {"matchLabels": {"host": "two"}}}),
        );
    let expected = (
        ProblemCode::HostSettings,
        "default/b spec.targetSelector".to_owned(),
    );
    assert_eq!(documents.problems(), [expected]);
}

#[test]
fn credentials_of_an_image_travel_beside_the_desired_state() {
    let resolved = one_host()
        .vsi("a", json!({"imageURL": "https://u:pw@a/b.qcow2"}))
        .only();
    let vsi = &resolved.vsis[0];
    assert_eq!(vsi.desired.image.url, "https://a/b.qcow2");
    assert_eq!(
        vsi.image_url.as_ref().unwrap().expose(),
        b"https://u:pw@a/b.qcow2"
    );
    assert!(!format!("{vsi:?}").contains("pw"));
}

fn member_with(guest: Value, ready: Value) -> Value {
    json!({"name": "m", "template": {"metadata": {"labels": {}}, "spec": {
        "imageURL": "http://a/b.qcow2",
        "targetSelector": {"matchLabels": {"host": "one"}},
        "guest": guest,
        "ready": ready,
    }}})
}

fn text_of(problems: &[Problem]) -> usize {
    let texts = problems.iter();
    texts.map(|problem| problem.to_string().len()).sum()
}

#[test]
fn many_wrong_references_to_a_long_list_cost_little_and_are_counted() {
    let output = |number| json!({"name": format!("o{number:060}"), "member": "m-0", "file": "/a"});
    let outputs: Vec<_> = (0..1_000).map(output).collect();
    let text = "# $(group.outputs.x) $(group.members.x-0.name)\n".repeat(5_000);
    let guest = json!({"type": "cloudInit", "userData": format!("#cloud-config\n{text}")});
    let wave = json!({"name": "w", "members": [member_with(guest, json!({"all": []}))]});
    let documents = one_host()
        .group("g", json!({"waves": [wave], "outputs": outputs}))
        .documents;
    let problems = resolve(&documents, None).unwrap_err();
    assert!(problems.len() <= 60, "{}", problems.len());
    assert!(text_of(&problems) < 64 << 10, "{}", text_of(&problems));
    let last = problems.last().unwrap();
    assert!(last.message.contains("at least"), "{last}");
    let listed = |problem: &&Problem| problem.remedy.contains("and 995 more");
    assert!(
        problems.iter().any(|problem| listed(&problem)),
        "{problems:?}"
    );
}

#[test]
fn expressions_beyond_the_limit_are_not_compiled() {
    let probes = |mark: &str| -> Vec<_> {
        let probe = |number| json!({"console": format!("{mark} {number} [a-z]")});
        (0..17).map(probe).collect()
    };
    let output = |number| json!({"name": format!("o{number}"), "member": "m-0", "console": format!("over {number}")});
    let outputs: Vec<_> = (0..257).map(output).collect();
    let guest = json!({"type": "none"});
    let wave = json!({
        "name": "w",
        "members": [member_with(guest, json!({"all": probes("ready")}))],
        "gate": {"probes": probes("gate")},
    });
    let documents = one_host()
        .vsi("v", json!({"ready": {"all": probes("vsi")}}))
        .group("g", json!({"waves": [wave.clone()]}))
        .group("h", json!({"waves": [wave], "outputs": outputs}))
        .documents;
    let problems = resolve(&documents, None).unwrap_err();
    for words in ["17 probes", "at most 16 probes", "274 expressions"] {
        let said = |problem: &Problem| problem.message.contains(words);
        assert!(problems.iter().any(said), "{words}: {problems:?}");
    }
    for text in ["ready 0 [a-z]", "gate 0 [a-z]", "vsi 0 [a-z]", "over 0"] {
        assert!(!vsiflow_steps::guest::pattern::is_checked(text), "{text}");
    }
}
