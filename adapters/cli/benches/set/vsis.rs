//! The documents of the VSIs to provision, and their simulated hosts.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;
use vsiflow_engine::secret::Secret;
use vsiflow_workflows::spec::{
    DocumentRef, HostConnection, HostSettings, RecordedFields, Resolved, ResolvedVsi,
};

use crate::Answer;

/// The identity of a VSI.
pub(crate) fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + u128::from(number))
}

/// A simulated host.
pub(crate) fn host(number: u32) -> HostSettings {
    let record = HostConnection::Sim {
        name: Some(format!("host-{number}")),
        upload_limit: None,
        image_policy: None,
    };
    record.into()
}

/// The name under which a VSI is claimed in the database.
pub(crate) fn object(number: u32) -> String {
    format!("vsi/default/vsi-{number}")
}

fn vsi(number: u32, host: &str) -> Answer<ResolvedVsi> {
    let desired = serde_json::json!({
        "namespace": "default", "name": format!("vsi-{number}"), "uid": uid(number),
        "host": host, "pool": "images",
        "image": {"url": "http://images.test/hpcr.qcow2", "fileName": "hpcr.qcow2"},
        "bootDisk": {"mode": "copy"}, "guest": Value::Null, "ready": Value::Null,
        "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
        "networks": ["default"], "disks": [],
        "updatePolicy": "Automatic", "deletionPolicy": "Retain",
    });
    Ok(ResolvedVsi {
        desired: serde_json::from_value(desired)?,
        contract: Secret::new("workload: w\nenv: e\n".to_owned()),
        retains_user_data: false,
        recorded: RecordedFields::default(),
        image_url: None,
        at: DocumentRef {
            index: 0,
            source: "set".to_owned(),
            line: None,
        },
        selects_disks: true,
        selects_networks: true,
        retained_refs: Vec::new(),
        unresolved_refs: Vec::new(),
        placed: None,
    })
}

/// Documents of VSIs, each with its host.
pub(crate) fn documents(vsis: &[(u32, u32)]) -> Answer<Resolved> {
    let hosts = vsis.iter().map(|(_, on)| {
        let host = host(*on);
        (host.id(), host)
    });
    Ok(Resolved {
        vsis: vsis
            .iter()
            .map(|(number, on)| vsi(*number, &host(*on).id()))
            .collect::<Answer<_>>()?,
        hosts: hosts.collect::<BTreeMap<_, _>>(),
        ..Resolved::default()
    })
}
