//! Hosts as the journal has them, and which machines they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::Name;
use vsiflow_steps::ports::HostUuid;

use crate::spec::{HostConnection, host::HostLimits};

/// A host as known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its settings without secrets.
    pub record: HostConnection,
    /// The secret that holds the private key, where the settings carry one.
    #[serde(default)]
    pub key: Option<Name>,
    /// The secret of the key before this one.
    #[serde(default)]
    pub retired: Option<Name>,
    /// The secret that opens the private key, where the settings carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<Name>,
    /// The one before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_key_passphrase: Option<Name>,
    /// The secret that holds the password or token for images, where the settings carry one.
    #[serde(default)]
    pub image_secret: Option<Name>,
    /// The one before this one.
    #[serde(default)]
    pub retired_image_secret: Option<Name>,
    /// The secrets of its jump hosts, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jump_secrets: Vec<JumpSecretNames>,
    /// Those before these that nothing names any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_jump_secrets: Vec<Name>,
    /// The namespace whose settings these are, where namespaces do not trust one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The labels of the document that it was described by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What its document says of how much may be promised on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HostLimits>,
}

/// The secrets of a jump host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpSecretNames {
    /// The secret that holds its private key, where the settings carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// The secret that opens it, where the settings carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<Name>,
}

impl JumpSecretNames {
    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        [&self.key, &self.key_passphrase].into_iter().flatten()
    }
}

/// Which machine a host is, as it was seen first or accepted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// The host's id.
    pub host: String,
    /// What it says of itself; empty where it says nothing.
    #[serde(default)]
    pub machine: String,
    /// What libvirt calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<LibvirtRecord>,
}

/// What libvirt calls a host. Where it finds no UUID in the hardware it draws one anew at each start:
/// only one that stayed equal over a restart of its daemon tells machines apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibvirtRecord {
    /// The UUID that was seen last.
    pub uuid: Uuid,
    /// Which start of the daemon said so first; none where that could not be told.
    #[serde(default)]
    pub daemon: Option<String>,
    /// Whether a later start said so, too.
    #[serde(default)]
    pub stays: bool,
    /// What it was before, where it changed and nobody can tell why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Uuid>,
}

impl LibvirtRecord {
    /// One that was seen for the first time.
    pub(crate) fn first(seen: &HostUuid) -> Self {
        Self {
            uuid: seen.uuid,
            daemon: seen.daemon.clone(),
            stays: false,
            before: None,
        }
    }

    /// What is known once that was seen, too; none where that is nothing new.
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

    /// What people are told of a change that stops nothing.
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
    /// Every secret of the host, and those that are to be erased.
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
