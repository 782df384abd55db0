//! Kind `VirtualServerPool`: numbered virtual servers from one template.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use uuid::Uuid;

use super::data_disk::DataDiskSpec;
use super::desired::DesiredDataDisk;
use super::documents::{Document, POOL};
use super::group::OfGroup;
use super::meta::{self, ObjectMeta};
use super::policy::{DeletionPolicy, UpdatePolicy};
use super::problem::{DocumentRef, FieldPath, PathSegment, Problem, ProblemCode};
use super::resolve::ResolvedVsi;
use super::virtual_server::VirtualServerSpec;
use super::vsi::VsiSpec;

/// The most members that a pool can have.
pub const MAX_REPLICAS: u32 = 1000;

/// The longest name of a pool, in bytes: a member's name is a host name.
const MAX_NAME_LEN: usize = 57;

/// The spec of kind `VirtualServerPool`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolSpec {
    /// How many members there are, 0 to 1000; where absent, as many as before, and 1 at first.
    #[serde(default, deserialize_with = "some_replicas")]
    #[schemars(range(max = MAX_REPLICAS), extend("x-example" = 3))]
    pub replicas: Option<u32>,
    /// What each member is.
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
    /// Whether a change is carried out by itself.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
}

/// The template of each member.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolTemplate {
    /// Labels and annotations of members.
    #[serde(default)]
    #[schemars(extend("x-example" = "{labels: {app: web}}"))]
    pub metadata: TemplateMeta,
    /// Whether draining a host may make members elsewhere although what their boot and data disks hold is lost.
    #[serde(default)]
    #[schemars(extend("x-example" = true))]
    pub evictable: bool,
    /// The spec of a VirtualServer. Texts of its guest may refer to pool.name, pool.index and pool.member.
    #[schemars(extend("x-example" = "{imageURL: …}"))]
    pub spec: VirtualServerSpec,
}

/// Labels and annotations of members.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateMeta {
    /// Labels.
    #[serde(default, deserialize_with = "meta::labels")]
    #[schemars(extend("x-example" = "{app: web}"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    #[schemars(extend("x-example" = "{owner: shop}", "x-secret" = true))]
    pub annotations: BTreeMap<String, String>,
}

/// A data disk that each member has of its own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskTemplate {
    /// Its name and labels: the disk of member 2 of pool web is NAME-web-2.
    #[schemars(extend("x-example" = "{name: data}", "x-expected" = "an object with a name"))]
    pub metadata: DiskTemplateMeta,
    /// The spec of a data disk.
    #[schemars(extend("x-example" = "{size: 10Gi}"))]
    pub spec: DataDiskSpec,
}

/// The name of a disk template.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskTemplateMeta {
    /// The name.
    #[serde(deserialize_with = "disk_name")]
    #[schemars(extend("x-example" = "data"))]
    pub name: String,
    /// Labels.
    #[serde(default, deserialize_with = "meta::labels")]
    #[schemars(extend("x-example" = "{app: web}"))]
    pub labels: BTreeMap<String, String>,
}

/// How members are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Strategy {
    /// How many members may be away at the same time; 1 where absent.
    #[serde(default = "one", deserialize_with = "members")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub max_unavailable: u32,
    /// How many members more than replicas there may be during a rollout; not together with diskTemplates.
    #[serde(default, deserialize_with = "members")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub max_surge: u32,
    /// Members with a lower number keep the template before.
    #[serde(default, deserialize_with = "members")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub partition: u32,
}

impl Strategy {
    /// How many members there may be at one time, those of a surge included.
    pub(crate) fn most_members(&self, replicas: u32) -> u32 {
        replicas.saturating_add(self.max_surge.min(replicas))
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            max_unavailable: one(),
            max_surge: 0,
            partition: 0,
        }
    }
}

fn one() -> u32 {
    1
}

/// The membership of a VSI or data disk in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberOf {
    /// The pool's UID.
    pub uid: Uuid,
    /// The pool's name.
    pub pool: String,
    /// The member's number.
    pub number: u32,
    /// The revision of the template; empty for a data disk.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
}

/// The desired state of a pool.
#[derive(Clone, Debug)]
pub struct DesiredPool {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID, if the document has one.
    pub uid: Option<Uuid>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// How many members there are; as many as before if absent.
    pub replicas: Option<u32>,
    /// How members are replaced.
    pub strategy: Strategy,
    /// Whether a change of the template waits for approval.
    pub update_policy: UpdatePolicy,
    /// The data disks of a member, by the names of their templates.
    pub disks: Vec<DesiredDataDisk>,
    /// Whether a guest's hostname is the member's name.
    pub names_guests: bool,
    /// Whether members may be made on another host although that loses the content of their disks.
    pub evictable: bool,
    /// The group that makes it, if one does.
    pub of_group: Option<OfGroup>,
    /// Whether it belongs to a cluster that the journals of a set share.
    pub of_shared_cluster: bool,
}

/// A pool, resolved from its document.
#[derive(Clone, Debug)]
pub struct ResolvedPool {
    /// Its desired state.
    pub desired: DesiredPool,
    /// A member without its number.
    pub template: ResolvedVsi,
    /// The document it comes from.
    pub at: DocumentRef,
}

/// Checks the number of members of a pool.
///
/// # Errors
/// With the problem, as text.
pub fn check_replicas(replicas: i128) -> Result<u32, String> {
    let fits = u32::try_from(replicas).ok();
    fits.filter(|count| *count <= MAX_REPLICAS)
        .ok_or_else(|| format!("a pool has between 0 and {MAX_REPLICAS} members, not {replicas}"))
}

fn members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    check_replicas(i128::from(number)).map_err(D::Error::custom)
}

pub(super) fn some_replicas<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<i64>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let checked = check_replicas(i128::from(number));
    checked.map(Some).map_err(D::Error::custom)
}

fn disk_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    meta::check_label(&name).map_err(D::Error::custom)?;
    Ok(name)
}

/// The parts of a pool's document as documents of their own: a member, and its data disks. They refer
/// to the same objects, so a check of these kinds also covers the pool.
pub fn parts(document: &Document<PoolSpec>) -> (Document<VsiSpec>, Vec<Document<DataDiskSpec>>) {
    let disks = document.spec.disk_templates.iter();
    let disks = disks.map(|template| disk(document, template)).collect();
    (template(document), disks)
}

/// The template as a document of its own, so that it is resolved like any other.
pub(super) fn template(document: &Document<PoolSpec>) -> Document<VsiSpec> {
    let (meta, spec) = (&document.meta, &document.spec.template);
    let mut vsi = VsiSpec::from(spec.spec.clone());
    // Problems of these fields are reported by `check`.
    vsi.disk_selector = None;
    vsi.update_policy = UpdatePolicy::Automatic;
    Document {
        at: document.at.clone(),
        kind: POOL,
        meta: ObjectMeta {
            uid: None,
            labels: spec.metadata.labels.clone(),
            annotations: spec.metadata.annotations.clone(),
            ..meta.clone()
        },
        spec: vsi,
    }
}

/// A disk template as a document of its own; its host is the member's.
pub(super) fn disk(document: &Document<PoolSpec>, disk: &DiskTemplate) -> Document<DataDiskSpec> {
    let mut spec = disk.spec.clone();
    if spec.target_selector.is_none() {
        spec.target_selector
            .clone_from(&document.spec.template.spec.target_selector);
    }
    Document {
        at: document.at.clone(),
        kind: POOL,
        meta: ObjectMeta {
            name: disk.metadata.name.clone(),
            labels: disk.metadata.labels.clone(),
            ..ObjectMeta::named(&document.meta.namespace, &disk.metadata.name)
        },
        spec,
    }
}

/// Moves a problem of the template to its path in the pool's document.
pub(super) fn in_template(problem: Problem, before: &FieldPath) -> Problem {
    let is_spec = problem.path.0.first() == Some(&PathSegment::Key("spec".to_owned()));
    let path = if is_spec {
        FieldPath(before.0.iter().chain(&problem.path.0).cloned().collect())
    } else {
        problem.path
    };
    Problem { path, ..problem }
}

/// Checks a pool, whatever other documents there are.
pub(super) fn check(document: &Document<PoolSpec>, problems: &mut Vec<Problem>) {
    let mut wrong = |path: FieldPath, message: String, remedy: &str| {
        problems.push(document.problem(ProblemCode::WrongValue, path, message, remedy));
    };
    let (name, spec) = (&document.meta.name, &document.spec);
    if name.len() > MAX_NAME_LEN || name.contains('.') {
        let message = format!(
            "a pool's name has at most {MAX_NAME_LEN} characters and no dot: its members are NAME-0, NAME-1, …"
        );
        wrong(
            FieldPath::of(["metadata", "name"]),
            message,
            "choose a shorter name",
        );
    }
    let strategy = FieldPath::of(["spec", "strategy"]);
    if spec.strategy.max_unavailable == 0 && spec.strategy.max_surge == 0 {
        let message = "maxUnavailable and maxSurge are both 0: nothing could ever be replaced";
        let remedy = "raise one of them";
        wrong(
            strategy.clone().key("maxUnavailable"),
            message.to_owned(),
            remedy,
        );
    }
    if spec.strategy.max_surge > 0 && !spec.disk_templates.is_empty() {
        let message =
            "maxSurge and diskTemplates do not go together: a member's data stays with its number";
        let remedy = "remove maxSurge, and use maxUnavailable";
        wrong(strategy.key("maxSurge"), message.to_owned(), remedy);
    }
    let template = FieldPath::of(["spec", "template", "spec"]);
    if spec.template.spec.disk_selector.is_some() {
        let message = "members cannot share data disks";
        let remedy =
            "remove diskSelector, and write the disks of each member as spec.diskTemplates";
        wrong(
            template.clone().key("diskSelector"),
            message.to_owned(),
            remedy,
        );
    }
    if spec.template.spec.update_policy == UpdatePolicy::Manual {
        let message = "a pool asks once for all of its members";
        let remedy = "write updatePolicy below the pool's spec";
        wrong(
            template.clone().key("updatePolicy"),
            message.to_owned(),
            remedy,
        );
    }
    if spec.template.spec.deletion_policy == DeletionPolicy::Retain {
        let message =
            "a member that is deleted is made again under its name, so its volumes cannot stay";
        let remedy = "remove deletionPolicy; data disks have their own below spec.diskTemplates";
        wrong(template.key("deletionPolicy"), message.to_owned(), remedy);
    }
    for (index, disk) in spec.disk_templates.iter().enumerate() {
        let earlier = spec.disk_templates.iter().take(index);
        let mut earlier = earlier.map(|other| &other.metadata.name);
        if earlier.any(|other| *other == disk.metadata.name) {
            let path = FieldPath::of(["spec", "diskTemplates"]).index(index);
            let path = path.key("metadata").key("name");
            let message = "this name occurs twice".to_owned();
            wrong(path, message, "give each disk template its own name");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(more: serde_json::Value) -> Result<PoolSpec, serde_json::Error> {
        let mut all = json!({"template": {"spec": {"imageURL": "http://a/b"}}});
        let fields = more.as_object().cloned().unwrap_or_default();
        all.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(all)
    }

    #[test]
    fn a_template_alone_is_enough() {
        let spec = parse(json!({})).unwrap();
        assert_eq!(spec.replicas, None);
        assert_eq!(spec.strategy, Strategy::default());
        assert_eq!(spec.strategy.max_unavailable, 1);
        assert_eq!(spec.update_policy, UpdatePolicy::Automatic);
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        assert_eq!(parse(json!({"replicas": 0})).unwrap().replicas, Some(0));
        assert!(parse(json!({"replicas": 1000})).is_ok());
        for wrong in [json!(-1), json!(1001), json!(1_000_000_000), json!("3")] {
            assert!(parse(json!({"replicas": wrong})).is_err(), "{wrong}");
        }
        assert!(parse(json!({"strategy": {"maxUnavailable": -1}})).is_err());
        assert!(parse(json!({"strategy": {"maxUnavailable": 3, "partition": 2}})).is_ok());
        assert!(parse(json!({"strategy": {"type": "Recreate"}})).is_err());
    }
}
