//! Kinds of data disks: those that vsiflow makes, and references to existing volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disk_source::{self, DataDiskSource, WrittenSource};
use super::policy::DeletionPolicy;
use super::quantity::{self, Quantity};
use super::selector::{self, LabelSelector};
use super::text;
use super::vsi::default_pool;

/// The spec of kind `HyperProtectContainerRuntimeOnPremDataDisk`: a disk that vsiflow makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-previous-operator" = ["selector"]))]
pub struct DataDiskSpec {
    /// The size in bytes, or with a unit such as 100Gi.
    #[serde(default = "default_size", deserialize_with = "quantity::disk_size")]
    #[schemars(extend("x-grows" = "a data disk is never made smaller"))]
    pub size: Quantity,
    /// The pool it is made in.
    #[serde(default = "default_pool", deserialize_with = "text::host_object")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
    /// What becomes of an object on its host when its resource is deleted.
    #[serde(default = "DeletionPolicy::of_disks")]
    pub deletion_policy: DeletionPolicy,
    /// What it is filled with, once, when it is made; nothing where absent.
    #[serde(default, deserialize_with = "disk_source::written")]
    #[schemars(with = "Option<WrittenSource>", extend("x-example" = "{imageURL: https://images.example.com/data.qcow2}", "x-expected" = "an object with imageURL, snapshot, disk or blank"))]
    pub source: Option<DataDiskSource>,
}

/// The spec of kind `HyperProtectContainerRuntimeOnPremDataDiskRef`: an existing volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-previous-operator" = []))]
pub struct DataDiskRefSpec {
    /// The volume's name.
    #[serde(deserialize_with = "text::host_object")]
    #[schemars(extend("x-example" = "existing-volume"))]
    pub volume_name: String,
    /// The pool it is in.
    #[serde(default = "default_pool", deserialize_with = "text::host_object")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
}

/// 100 GiB.
fn default_size() -> Quantity {
    Quantity(100 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_disk_has_defaults() {
        let spec: DataDiskSpec = serde_json::from_value(json!({})).unwrap();
        assert_eq!(spec.size.bytes(), 107_374_182_400);
        assert_eq!(spec.storage_pool, "images");
        assert_eq!(spec.deletion_policy, DeletionPolicy::Retain);
    }

    #[test]
    fn a_reference_needs_a_volume() {
        let parse = |value| serde_json::from_value::<DataDiskRefSpec>(value);
        assert!(parse(json!({})).is_err());
        assert!(parse(json!({"volumeName": "../etc"})).is_err());
        assert_eq!(
            parse(json!({"volumeName": "existingName"}))
                .unwrap()
                .storage_pool,
            "images"
        );
    }
}
