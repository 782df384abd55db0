//! Kind `VirtualServerType`: a named size of machines, with defaults for their guests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_steps::guest::GuestType;

use super::documents::{Document, Documents};
use super::guest;
use super::meta::DEFAULT_NAMESPACE;
use super::problem::{FieldPath, Problem, ProblemCode};
use super::quantity::{Memory, Quantity};
use super::vsi;

/// A built-in size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerType {
    /// Its name.
    pub name: &'static str,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory, as documents write it.
    pub memory: &'static str,
    /// The default size of the boot disk, as documents write it.
    pub boot_disk: &'static str,
}

/// The built-in sizes, the smallest first.
pub const SERVER_TYPES: [ServerType; 3] = [
    ServerType {
        name: "small",
        cpus: 1,
        memory: "2Gi",
        boot_disk: "10Gi",
    },
    ServerType {
        name: "medium",
        cpus: 2,
        memory: "4Gi",
        boot_disk: "20Gi",
    },
    ServerType {
        name: "large",
        cpus: 4,
        memory: "8Gi",
        boot_disk: "40Gi",
    },
];

impl ServerType {
    /// The built-in size of that name.
    pub fn named(name: &str) -> Option<Self> {
        SERVER_TYPES.into_iter().find(|size| size.name == name)
    }

    /// Whether a document says the same.
    fn is_said_by(&self, spec: &ServerTypeSpec) -> bool {
        let own = serde_json::json!({
            "cpus": self.cpus, "memory": self.memory, "bootDisk": self.boot_disk,
        });
        serde_json::from_value(own).is_ok_and(|own: ServerTypeSpec| own == *spec)
    }
}

/// The spec of kind `VirtualServerType`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerTypeSpec {
    /// Virtual processors.
    #[serde(deserialize_with = "vsi::cpus")]
    #[schemars(extend("x-example" = 2))]
    pub cpus: u32,
    /// Memory.
    pub memory: Memory,
    /// The size of the boot disk; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "100Gi"))]
    pub boot_disk: Option<Quantity>,
    /// What guests are like where nothing else is said.
    #[serde(default, skip_serializing_if = "TypeGuest::is_empty")]
    #[schemars(extend("x-example" = "{type: cloudInit, sshKeys: [\"ssh-ed25519 …\"]}"))]
    pub guest: TypeGuest,
}

/// What guests of a type are like: nothing secret, since the journal keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TypeGuest {
    /// What runs in them.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["cloudInit", "ignition", "none"]))]
    pub guest_type: Option<GuestType>,
    /// Public keys for the image's default user.
    #[serde(
        default,
        deserialize_with = "guest::ssh_keys",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-example" = "[\"ssh-ed25519 …\"]"))]
    pub ssh_keys: Vec<String>,
    /// The network configuration, as cloud-init reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "| with netplan version 2 below, indented"))]
    pub network_config: Option<String>,
}

impl TypeGuest {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A type, resolved from its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredServerType {
    /// Its name; types belong to no namespace.
    pub name: String,
    /// Its spec.
    pub spec: ServerTypeSpec,
}

/// The types of the documents.
pub(super) fn of(documents: &Documents, problems: &mut Vec<Problem>) -> Vec<DesiredServerType> {
    // What `get -o yaml` prints of a built-in type changes nothing.
    let is_built_in = |document: &&Document<ServerTypeSpec>| {
        let size = ServerType::named(&document.meta.name);
        size.is_some_and(|size| size.is_said_by(&document.spec))
    };
    let own = documents
        .types
        .iter()
        .filter(|document| !is_built_in(document));
    let desired = own.map(|document| {
        problems.extend(wrong(document));
        DesiredServerType {
            name: document.meta.name.clone(),
            spec: document.spec.clone(),
        }
    });
    desired.collect()
}

fn wrong(document: &Document<ServerTypeSpec>) -> Option<Problem> {
    let name = &document.meta.name;
    let problem = |path: FieldPath, message: String, remedy| {
        document.problem(ProblemCode::WrongValue, path, message, remedy)
    };
    if ServerType::named(name).is_some() {
        let path = FieldPath::of(["metadata", "name"]);
        let message = format!("the type {name} is built in");
        return Some(problem(path, message, "give the type another name"));
    }
    if document.meta.namespace != DEFAULT_NAMESPACE {
        let path = FieldPath::of(["metadata", "namespace"]);
        let message = "types belong to no namespace".to_owned();
        return Some(problem(path, message, "remove the namespace"));
    }
    if document.spec.guest.guest_type == Some(GuestType::HyperProtect) {
        let path = FieldPath::of(["spec", "guest", "type"]);
        let message = "a Hyper Protect guest takes nothing from a type but its machine".to_owned();
        let remedy = "remove it; a contract makes the guest a Hyper Protect one";
        return Some(problem(path, message, remedy));
    }
    None
}
