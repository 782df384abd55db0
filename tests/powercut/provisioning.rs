//! A process that provisions VSIs on simulated hosts, and prints the events that its journal acknowledged.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_engine::{
    clock::SystemClock,
    executor::{By, Tuning},
    journal::{Append, DiskJournal, Journal, JournalError, JournalLayer, Record},
    model::{Actor, Text, Who},
    secret::Secret,
    state_dir::StateDir,
};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, Verdict},
    hosts::HostDirectory,
    record::vsi_entity,
    spec::{DocumentRef, HostConnection, HostSettings, RecordedFields, Resolved, ResolvedVsi},
};

use crate::writer;

/// The environment variable with the number of VSIs to provision; without it the [`writer`] runs.
pub(crate) const VSIS: &str = "VSIFLOW_TEST_POWERCUT_VSIS";
const HOSTS: u32 = 10;

fn host(number: u32) -> HostSettings {
    let record = HostConnection::Sim {
        name: Some(format!("host-{number}")),
        upload_limit: None,
        image_policy: None,
    };
    record.into()
}

fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + u128::from(number))
}

fn vsi(number: u32) -> ResolvedVsi {
    let desired = serde_json::json!({
        "namespace": "default", "name": format!("vsi-{number}"), "uid": uid(number),
        "host": host(number % HOSTS).id(), "pool": "images",
        "image": {"url": "http://images.test/hpcr.qcow2", "fileName": "hpcr.qcow2"},
        "bootDisk": {"mode": "copy"},
        "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
        "networks": ["default"], "disks": [],
        "updatePolicy": "Automatic", "deletionPolicy": "Retain",
    });
    ResolvedVsi {
        desired: serde_json::from_value(desired).unwrap(),
        contract: Secret::new("workload: w\nenv: e\n".to_owned()),
        retains_user_data: false,
        recorded: RecordedFields::default(),
        image_url: None,
        at: DocumentRef {
            index: 0,
            source: "fleet".to_owned(),
            line: None,
        },
        selects_disks: true,
        selects_networks: true,
        retained_refs: Vec::new(),
        unresolved_refs: Vec::new(),
        placed: None,
    }
}

fn documents(vsis: u32) -> Resolved {
    Resolved {
        vsis: (0..vsis).map(vsi).collect(),
        hosts: (0..HOSTS)
            .map(|number| (host(number).id(), host(number)))
            .collect(),
        ..Resolved::default()
    }
}

/// Provisions this many VSIs, and exits without closing anything, as a killed process does.
pub(crate) fn apply(dir: &Path, vsis: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let state = StateDir::open(writer::state_of(dir)).unwrap();
    runtime.block_on(async {
        let fleet = open(&state).await;
        let by = By {
            actor: Actor::Unix {
                uid: 0,
                name: Who::new("somebody"),
            },
            reason: Text::new("a power cut follows"),
        };
        fleet.apply(documents(vsis), by).await.unwrap();
        for number in 0..vsis {
            let decided = fleet.decided(&vsi_entity(uid(number)).unwrap()).await;
            assert_eq!(decided.unwrap(), Verdict::Reached);
        }
        std::process::exit(0);
    });
}

async fn open(state: &StateDir) -> Fleet {
    let parts = FleetConfig {
        journal: Arc::new(Acknowledging(state.journal().await.unwrap())),
        blobs: Arc::new(state.blobs().await.unwrap()),
        checkpoints: Arc::new(state.checkpoints().await.unwrap()),
        secrets: Arc::new(state.secrets().await.unwrap()),
        clock: Arc::new(SystemClock),
        journal_id: state.journal_id().into(),
        tuning: Tuning::default(),
        room: state.room(),
        lease: state.lease(),
        hosts: Arc::new(SimHosts::in_memory()),
        images: Arc::new(SimSource::with_size(64 << 10)),
        directory: Arc::new(HostDirectory::default()),
    };
    Fleet::open(parts).await.unwrap()
}

/// A journal that prints every acknowledged batch before it returns it to the caller.
struct Acknowledging(DiskJournal);

#[async_trait]
impl JournalLayer for Acknowledging {
    fn inner(&self) -> &dyn Journal {
        &self.0
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let records = self.0.append(batch).await?;
        writer::acknowledge(&records);
        Ok(records)
    }
}
