//! Kind `VirtualServerGroup`: members and pools in waves, behind gates.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use uuid::Uuid;
use vsiflow_steps::guest::Probe;

use super::documents::{Document, GROUP};
use super::image::{Checksum, ImageUrl};
use super::meta::{self, ObjectMeta};
use super::policy::UpdatePolicy;
use super::pool::{
    DiskTemplate, MAX_REPLICAS, PoolSpec, PoolTemplate, ResolvedPool, Strategy, some_replicas,
};
use super::problem::{DocumentRef, FieldPath, PathSegment, Problem};
use super::ready::{HttpSpec, Nothing};

/// The spec of kind `VirtualServerGroup`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSpec {
    /// Images that templates share, by name. A change goes through the waves, one pool after another.
    #[serde(default)]
    #[schemars(extend("x-example" = "{node: {image: https://images.example.com/node.qcow2}}", "x-expected" = "images by name"))]
    pub release: BTreeMap<String, ReleaseSpec>,
    /// The waves, in the order in which they come up.
    #[schemars(extend("x-example" = "[{name: first, members: [{name: a, template: {spec: {imageURL: …}}}]}]", "x-expected" = "a list of waves"))]
    pub waves: Vec<WaveSpec>,
    /// What is read of members, once, before the gate of their wave opens.
    #[serde(default)]
    #[schemars(extend("x-example" = "[{name: kubeconfig, member: bootstrap-0, file: /etc/kubernetes/admin.conf}]", "x-expected" = "a list of outputs"))]
    pub outputs: Vec<OutputSpec>,
}

/// An image of a release.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-example" = "{image: https://images.example.com/node.qcow2}"))]
pub struct ReleaseSpec {
    /// Where it comes from. It holds no credentials.
    pub image: ImageUrl,
    /// The SHA-256 it must have: sha256: and 64 hexadecimal digits.
    #[serde(default)]
    pub checksum: Option<Checksum>,
}

/// A wave.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaveSpec {
    /// Its name.
    #[serde(deserialize_with = "label")]
    #[schemars(extend("x-example" = "bootstrap"))]
    pub name: String,
    /// Single members: the virtual server is GROUP-NAME-0.
    #[serde(default)]
    #[schemars(extend("x-example" = "[{name: a, template: {spec: {imageURL: …}}}]", "x-expected" = "a list of members"))]
    pub members: Vec<MemberSpec>,
    /// Pools: the members are GROUP-NAME-0 and so on.
    #[serde(default)]
    #[schemars(extend("x-example" = "[{name: a, template: {spec: {imageURL: …}}}]", "x-expected" = "a list of members"))]
    pub pools: Vec<GroupPoolSpec>,
    /// What opens the way to the next wave; that members are ready where absent.
    #[serde(default)]
    #[schemars(extend("x-example" = "{members: all, probes: [{tcp: 22}]}"))]
    pub gate: GateSpec,
}

/// A single member.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberSpec {
    /// Its name.
    #[serde(deserialize_with = "label")]
    #[schemars(extend("x-example" = "bootstrap"))]
    pub name: String,
    /// What it is. Texts of its guest may refer to the group and to earlier waves.
    #[schemars(extend("x-example" = "{spec: {imageURL: …}}"))]
    pub template: PoolTemplate,
    /// Data disks of its own.
    #[serde(default)]
    #[schemars(extend("x-example" = "[{metadata: {name: data}, spec: {size: 10Gi}}]", "x-expected" = "a list of disks"))]
    pub disk_templates: Vec<DiskTemplate>,
    /// The wave after whose gate it is deleted and never made again.
    #[serde(default)]
    #[schemars(extend("x-example" = "control-plane"))]
    pub remove_after: Option<String>,
}

/// A pool of members.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupPoolSpec {
    /// Its name.
    #[serde(deserialize_with = "label")]
    #[schemars(extend("x-example" = "bootstrap"))]
    pub name: String,
    /// How many members there are, 0 to 1000; where absent, as many as before, and 1 at first.
    #[serde(default, deserialize_with = "some_replicas")]
    #[schemars(range(max = MAX_REPLICAS), extend("x-example" = 3))]
    pub replicas: Option<u32>,
    /// What each member is. Texts of its guest may refer to the group and to earlier waves.
    #[schemars(extend("x-example" = "{spec: {imageURL: …}}"))]
    pub template: PoolTemplate,
    /// Data disks that each member has of its own.
    #[serde(default)]
    #[schemars(extend("x-example" = "[{metadata: {name: data}, spec: {size: 10Gi}}]", "x-expected" = "a list of disks"))]
    pub disk_templates: Vec<DiskTemplate>,
    /// How members are replaced.
    #[serde(default)]
    #[schemars(extend("x-example" = "{maxUnavailable: 1}"))]
    pub strategy: Strategy,
    /// The wave after whose gate it is deleted and never made again.
    #[serde(default)]
    #[schemars(extend("x-example" = "control-plane"))]
    pub remove_after: Option<String>,
}

/// What opens the way to the next wave.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateSpec {
    /// Who has to show what a gate asks.
    #[serde(default)]
    pub members: Quorum,
    /// What members show beside being ready, all of it.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-example" = "[{tcp: 22}]", "x-expected" = "a list of probes"))]
    pub probes: Vec<GateProbeSpec>,
}

/// Which members must pass a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Quorum {
    /// Every member of the wave.
    #[default]
    All,
    /// One of them.
    Any,
}

/// One probe of a gate: one field of it is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateProbeSpec {
    /// The member is ready.
    #[serde(default)]
    pub ready: Option<Nothing>,
    /// A regular expression that a line of the console matches.
    #[serde(default)]
    #[schemars(extend("x-example" = "\"login:\""))]
    pub console: Option<String>,
    /// The agent of the guest answers.
    #[serde(default)]
    pub agent: Option<Nothing>,
    /// A TCP port that accepts connections.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535), extend("x-example" = 22))]
    pub tcp: Option<u16>,
    /// An HTTP server that answers.
    #[serde(default)]
    #[schemars(extend("x-example" = "{port: 80, path: /healthz}"))]
    pub http: Option<HttpSpec>,
    /// A program that the agent of the guest runs, and that ends with 0. It may run many times.
    #[serde(default)]
    #[schemars(extend("x-example" = "{path: /usr/bin/true}"))]
    pub agent_command: Option<AgentCommand>,
}

/// A program that the agent of a guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentCommand {
    /// The program, as an absolute path.
    #[schemars(extend("x-example" = "/usr/bin/true"))]
    pub path: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-example" = "[--quiet]"))]
    pub args: Vec<String>,
}

/// Something that is read of a member: one of file and console is given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputSpec {
    /// Its name.
    #[serde(deserialize_with = "label")]
    #[schemars(extend("x-example" = "kubeconfig"))]
    pub name: String,
    /// The member, as NAME-0.
    #[schemars(extend("x-example" = "bootstrap-0"))]
    pub member: String,
    /// A file that the agent of the guest reads; 64 KiB at most.
    #[serde(default)]
    #[schemars(extend("x-example" = "/etc/kubernetes/admin.conf"))]
    pub file: Option<String>,
    /// A regular expression that a line of the console matches; its first group is what is read.
    #[serde(default)]
    #[schemars(extend("x-example" = "\"token: (.+)\""))]
    pub console: Option<String>,
    /// Whether it is kept as a secret; true where absent.
    #[serde(default = "yes")]
    #[schemars(extend("x-example" = false))]
    pub secret: bool,
}

fn yes() -> bool {
    true
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    match meta::check_label(&name) {
        Ok(()) => Ok(name),
        Err(_) => Err(D::Error::custom(format!(
            "{name:?} is not a name: lower-case letters, digits and `-`, a letter or digit at both ends, 63 at most"
        ))),
    }
}

/// An image of a release, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The URL of the image.
    pub image: String,
    /// The SHA-256 it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// The gate to the next wave, as recorded. Enum variants are only appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Which members must pass.
    #[serde(default)]
    pub members: Quorum,
    /// The probes, besides being ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<GateProbe>,
}

/// A probe of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GateProbe {
    /// A probe that can also show that a guest is ready.
    Guest(Probe),
    /// A program of the guest must end with 0.
    Command(AgentCommand),
}

/// An output of a member, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputSource {
    /// Its name.
    pub name: String,
    /// The name of the member or pool.
    pub item: String,
    /// The member's number.
    pub number: u32,
    /// Where it is read from.
    pub from: OutputPlace,
    /// Whether it is stored as a secret.
    pub secret: bool,
}

/// Where an output is read from. Variants are only appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputPlace {
    /// A file, by the guest agent.
    File(String),
    /// The first group of a pattern that a line of the console matches.
    Console(String),
}

/// The group that a pool belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfGroup {
    /// The group's UID.
    pub uid: Uuid,
    /// The group's name.
    pub group: String,
    /// The pool's name within the group.
    pub item: String,
    /// The revision of the group's demand for it.
    pub revision: String,
}

/// A group, resolved from its document.
#[derive(Clone, Debug)]
pub struct ResolvedGroup {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID, if the document has one.
    pub uid: Option<Uuid>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// Images that templates share, by name.
    pub release: BTreeMap<String, Release>,
    /// The waves, in their order.
    pub waves: Vec<ResolvedWave>,
    /// The outputs to read from members.
    pub outputs: Vec<OutputSource>,
    /// What is wrong unless the group's record excuses it.
    pub late: Vec<LateProblem>,
    /// Whether it belongs to a cluster that the journals of a set share.
    pub of_shared_cluster: bool,
    /// The document it comes from.
    pub at: DocumentRef,
}

/// A problem of a group's document that the group's record may excuse, which the resolver does not know.
#[derive(Clone, Debug)]
pub struct LateProblem {
    /// The problem.
    pub problem: Problem,
    /// The item that it concerns. It is no problem once the item was removed.
    pub item: String,
    /// What the problem is about, if the group records that. It is no problem once it is recorded.
    pub value: Option<RecordedValue>,
}

/// What a group knows of a member that need not be there any more.
#[derive(Clone, Debug)]
pub enum RecordedValue {
    /// Its address, by the reference in the texts of the item.
    Address(String),
    /// An output that was read.
    Output(OutputSource),
    /// The name or number of a member of this item.
    Name(String),
}

impl ResolvedGroup {
    /// Its members and pools, wave after wave.
    pub fn items(&self) -> impl Iterator<Item = &ResolvedItem> {
        self.waves.iter().flat_map(|wave| &wave.items)
    }

    /// Whether an item names or selects what no document has. The fleet refuses it unless it was removed.
    pub fn lacks(&self, item: &str) -> bool {
        let mut late = self.late.iter();
        late.any(|late| late.item == item && late.value.is_none())
    }

    /// Its members and pools whose documents are whole.
    pub fn whole_items(&self) -> impl Iterator<Item = &ResolvedItem> {
        self.items().filter(|item| !self.lacks(&item.name))
    }
}

/// A wave, resolved.
#[derive(Clone, Debug)]
pub struct ResolvedWave {
    /// Its name.
    pub name: String,
    /// The gate to the next wave.
    pub gate: Gate,
    /// Its members and pools.
    pub items: Vec<ResolvedItem>,
}

/// A member or a pool of a wave, resolved.
#[derive(Clone, Debug)]
pub struct ResolvedItem {
    /// Its name within the group.
    pub name: String,
    /// Whether the document declares it as a single member.
    pub single: bool,
    /// The wave after whose gate it is removed.
    pub remove_after: Option<String>,
    /// Its pool, before values are filled in.
    pub pool: ResolvedPool,
}

/// A member or a pool as a pool document of its own, so that it is resolved like any other.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) single: bool,
    pub(super) remove_after: Option<String>,
    /// Its path in the group's document.
    pub(super) path: FieldPath,
    pub(super) pool: Document<PoolSpec>,
}

/// The members and pools of a group, as documents of pools.
pub fn pools(document: &Document<GroupSpec>) -> Vec<Document<PoolSpec>> {
    let waves = 0..document.spec.waves.len();
    let items = waves.flat_map(|wave| items(document, wave));
    items.map(|item| item.pool).collect()
}

/// The members and pools of a wave.
pub(super) fn items(document: &Document<GroupSpec>, wave: usize) -> Vec<Item> {
    let Some(spec) = document.spec.waves.get(wave) else {
        return Vec::new();
    };
    let path = |list: &str, place| {
        let waves = FieldPath::of(["spec", "waves"]).index(wave);
        waves.key(list).index(place)
    };
    let members = spec.members.iter().enumerate().map(|(place, member)| Item {
        name: member.name.clone(),
        single: true,
        remove_after: member.remove_after.clone(),
        path: path("members", place),
        pool: pool(
            document,
            &member.name,
            PoolSpec {
                replicas: Some(1),
                template: member.template.clone(),
                disk_templates: member.disk_templates.clone(),
                strategy: Strategy::default(),
                update_policy: UpdatePolicy::Automatic,
            },
        ),
    });
    let pools = spec.pools.iter().enumerate().map(|(place, one)| Item {
        name: one.name.clone(),
        single: false,
        remove_after: one.remove_after.clone(),
        path: path("pools", place),
        pool: pool(
            document,
            &one.name,
            PoolSpec {
                replicas: one.replicas,
                template: one.template.clone(),
                disk_templates: one.disk_templates.clone(),
                strategy: one.strategy,
                update_policy: UpdatePolicy::Automatic,
            },
        ),
    });
    members.chain(pools).collect()
}

fn pool(document: &Document<GroupSpec>, name: &str, spec: PoolSpec) -> Document<PoolSpec> {
    Document {
        at: document.at.clone(),
        kind: GROUP,
        meta: ObjectMeta {
            name: crate::group::pool_name(&document.meta.name, name),
            uid: None,
            annotations: BTreeMap::new(),
            ..document.meta.clone()
        },
        spec,
    }
}

/// Moves a problem of a pool to its path in the group's document.
pub(super) fn in_item(
    problem: Problem,
    document: &Document<GroupSpec>,
    item: &FieldPath,
) -> Problem {
    let rest: &[PathSegment] = match problem.path.0.split_first() {
        Some((_, rest)) => rest,
        None => &[],
    };
    Problem {
        kind: GROUP.to_owned(),
        object: document.meta.full_name(),
        path: FieldPath(item.0.iter().chain(rest).cloned().collect()),
        ..problem
    }
}
