//! The custom resource of a network that vsiflow makes.

#![allow(unreachable_pub, reason = "the derived schema is a type of its own")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReferenceStatus, vsi::DeletionPolicySchema};

/// A network that is made on each host where a server refers to it.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServerNetwork",
    plural = "virtualservernetworks",
    singular = "virtualservernetwork",
    namespaced,
    status = "ReferenceStatus",
    shortname = "vsn",
    category = "vsiflow",
    doc = "A network that is made on each libvirt/KVM host where a server refers to it.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".status.cidr"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "Used-By", type_ = "string", json_path = ".status.usedBy[*]"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServerNetworkSpec {
    /// Its IPv4 addresses, such as 10.20.0.0/24; the host has the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    pub cidr: Option<String>,
    /// How guests reach other machines; nat where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkModeSchema>,
    /// The bridge of the host that guests are on, in mode bridge: one that the administrator permits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub bridge: Option<String>,
    /// The addresses that the host gives to guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<DhcpSchema>,
    /// The names that the host answers for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSchema>,
    /// The largest packet in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 65535))]
    pub mtu: Option<i32>,
    /// The VLAN of its guests, in mode bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<i32>,
    /// What becomes of it on its hosts when this resource is deleted; where absent, it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicySchema>,
}

/// How guests reach other machines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NetworkModeSchema {
    /// Through the host, with its address.
    Nat,
    /// Through the host, with their own addresses.
    Routed,
    /// They reach one another and the host.
    Isolated,
    /// They are on a bridge of the host.
    Bridge,
}

/// The addresses that the host gives to guests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpSchema {
    /// Whether it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Addresses for cards that no server has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeSchema>,
}

/// A range of addresses.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RangeSchema {
    /// The first.
    #[schemars(length(max = 15))]
    pub start: String,
    /// The last.
    #[schemars(length(max = 15))]
    pub end: String,
}

/// The names that the host answers for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsSchema {
    /// Whether it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The domain of these names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub domain: Option<String>,
}

/// A network card.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceSchema {
    /// The name of the network's resource in the same namespace.
    #[schemars(length(max = 253))]
    pub network: String,
    /// The address that the card has; one of the network's own where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub addresses: Vec<String>,
}
