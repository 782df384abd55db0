//! Hints for error messages: what a field expects, with an example, and the closest known word to a misspelt
//! one.

use vsiflow_workflows::spec::{FieldPath, PathSegment};

/// What a field expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The expected type in words, for example `a whole number`.
    pub(crate) expected: &'static str,
    /// An example line.
    pub(crate) example: &'static str,
}

/// What the field at a path expects. The path starts at the document; list positions in it are ignored.
pub(crate) fn hint(path: &FieldPath) -> Option<Hint> {
    let keys: Vec<&str> = path.0.iter().filter_map(key).collect();
    let (expected, example) = match keys.as_slice() {
        ["apiVersion"] => ("text", "apiVersion: hpse.ibm.com/v1"),
        ["kind"] => ("text", "kind: HyperProtectContainerRuntimeOnPrem"),
        ["metadata"] => ("an object with a name", "metadata: {name: my-vsi}"),
        ["metadata", "name"] => ("text", "name: my-vsi"),
        ["metadata", "namespace"] => ("text", "namespace: default"),
        ["metadata", "uid"] => ("a UUID", "uid: 6d997109-6b44-40eb-8d88-8bf7fc90bfb5"),
        ["metadata", "labels"] => ("an object of texts", "labels: {app: hpcr}"),
        ["metadata", "labels" | "annotations", _] => ("text", "app: \"1\""),
        ["data"] | ["stringData"] => ("an object of texts", "data: {HOSTNAME: lpar1.example.com}"),
        ["data" | "stringData", "PORT"] => ("text", "PORT: \"22\""),
        ["data" | "stringData", "INSECURE_SKIP_HOST_KEY"] => {
            ("text", "INSECURE_SKIP_HOST_KEY: \"true\"")
        }
        ["data" | "stringData", _] => (
            "text",
            "HOSTNAME: lpar1.example.com, or in base64 below a Secret's data",
        ),
        ["items"] => ("a list of documents", "items: []"),
        ["spec", field, rest @ ..] => return spec(field, rest),
        ["spec"] => ("an object", "spec: {imageURL: …, contract: …}"),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn key(segment: &PathSegment) -> Option<&str> {
    match segment {
        PathSegment::Key(key) => Some(key.as_str()),
        PathSegment::Index(_) => None,
    }
}

fn spec(field: &str, rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match (field, rest) {
        ("template", ["spec", field, rest @ ..]) => return spec(field, rest),
        ("diskTemplates", ["spec", field, rest @ ..]) => return spec(field, rest),
        ("template" | "diskTemplates" | "replicas" | "strategy", rest) => return pool(field, rest),
        ("waves", ["members" | "pools", field, rest @ ..]) => {
            return spec(field, rest).or_else(|| group(&["waves", "members", field]));
        }
        ("waves" | "release" | "outputs", rest) => {
            let path: Vec<_> = std::iter::once(field).chain(rest.iter().copied()).collect();
            return group(&path);
        }
        ("contract", _) => ("text", "contract: | with the contract below, indented"),
        ("hard", []) => ("an object of limits", "hard: {vsis: 10, memory: 64Gi}"),
        ("hard", ["vsis" | "cpus"]) => ("a whole number", "vsis: 10"),
        ("hard", ["memory" | "disk"]) => ("a size", "memory: 64Gi"),
        ("virtualServer", []) => ("text", "virtualServer: web"),
        ("quiesce", []) => ("true or false", "quiesce: true"),
        ("imageURL", []) => ("a URL", "imageURL: https://images.example.com/hpcr.qcow2"),
        ("imageChecksum", []) => ("text", "imageChecksum: sha256: and 64 hexadecimal digits"),
        ("storagePool", []) => ("text", "storagePool: images"),
        ("volumeName", []) => ("text", "volumeName: existing-volume"),
        ("cidr", []) => ("an IPv4 network", "cidr: 10.20.0.0/24"),
        ("mode", []) => ("nat, routed, isolated or bridge", "mode: nat"),
        ("bridge", []) => ("text", "bridge: br0"),
        ("dhcp", []) => ("an object", "dhcp: {enabled: true}"),
        ("dhcp" | "dns", ["enabled"]) => ("true or false", "enabled: true"),
        ("dhcp", ["range"]) => (
            "an object with start and end",
            "range: {start: 10.20.0.100, end: 10.20.0.200}",
        ),
        ("dhcp", ["range", "start" | "end"]) => ("an IPv4 address", "start: 10.20.0.100"),
        ("dns", []) => ("an object", "dns: {domain: lab.example.com}"),
        ("dns", ["domain"]) => ("text", "domain: lab.example.com"),
        ("mtu", []) => ("a whole number", "mtu: 1500"),
        ("vlan", []) => ("a whole number", "vlan: 12"),
        ("interfaces", []) => (
            "a list of cards",
            "interfaces: [{network: backend, addresses: [10.20.0.5]}]",
        ),
        ("interfaces", ["network"]) => ("text", "network: backend"),
        ("interfaces", ["addresses"]) => ("a list of IPv4 addresses", "addresses: [10.20.0.5]"),
        ("networkName", []) => ("text", "networkName: default"),
        ("size", []) | ("bootDisk", ["size"]) => ("a size", "size: 100Gi"),
        ("cpus", []) => ("a whole number", "cpus: 2"),
        ("memory", []) => ("a size, or of a snapshot true or false", "memory: 4Gi"),
        ("bootDisk", []) => ("an object", "bootDisk: {mode: copy, size: 100Gi}"),
        ("bootDisk", ["mode"]) => ("copy or overlay", "mode: copy"),
        ("machine", []) => ("an object", "machine: {cpus: 2, memory: 4Gi}"),
        ("machine", ["arch"]) => ("text", "arch: s390x"),
        ("machine", ["cpus"]) => ("a whole number", "cpus: 2"),
        ("machine", ["memory"]) => ("a size", "memory: 4Gi"),
        ("machine", ["cpu"]) => ("text", "cpu: host-model"),
        ("machine", ["firmware"]) => ("bios or uefi", "firmware: uefi"),
        ("machine", ["secureExecution"]) => ("auto, required or off", "secureExecution: auto"),
        ("machine", ["graphics"]) => ("vnc or none", "graphics: vnc"),
        ("guest", rest) => return guest(rest),
        ("ready", rest) => return ready(rest),
        ("source", rest) => return source(rest),
        ("powerState", []) => ("Running, Stopped or Paused", "powerState: Running"),
        ("onDrift", []) => ("Report or Restore", "onDrift: Report"),
        ("updatePolicy", []) => ("Automatic or Manual", "updatePolicy: Automatic"),
        ("deletionPolicy", []) => ("Delete or Retain", "deletionPolicy: Retain"),
        ("networkConfig", _) => (
            "text",
            "networkConfig: | with netplan version 2 below, indented",
        ),
        ("snapshotPolicy", []) => (
            "an object with schedule and keep",
            "snapshotPolicy: {schedule: \"30 2 * * *\", keep: 7}",
        ),
        ("snapshotPolicy", ["schedule"]) => ("cron's five fields", "schedule: \"30 2 * * *\""),
        ("snapshotPolicy", ["keep"]) => ("a whole number", "keep: 7"),
        ("snapshotPolicy", ["quiesce"]) => ("true or false", "quiesce: true"),
        ("placement", rest) => return placement(rest),
        ("targetSelector" | "diskSelector" | "networkSelector", rest) => return selector(rest),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn pool(field: &str, rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match (field, rest) {
        ("replicas", []) => ("a whole number", "replicas: 3"),
        ("template", []) => ("an object", "template: {spec: {imageURL: …}}"),
        ("template", ["spec"]) => ("an object", "spec: {imageURL: …}"),
        ("template", ["evictable"]) => ("true or false", "evictable: true"),
        ("template", ["metadata"]) => ("an object", "metadata: {labels: {app: web}}"),
        ("template", ["metadata", "labels" | "annotations"]) => {
            ("an object of texts", "labels: {app: web}")
        }
        ("diskTemplates", []) => (
            "a list of disks",
            "diskTemplates: [{metadata: {name: data}, spec: {size: 10Gi}}]",
        ),
        ("diskTemplates", ["metadata"]) => ("an object with a name", "metadata: {name: data}"),
        ("diskTemplates", ["metadata", "name"]) => ("text", "name: data"),
        ("diskTemplates", ["spec"]) => ("an object", "spec: {size: 10Gi}"),
        ("strategy", []) => ("an object", "strategy: {maxUnavailable: 1}"),
        ("strategy", ["maxUnavailable"]) => ("a whole number", "maxUnavailable: 1"),
        ("strategy", ["maxSurge"]) => ("a whole number", "maxSurge: 0"),
        ("strategy", ["partition"]) => ("a whole number", "partition: 0"),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn group(path: &[&str]) -> Option<Hint> {
    let (expected, example) = match path {
        ["waves"] => (
            "a list of waves",
            "waves: [{name: first, members: [{name: a, template: {spec: {imageURL: …}}}]}]",
        ),
        ["waves", "members" | "pools"] => (
            "a list of members",
            "members: [{name: a, template: {spec: {imageURL: …}}}]",
        ),
        ["waves", "gate"] => ("an object", "gate: {members: all, probes: [{tcp: 22}]}"),
        ["waves", "gate", "members"] => ("all or any", "members: all"),
        ["waves", "gate", "probes", ..] => ("a list of probes", "probes: [{tcp: 22}]"),
        ["waves", "members" | "pools", "removeAfter"] => ("text", "removeAfter: control-plane"),
        ["waves", .., "name"] => ("text", "name: bootstrap"),
        ["release", ..] => (
            "images by name",
            "release: {node: {image: https://images.example.com/node.qcow2}}",
        ),
        ["outputs", "secret"] => ("true or false", "secret: false"),
        ["outputs", ..] => (
            "a list of outputs",
            "outputs: [{name: kubeconfig, member: bootstrap-0, file: /etc/kubernetes/admin.conf}]",
        ),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn guest(rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match rest {
        [] => (
            "an object",
            "guest: {type: cloudInit, sshKeys: [\"ssh-ed25519 …\"]}",
        ),
        ["type"] => (
            "cloudInit, ignition, hyperProtect or none",
            "type: cloudInit",
        ),
        ["contract", ..] => ("text", "contract: | with the contract below, indented"),
        ["userData", ..] => ("text", "userData: | with #cloud-config below, indented"),
        ["userDataFrom", ..] => (
            "a reference to a Secret",
            "userDataFrom: {secretKeyRef: {name: web, key: user-data}}",
        ),
        ["networkConfig", ..] => (
            "text",
            "networkConfig: | with netplan version 2 below, indented",
        ),
        ["hostname"] => ("text", "hostname: web"),
        ["sshKeys"] => ("a list of texts", "sshKeys: [\"ssh-ed25519 …\"]"),
        ["vendorData", ..] => ("text", "vendorData: | with #cloud-config below, indented"),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn source(rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match rest {
        [] => (
            "an object with imageURL, snapshot, disk or blank",
            "source: {imageURL: https://images.example.com/data.qcow2}",
        ),
        ["imageURL"] => ("a URL", "imageURL: https://images.example.com/data.qcow2"),
        ["imageChecksum"] => ("text", "imageChecksum: sha256: and 64 hexadecimal digits"),
        ["snapshot"] => (
            "an object with name and disk",
            "snapshot: {name: before-upgrade, disk: data}",
        ),
        ["snapshot", "name"] => ("text", "name: before-upgrade"),
        ["snapshot", "disk"] => ("boot, or the name of a data disk", "disk: data"),
        ["disk"] => ("text", "disk: data"),
        ["blank"] => ("true", "blank: true"),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn ready(rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match rest {
        [] => ("an object", "ready: {within: 15m, all: [{tcp: 22}]}"),
        ["within"] => ("a time", "within: 15m"),
        ["all"] => ("a list of probes", "all: [{cloudInit: {}}, {tcp: 22}]"),
        ["all", "console"] => ("text", "console: \"login:\""),
        ["all", "tcp"] => ("a whole number", "tcp: 22"),
        ["all", "http"] => ("an object", "http: {port: 80, path: /healthz}"),
        ["all", "http", "port"] => ("a whole number", "port: 80"),
        ["all", "http", "path"] => ("text", "path: /healthz"),
        [
            "all",
            word @ ("agent" | "cloudInit" | "address" | "started"),
        ] => (
            "an empty object",
            match *word {
                "agent" => "agent: {}",
                "cloudInit" => "cloudInit: {}",
                "address" => "address: {}",
                _ => "started: {}",
            },
        ),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn placement(rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match rest {
        [] => ("an object", "placement: {spread: {over: host}}"),
        ["spread"] => ("an object", "spread: {over: host}"),
        ["spread", "over"] => ("host or label", "over: host"),
        ["spread", "label"] => ("text", "label: zone"),
        ["pack"] => ("true or false", "pack: true"),
        ["requires"] => ("an object", "requires: {memory: 64Gi}"),
        ["requires", "memory"] => ("a size", "memory: 64Gi"),
        ["requires", "cpus"] => ("a whole number", "cpus: 8"),
        ["requires", "poolRoom"] => ("a size", "poolRoom: 100Gi"),
        ["requires", "device"] => ("text", "device: crypto"),
        ["antiAffinity", rest @ ..] | ["spread", "among", rest @ ..] => return selector(rest),
        _ => return None,
    };
    Some(Hint { expected, example })
}

fn selector(rest: &[&str]) -> Option<Hint> {
    let (expected, example) = match rest {
        [] => ("a label selector", "{matchLabels: {app: hpcr}}"),
        ["matchLabels"] => ("an object of texts", "matchLabels: {app: hpcr}"),
        ["matchLabels", _] => ("text", "app: \"1\""),
        ["matchExpressions"] => (
            "a list of conditions",
            "matchExpressions: [{key: app, operator: In, values: [hpcr]}]",
        ),
        ["matchExpressions", "key"] => ("text", "key: app"),
        ["matchExpressions", "operator"] => ("In, NotIn, Exists or DoesNotExist", "operator: In"),
        ["matchExpressions", "values"] => ("a list of texts", "values: [hpcr]"),
        _ => return None,
    };
    Some(Hint { expected, example })
}

/// The closest of `words` to a possibly misspelt word.
pub(crate) fn closest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    // Longer words would make the comparison slow and match nothing.
    if word.len() > 100 {
        return None;
    }
    let distance =
        |other: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase());
    let allowed = |other: &str| (other.chars().count() / 3).max(1);
    let near = words.iter().map(|other| (distance(other), *other));
    near.filter(|(near_by, other)| *near_by <= allowed(other))
        .min()
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood() {
        let fields = [
            "contract",
            "imageURL",
            "imageChecksum",
            "storagePool",
            "targetSelector",
        ];
        assert_eq!(closest("imageUrl", &fields), Some("imageURL"));
        assert_eq!(closest("contrat", &fields), Some("contract"));
        assert_eq!(closest("target_selector", &fields), Some("targetSelector"));
        assert_eq!(closest("replicas", &fields), None);
        assert_eq!(closest(&"a".repeat(1000), &fields), None);
    }
}
