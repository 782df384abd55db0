//! Two namespaces that do not trust one another. Each field of each kind is tried as a way from one
//! into the other, or into the operator's machine.

use std::collections::BTreeSet;

use vsiflow_tests::{Running, TestCluster, Vsiflow};

const DEFINITIONS: &str = include_str!("../../deploy/crd.yaml");
const VSI: &str = "HyperProtectContainerRuntimeOnPrem";
const DISK: &str = "HyperProtectContainerRuntimeOnPremDataDisk";
const REFERENCE: &str = "HyperProtectContainerRuntimeOnPremDataDiskRef";
const NETWORK: &str = "HyperProtectContainerRuntimeOnPremNetworkRef";
const SERVER: &str = "VirtualServer";
const POOL: &str = "VirtualServerPool";
const GROUP: &str = "VirtualServerGroup";
const MADE: &str = "VirtualServerNetwork";
const QUOTA: &str = "VirtualServerQuota";
const SNAPSHOT: &str = "VirtualServerSnapshot";

/// What a field could reach.
#[derive(Clone, Copy)]
enum FieldProbe {
    /// Each value is written into the field; the resource must get the error beside it.
    Tried(&'static [(&'static str, &'static str)]),
    /// The field affects only its own resource.
    Own,
    /// The field names something on the host; it belongs to the owner of the host's key.
    OfHost,
}
use FieldProbe::{OfHost, Own, Tried};

/// The labels of the other namespace's host settings, disk and network.
const OTHERS: &[(&str, &str)] = &[
    ("{matchLabels: {of: a}}", "VSI0605"),
    (
        "{matchExpressions: [{key: of, operator: Exists}]}",
        "VSI0605",
    ),
];
/// The other namespace's host settings. A selector for any value of the label would match the
/// writer's own settings, too.
const OTHERS_HOST: &[(&str, &str)] = &[("{matchLabels: {of: a}}", "VSI0605")];
/// Images that only the operator's machine can read.
const IMAGES: &[(&str, &str)] = &[
    (
        "file:///var/run/secrets/kubernetes.io/serviceaccount/token",
        "VSI0611",
    ),
    ("file:///etc/passwd", "VSI0611"),
    ("http://169.254.169.254/latest/meta-data/iam", "VSI0611"),
    (
        "https://10.96.0.1/api/v1/namespaces/kube-system/secrets/x",
        "VSI0611",
    ),
    ("http://127.0.0.1:9090/metrics", "VSI0611"),
    ("http://2130706433/metrics", "VSI0611"),
    ("\"http://[::ffff:127.0.0.1]/metrics\"", "VSI0611"),
    ("upload://kube-system/disk", "VSI0611"),
];

/// Templates, with what a virtual server could reach.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "{spec: {imageURL: \"http://images.lab.test:8080/a\", targetSelector: {matchLabels: {of: a}}}}",
        "VSI0605",
    ),
    (
        "{spec: {imageURL: \"http://images.lab.test:8080/a\", targetSelector: {matchLabels: {of: b}}, \
         networkSelector: {matchLabels: {of: a}}}}",
        "VSI0605",
    ),
    (
        "{spec: {imageURL: \"http://images.lab.test:8080/a\", targetSelector: {matchLabels: {of: a}}, \
         placement: {spread: {over: host}}}}",
        "VSI0605",
    ),
    (
        "{spec: {imageURL: \"file:///etc/passwd\", targetSelector: {matchLabels: {of: b}}}}",
        "VSI0611",
    ),
    (
        "{spec: {imageURL: \"http://169.254.169.254/latest\", targetSelector: {matchLabels: {of: b}}}}",
        "VSI0611",
    ),
    (
        "{spec: {imageURL: \"http://images.lab.test:8080/a\", targetSelector: {matchLabels: {of: b}}, \
         guest: {type: cloudInit, userDataFrom: {secretKeyRef: {name: a, key: x}}}}}",
        "VSI06",
    ),
];
/// Sources for a data disk: what only the operator's machine can read, and the other namespace's
/// disk and a snapshot of it.
const DISK_SOURCES: &[(&str, &str)] = &[
    ("{imageURL: \"file:///etc/passwd\"}", "VSI0611"),
    ("{imageURL: \"http://169.254.169.254/latest\"}", "VSI0611"),
    ("{imageURL: \"upload://kube-system/disk\"}", "VSI0611"),
    ("{disk: own}", "VSI0226"),
    ("{snapshot: {name: own, disk: own}}", "VSI0226"),
];
/// Disk templates with another namespace's host, and with what only the operator's machine can
/// read.
const DISK_TEMPLATES: &[(&str, &str)] = &[
    (
        "[{metadata: {name: d}, spec: {size: 1Mi, targetSelector: {matchLabels: {of: a}}}}]",
        "VSI0605",
    ),
    (
        "[{metadata: {name: d}, spec: {size: 1Mi, targetSelector: {matchLabels: {of: b}}, \
         source: {imageURL: \"file:///etc/passwd\"}}}]",
        "VSI0611",
    ),
    (
        "[{metadata: {name: d}, spec: {size: 1Mi, targetSelector: {matchLabels: {of: b}}, \
         source: {imageURL: \"http://169.254.169.254/latest\"}}}]",
        "VSI0611",
    ),
];

/// The same for the members and pools of a group, and for its release.
const WAVES: &[(&str, &str)] = &[
    (
        "[{name: w, members: [{name: m, template: {spec: {imageURL: \"http://images.lab.test:8080/a\", \
         targetSelector: {matchLabels: {of: a}}}}}]}]",
        "VSI0605",
    ),
    (
        "[{name: w, pools: [{name: m, template: {spec: {imageURL: \"http://images.lab.test:8080/a\", \
         targetSelector: {matchLabels: {of: b}}, networkSelector: {matchLabels: {of: a}}}}}]}]",
        "VSI0605",
    ),
    (
        "[{name: w, pools: [{name: m, template: {spec: {imageURL: \"file:///etc/passwd\", \
         targetSelector: {matchLabels: {of: b}}}}}]}]",
        "VSI0611",
    ),
    (
        "[{name: w, members: [{name: m, template: {spec: {imageURL: \"http://169.254.169.254/latest\", \
         targetSelector: {matchLabels: {of: b}}}}}]}]",
        "VSI0611",
    ),
    (
        "[{name: w, members: [{name: m, template: {spec: {imageURL: \"http://images.lab.test:8080/a\", \
         targetSelector: {matchLabels: {of: b}}, \
         guest: {type: cloudInit, userDataFrom: {secretKeyRef: {name: a, key: x}}}}}}]}]",
        "VSI06",
    ),
];
/// Images in a release that a template uses.
const RELEASES: &[(&str, &str)] = &[
    ("{node: {image: \"file:///etc/passwd\"}}", "VSI0611"),
    ("{node: {image: \"upload://kube-system/disk\"}}", "VSI0611"),
    (
        "{node: {image: \"http://169.254.169.254/latest\"}}",
        "VSI0611",
    ),
];

/// The other namespace's network.
const INTERFACES: &[(&str, &str)] = &[
    ("[{network: own}]", "VSI0605"),
    ("[{network: ../a/own}]", "VSI0605"),
];
/// Bridges through which guests would reach the host, its network or the metadata service.
const BRIDGES: &[(&str, &str)] = &[
    ("eth0", "VSI0611"),
    ("br0", "VSI0611"),
    ("\"a'/>\"", "VSI06"),
];
/// The other namespace's VSI, by several paths.
const OTHERS_VSIS: &[(&str, &str)] = &[
    ("own", "VSI0703"),
    ("a/own", "VSI06"),
    ("../a/own", "VSI06"),
];
const CIDRS: &[(&str, &str)] = &[
    ("169.254.169.0/24", "VSI06"),
    ("0.0.0.0/0", "VSI06"),
    ("127.0.0.0/24", "VSI06"),
    ("8.8.8.0/24", "VSI06"),
    ("\"<script>\"", "VSI06"),
];
const DOMAINS: &[(&str, &str)] = &[("{domain: \"a'/><forward/>\"}", "VSI06")];
const RANGES: &[(&str, &str)] = &[("{range: {start: 10.66.0.1, end: 10.67.0.9}}", "VSI06")];

const WAYS: &[(&str, &str, FieldProbe)] = &[
    (VSI, "bootDisk", Own),
    (VSI, "contract", Own),
    (VSI, "deletionPolicy", Own),
    (VSI, "diskSelector", Tried(OTHERS)),
    (VSI, "imageChecksum", Own),
    (VSI, "imageURL", Tried(IMAGES)),
    (VSI, "interfaces", Tried(INTERFACES)),
    (VSI, "machine", Own),
    (VSI, "networkConfig", Own),
    (VSI, "networkSelector", Tried(OTHERS)),
    (VSI, "onDrift", Own),
    (VSI, "powerState", Own),
    (VSI, "ready", Own),
    (VSI, "selector", Own),
    // Snapshots of its own disks: at most one per 15 minutes, at most 100.
    (VSI, "snapshotPolicy", Own),
    (VSI, "storagePool", OfHost),
    (VSI, "targetSelector", Tried(OTHERS_HOST)),
    (VSI, "updatePolicy", Own),
    (DISK, "deletionPolicy", Own),
    (DISK, "selector", Own),
    (DISK, "size", Own),
    (DISK, "source", Tried(DISK_SOURCES)),
    (DISK, "storagePool", OfHost),
    (DISK, "targetSelector", Tried(OTHERS_HOST)),
    (REFERENCE, "storagePool", OfHost),
    (REFERENCE, "targetSelector", Tried(OTHERS_HOST)),
    (REFERENCE, "volumeName", OfHost),
    (NETWORK, "networkName", OfHost),
    (NETWORK, "targetSelector", Tried(OTHERS_HOST)),
    (SERVER, "bootDisk", Own),
    (SERVER, "deletionPolicy", Own),
    (SERVER, "diskSelector", Tried(OTHERS)),
    (SERVER, "guest", Own),
    (SERVER, "imageChecksum", Own),
    (SERVER, "imageURL", Tried(IMAGES)),
    (SERVER, "interfaces", Tried(INTERFACES)),
    (SERVER, "machine", Own),
    (SERVER, "networkSelector", Tried(OTHERS)),
    (SERVER, "onDrift", Own),
    // It chooses among the hosts of targetSelector, and counts VSIs of its own namespace.
    (SERVER, "placement", Own),
    (SERVER, "powerState", Own),
    (SERVER, "ready", Own),
    (SERVER, "snapshotPolicy", Own),
    (SERVER, "storagePool", OfHost),
    (SERVER, "targetSelector", Tried(OTHERS_HOST)),
    (SERVER, "updatePolicy", Own),
    (POOL, "diskTemplates", Tried(DISK_TEMPLATES)),
    (POOL, "replicas", Own),
    (POOL, "strategy", Own),
    (POOL, "template", Tried(TEMPLATES)),
    (POOL, "updatePolicy", Own),
    // A file or console text of the guest.
    (GROUP, "outputs", Own),
    (GROUP, "release", Tried(RELEASES)),
    (GROUP, "waves", Tried(WAVES)),
    (MADE, "bridge", Tried(BRIDGES)),
    (MADE, "cidr", Tried(CIDRS)),
    (MADE, "deletionPolicy", Own),
    (MADE, "dhcp", Tried(RANGES)),
    (MADE, "dns", Tried(DOMAINS)),
    (MADE, "mode", Own),
    (MADE, "mtu", Own),
    (MADE, "vlan", Own),
    // It limits its own namespace; no role of the chart lets a tenant write it.
    (QUOTA, "hard", Own),
    (SNAPSHOT, "memory", Own),
    (SNAPSHOT, "quiesce", Own),
    (SNAPSHOT, "virtualServer", Tried(OTHERS_VSIS)),
];

/// The fields of each kind, from the resource definitions.
fn fields() -> BTreeSet<(&'static str, &'static str)> {
    let (mut kind, mut in_spec, mut found) = ("", false, BTreeSet::new());
    for line in DEFINITIONS.lines() {
        let word = line.trim();
        let depth = line.len() - line.trim_start().len();
        if let (4, Some(name)) = (depth, word.strip_prefix("kind: ")) {
            kind = name;
        }
        match (depth, word) {
            (10, _) => in_spec = word == "spec:",
            (14, _) if in_spec && !word.starts_with('-') => {
                found.extend(word.strip_suffix(':').map(|field| (kind, field)));
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_field_of_every_kind_has_a_row_among_the_ways_from_one_tenant_to_another() {
    let rows: BTreeSet<_> = WAYS
        .iter()
        .map(|(kind, field, _)| (*kind, *field))
        .collect();
    let fields = fields();
    assert!(fields.len() > 20, "{fields:?}");
    let missing: Vec<_> = fields.difference(&rows).collect();
    assert!(
        missing.is_empty(),
        "say in WAYS what they could lead to: {missing:?}"
    );
    let gone: Vec<_> = rows.difference(&fields).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// A ConfigMap of host settings with this label.
fn settings(label: &str, keys: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {label}\n  labels: {{of: {label}}}\n\
         data: {{HOSTNAME: 127.0.0.1, PORT: \"1\", {keys}}}\n"
    )
}

const OWN: &str = "KNOWN_HOSTS: \"h ssh-ed25519 A\"";

/// A resource of namespace `b` with one field set to this value.
fn resource(kind: &str, name: &str, field: &str, value: &str) -> String {
    let spec: &[(&str, &str)] = match kind {
        VSI => &[
            ("contract", "\"env: e\\nworkload: w\\n\""),
            ("imageURL", "http://images.lab.test:8080/hpcr-guest.qcow2"),
        ],
        SERVER => &[
            ("guest", "{type: none}"),
            ("imageURL", "http://images.lab.test:8080/hpcr-guest.qcow2"),
        ],
        GROUP => &[(
            "waves",
            "[{name: w, members: [{name: m, template: {spec: {imageURL: $(group.release.node.image), \
             guest: {type: none}, targetSelector: {matchLabels: {of: b}}}}}]}]",
        )],
        POOL => &[(
            "template",
            "{spec: {imageURL: \"http://images.lab.test:8080/a\", guest: {type: none}, \
             targetSelector: {matchLabels: {of: b}}}}",
        )],
        DISK => &[("size", "1048576")],
        REFERENCE => &[("volumeName", "none")],
        MADE => &[("cidr", "10.66.0.0/24")],
        SNAPSHOT => &[("virtualServer", "none")],
        _ => &[("networkName", "default")],
    };
    let mut all = vec![("targetSelector", "{matchLabels: {of: b}}")];
    all.retain(|_| ![POOL, GROUP, MADE, SNAPSHOT].contains(&kind));
    all.extend(spec);
    all.retain(|(known, _)| *known != field);
    all.push((field, value));
    let lines: String = all
        .iter()
        .map(|(key, field_value)| format!("  {key}: {field_value}\n"))
        .collect();
    let group = match kind {
        SERVER | POOL | GROUP | MADE | SNAPSHOT => "vsiflow.io",
        _ => "hpse.ibm.com",
    };
    format!("apiVersion: {group}/v1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n{lines}")
}

fn plural(kind: &str) -> &'static str {
    match kind {
        VSI => "onprem-hpcrs",
        SERVER => "virtualservers",
        POOL => "virtualserverpools",
        GROUP => "virtualservergroups",
        MADE => "virtualservernetworks",
        SNAPSHOT => "virtualserversnapshots",
        DISK => "onprem-datadisks",
        REFERENCE => "onprem-datadiskrefs",
        _ => "onprem-networkrefs",
    }
}

/// Both namespaces, and the daemon that serves them.
struct Tenants {
    a: TestCluster,
    b: TestCluster,
    vsiflow: Vsiflow,
    _serving: Running,
}

impl Tenants {
    fn enter() -> Option<Self> {
        let (a, b) = (TestCluster::enter()?, TestCluster::enter()?);
        let vsiflow = Vsiflow::of_documents();
        let serving = a.serve_as(a.kubeconfig(), &vsiflow, &["--namespace", b.namespace()]);
        for (label, cluster) in [("a", &a), ("b", &b)] {
            cluster.apply(settings(label, OWN));
        }
        let own = |kind: &str, field: &str, value: &str| {
            let text = resource(kind, "own", field, value).replace("{of: b}", "{of: a}");
            a.apply(text.replace("  name: own\n", "  name: own\n  labels: {of: a}\n"));
        };
        own(DISK, "size", "1048576");
        own(NETWORK, "networkName", "default");
        own(VSI, "diskSelector", "{matchLabels: {of: a}}");
        let tenants = Self {
            a,
            b,
            vsiflow,
            _serving: serving,
        };
        tenants
            .a
            .until("the VSI has a run", 60, || tenants.host_of_a().is_some());
        Some(tenants)
    }

    fn host_of_a(&self) -> Option<String> {
        let host = self.a.get("onprem-hpcrs/own")["status"]["host"].clone();
        host.as_str()
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
    }

    fn has_status(&self, cluster: &TestCluster, what: &str, words: &[&str]) {
        cluster.until(&format!("{what} has {words:?}"), 60, || {
            let status = cluster.get(what)["status"].to_string();
            words.iter().all(|word| status.contains(word))
        });
    }
}

#[test]
fn kube_no_field_of_a_resource_is_a_way_to_what_is_not_its_writers() {
    let Some(tenants) = Tenants::enter() else {
        return;
    };
    let mut requested = Vec::new();
    for (kind, field, way) in WAYS {
        let Tried(tried) = way else { continue };
        for (value, told) in *tried {
            let name = format!("t{}", requested.len());
            tenants.b.apply(resource(kind, &name, field, value));
            requested.push((format!("{}/{name}", plural(kind)), *told));
        }
    }
    for (what, told) in &requested {
        tenants.has_status(&tenants.b, what, &[told]);
        let status = tenants.b.get(what)["status"].clone();
        let (run, revision) = (&status["runId"], &status["revision"]);
        assert!(
            run.is_null() && revision.is_null(),
            "{what} is worked on: {status:#}"
        );
    }
    // None of them was recorded.
    let listed = tenants
        .vsiflow
        .run(&["get", "vsi", "-A", "-o", "name"])
        .exits(0);
    assert!(!listed.stdout.contains("/t"), "{listed:?}");
}

#[test]
fn kube_no_key_of_host_settings_is_a_way_to_what_is_not_its_writers() {
    let Some(tenants) = Tenants::enter() else {
        return;
    };
    let host = tenants.host_of_a();
    for (number, (keys, told)) in [
        (
            "KNOWN_HOSTS: \"h ssh-ed25519 A\", KEY_FILE: /etc/shadow",
            "VSI0611",
        ),
        ("KNOWN_HOSTS_FILE: /etc/passwd", "VSI0611"),
        (
            "KNOWN_HOSTS: \"h ssh-ed25519 A\", IMAGE_CA_FILE: /etc/passwd",
            "VSI0611",
        ),
        (
            "KNOWN_HOSTS: \"h ssh-ed25519 A\", PROXY_JUMP: a, PROXY_JUMP_1_KEY_FILE: /etc/shadow",
            "VSI0611",
        ),
        ("KNOWN_HOSTS: \"h ssh-ed25519 A\", KEY: x", "VSI0613"),
        (
            "KNOWN_HOSTS: \"h ssh-ed25519 A\", PROXY_JUMP: a, PROXY_JUMP_KEY: x",
            "VSI0613",
        ),
        ("KNOWN_HOSTS: \"h ssh-ed25519 A\", PROXY_JUMP: a", "VSI0612"),
        ("KNOWN_HOSTS: \"h ssh-ed25519 B\"", "VSI0612"),
        (
            "KNOWN_HOSTS: \"h ssh-ed25519 A\", SOCKET: /tmp/x",
            "VSI0612",
        ),
        ("INSECURE_SKIP_HOST_KEY: \"true\"", "VSI0612"),
    ]
    .into_iter()
    .enumerate()
    {
        tenants.b.apply(settings("b", keys));
        let name = format!("t{number}");
        let image = "http://images.lab.test:8080/x.qcow2";
        tenants.b.apply(resource(VSI, &name, "imageURL", image));
        let what = format!("onprem-hpcrs/{name}");
        tenants.has_status(&tenants.b, &what, &[told]);
        if told == "VSI0612" {
            tenants.has_status(&tenants.a, "onprem-hpcrs/own", &[tenants.b.namespace()]);
        }
        let gone = ["delete", &what, "--timeout=60s"];
        tenants.b.kubectl(&gone).exits(0);
        assert_eq!(tenants.host_of_a(), host);
    }
}
