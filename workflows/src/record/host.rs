//! The stored records of hosts, and of their machine identities.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::Name;
use vsiflow_steps::ports::HostUuid;

use crate::spec::{HostConnection, host::HostLimits};

/// A host, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its settings without secrets.
    pub record: HostConnection,
    /// The secret that holds the private key, if the settings contain one.
    #[serde(default)]
    pub key: Option<Name>,
    /// The secret of the previous key.
    #[serde(default)]
    pub retired: Option<Name>,
    /// The secret that holds the passphrase of the private key, if the settings contain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<Name>,
    /// The previous passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_key_passphrase: Option<Name>,
    /// The secret that holds the password or token for images, if the settings contain one.
    #[serde(default)]
    pub image_secret: Option<Name>,
    /// The previous image secret.
    #[serde(default)]
    pub retired_image_secret: Option<Name>,
    /// The secrets of its jump hosts, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jump_secrets: Vec<JumpSecretNames>,
    /// Earlier jump host secrets that nothing refers to any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_jump_secrets: Vec<Name>,
    /// The namespace of these settings, if namespaces do not trust one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The labels of its document.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The limits of its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HostLimits>,
}

/// The secrets of a jump host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpSecretNames {
    /// The secret that holds its private key, if the settings contain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// The secret that holds the key's passphrase, if the settings contain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<Name>,
}

impl JumpSecretNames {
    /// The secrets that exist.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        [&self.key, &self.key_passphrase].into_iter().flatten()
    }
}

/// The machine identity of a host, as it was first seen or last accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// The host's id.
    pub host: String,
    /// The machine ID that it reports; empty if it reports none.
    #[serde(default)]
    pub machine: String,
    /// The UUID that libvirt reports for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<LibvirtRecord>,
}

/// The host UUID of libvirt. If libvirt finds no UUID in the hardware, it generates one at each start.
/// So only a UUID that was the same after a restart of the daemon identifies the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibvirtRecord {
    /// The UUID that was seen last.
    pub uuid: Uuid,
    /// The first start of the daemon that reported it; `None` if unknown.
    #[serde(default)]
    pub daemon: Option<String>,
    /// Whether a later start reported it too.
    #[serde(default)]
    pub stays: bool,
    /// The UUID before it changed for an unknown reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Uuid>,
}

impl LibvirtRecord {
    /// The record for a UUID that is seen for the first time.
    pub(crate) fn first(seen: &HostUuid) -> Self {
        Self {
            uuid: seen.uuid,
            daemon: seen.daemon.clone(),
            stays: false,
            before: None,
        }
    }

    /// The record after another observation; `None` if nothing changed.
    pub(crate) fn after(&self, seen: &HostUuid) -> Option<Self> {
        if self.stays {
            return None;
        }
        if self.uuid != seen.uuid {
            let before = Some(self.uuid);
            return Some(Self {
                before,
                ..Self::first(seen)
            });
        }
        match (&self.daemon, &seen.daemon) {
            (Some(then), Some(now)) if then != now => Some(Self {
                stays: true,
                before: None,
                ..self.clone()
            }),
            (None, Some(now)) => Some(Self {
                daemon: Some(now.clone()),
                ..self.clone()
            }),
            _ => None,
        }
    }

    /// The warning about a changed UUID. It stops no work.
    pub(crate) fn warning(&self) -> Option<String> {
        let before = self.before?;
        Some(format!(
            "libvirt's host UUID was {before} and is {}: libvirt draws it anew at each start where \
             the hardware has none, else this is another machine",
            self.uuid
        ))
    }
}

impl HostRecord {
    /// Every secret of the host, including those to erase.
    pub fn secrets(&self) -> Vec<Name> {
        let all = [
            &self.key,
            &self.retired,
            &self.key_passphrase,
            &self.retired_key_passphrase,
            &self.image_secret,
            &self.retired_image_secret,
        ];
        let jumps = self.jump_secrets.iter().flat_map(JumpSecretNames::iter);
        let jumps = jumps.chain(&self.retired_jump_secrets);
        all.into_iter().flatten().chain(jumps).cloned().collect()
    }
}
