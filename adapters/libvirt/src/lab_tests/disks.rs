//! A disk into which its guest writes a header that names a foreign file.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use vsiflow_engine::{
    checkpoint::MemoryCheckpoints,
    model::{EntityId, Failure, Name, Objects, RunId},
    step::{ObjectFact, ObjectLedger, Observed, ReconcileStatus, Recorded, Step as _, StepContext},
};
use vsiflow_steps::{
    ports::{
        DiskSpec, DomainSpec, FileHead, HostPorts, Hosts, Leftovers, MachineSpec, OwnerMark,
        PortResult, VolumeFormat, VolumeKey, VolumeSpec, conformance::unguarded,
    },
    vsi::{AttachDataDisks, attach_data_disks},
};

use super::*;

const POOL: &str = "images";
const VICTIM: &str = "/etc/hostname";

/// Returns the lab for any host ID.
struct OneHost(HostPorts);

#[async_trait]
impl Hosts for OneHost {
    async fn host(&self, _: &str) -> PortResult<HostPorts> {
        Ok(self.0.clone())
    }
}

struct Nothing;

impl Recorded for Nothing {
    fn was_attempted(&self, _: RunId, _: &Name) -> bool {
        false
    }

    fn status_of(&self, _: &EntityId) -> Option<ReconcileStatus> {
        None
    }

    fn was_intended(&self, _: &EntityId, _: &Name) -> bool {
        false
    }

    fn has_open_run(&self, _: &EntityId) -> bool {
        false
    }

    fn is_awaited(&self, _: &EntityId) -> bool {
        false
    }

    fn objects_of(&self, _: &EntityId) -> Option<Objects> {
        None
    }
}

#[async_trait]
impl ObjectLedger for Nothing {
    fn objects(&self) -> &Objects {
        static NONE: Objects = Objects::none();
        &NONE
    }

    async fn record(&self, _: ObjectFact) -> Result<(), Failure> {
        Ok(())
    }
}

fn cx(uuid: uuid::Uuid) -> StepContext {
    StepContext {
        entity: EntityId::new(Name::of("vsi"), uuid.to_string()).unwrap(),
        generation: 1,
        run: "01M7WDX6TDH791275W3WXRBP1K".parse().unwrap(),
        node: Name::of("attach_data_disks"),
        attempt: 1,
        intended_before: false,
        journal_id: "lab".into(),
        sequence: 1,
        recorded: Arc::new(Nothing),
        stopped: CancellationToken::new(),
        outputs: Arc::new(BTreeMap::new()),
        previous: None,
        checkpoints: Arc::new(MemoryCheckpoints::default()),
        progress: Arc::new(|_| ()),
        ledger: Arc::new(Nothing),
        advanced: Arc::default(),
    }
}

/// The header of a qcow2 whose backing file is this file.
fn reaching(path: &str) -> Vec<u8> {
    let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
    header.extend(112_u64.to_be_bytes());
    header.extend(u32::try_from(path.len()).unwrap().to_be_bytes());
    header.extend(16_u32.to_be_bytes());
    header.extend((16_u64 << 20).to_be_bytes());
    header.resize(96, 0);
    header.extend(4_u32.to_be_bytes());
    header.extend(104_u32.to_be_bytes());
    header.resize(112, 0);
    header.extend(path.as_bytes());
    header
}

async fn write(ports: &HostPorts, key: &VolumeKey, bytes: Vec<u8>) {
    let length = u64::try_from(bytes.len()).unwrap();
    let storage = &ports.storage;
    let mut sink = storage.upload(key, 0, Some(length)).await.unwrap();
    sink.send(bytes.into()).await.unwrap();
    sink.finish().await.unwrap();
    storage.volumes(&key.pool).await.unwrap();
}

async fn attach(
    ports: &HostPorts,
    key: &VolumeKey,
    format: Option<VolumeFormat>,
) -> Result<VolumeFormat, String> {
    let uuid = uuid::Uuid::from_u128(0x0a0b_0c0d_0e0f_4a0b_8c0d_0e0f_0a0b_0ce1);
    let step = AttachDataDisks::new(Arc::new(OneHost(ports.clone())));
    let disk = attach_data_disks::Disk {
        name: "theirs".to_owned(),
        volume: key.clone(),
        create: None,
        serial: None,
        format,
    };
    let params = attach_data_disks::Params {
        host: "lab".to_owned(),
        uuid,
        disks: vec![disk],
        named: Vec::new(),
    };
    match step.observe(&cx(uuid), &params).await {
        Ok(Observed::Present(output)) => Ok(output.disks[0].format),
        Ok(Observed::Needed) => Err("it is not there".to_owned()),
        Err(failure) => Err(failure.code.to_string()),
    }
}

/// A guest with only this raw disk.
async fn guest(ports: &HostPorts, path: &str) -> DomainSpec {
    let machine = ports.host.guest_support("s390x").await.unwrap().unwrap();
    let uuid = uuid::Uuid::from_u128(0x0a0b_0c0d_0e0f_4a0b_8c0d_0e0f_0a0b_0ce2);
    DomainSpec {
        uuid,
        name: uuid.to_string(),
        title: "lab/t-reach".to_owned(),
        machine: MachineSpec {
            arch: machine.arch,
            domain_type: machine.domain_type,
            machine: machine.machine,
            cpus: 1,
            memory_mib: 128,
            secure_execution: false,
            platform: None,
        },
        disks: vec![DiskSpec {
            target: "vda".to_owned(),
            serial: "theirs".to_owned(),
            path: path.to_owned(),
            format: VolumeFormat::Raw,
            overlay: false,
            readonly: false,
            boot_order: None,
        }],
        nics: Vec::new(),
        console_log: format!("{path}.log"),
        autostart: false,
        mark: OwnerMark {
            journal: "lab".to_owned(),
            uid: uuid.to_string(),
            generation: 1,
            sequence: 1,
            run: None,
            snapshot: None,
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_a_guest_that_writes_a_header_into_its_raw_disk_reaches_no_other_file() {
    let Some(lab) = Lab::enter() else { return };
    let config = lab.ssh_config("id_ed25519");
    let socket = SOCKET.to_owned();
    let ports = crate::host_ports("lab", Endpoint::Ssh { config, socket });
    let key = VolumeKey {
        pool: POOL.to_owned(),
        name: "t-reach-ports.img".to_owned(),
    };
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 16 << 20,
        backing: None,
    };
    let _ = ports.storage.delete(&unguarded::deletion(&key)).await;
    let volume = ports.storage.create(&spec).await.unwrap();
    assert_eq!(attach(&ports, &key, None).await, Ok(VolumeFormat::Raw));
    write(&ports, &key, reaching(VICTIM)).await;
    let seen = ports.storage.volume(&key).await.unwrap().unwrap();
    // A caller that trusts libvirt's format would give the guest that file.
    assert_eq!(seen.format, "qcow2");
    assert_eq!(seen.backing.as_deref(), Some(VICTIM));
    for pinned in [None, Some(VolumeFormat::Raw)] {
        assert_eq!(attach(&ports, &key, pinned).await, Err("VSI0218".into()));
    }
    let guest_spec = guest(&ports, &volume.path).await;
    ports
        .domains
        .define(&unguarded::definition(&guest_spec))
        .await
        .unwrap();
    let started = ports
        .domains
        .start(&unguarded::start(guest_spec.uuid))
        .await;
    let info = ports
        .domains
        .domain(guest_spec.uuid)
        .await
        .unwrap()
        .unwrap();
    let _ = ports.domains.destroy(guest_spec.uuid).await;
    ports
        .domains
        .undefine(&unguarded::undefinition(guest_spec.uuid, Leftovers::Delete))
        .await
        .unwrap();
    write(&ports, &key, vec![0; 512]).await;
    let again = attach(&ports, &key, Some(VolumeFormat::Raw)).await;
    ports
        .storage
        .delete(&unguarded::deletion(&key))
        .await
        .unwrap();
    started.unwrap();
    assert!(
        info.persistent && !info.xml.contains(VICTIM),
        "{}",
        info.xml
    );
    assert_eq!(info.stored.disks[0].format, "raw");
    assert_eq!(again, Ok(VolumeFormat::Raw));
    let console = std::fs::remove_file(format!("{}.log", volume.path));
    drop(console);
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_paths_are_compared_as_the_host_resolves_them() {
    let Some(lab) = Lab::enter() else { return };
    let ports = crate::host_ports(
        "lab",
        Endpoint::Ssh {
            config: lab.ssh_config("id_ed25519"),
            socket: SOCKET.to_owned(),
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("disk"), reaching("/i/below")).unwrap();
    std::os::unix::fs::symlink(at("disk"), at("link")).unwrap();
    let paths = [at("disk"), at("link"), at(".//disk"), at("gone")];
    let found = ports.storage.files(&paths).await.unwrap().unwrap();
    assert!(found[0] == found[1] && found[1] == found[2], "{found:?}");
    assert_eq!(found[3], vsiflow_steps::ports::FileAt::Nothing);
    let some = [at("link"), at("gone")];
    let heads = ports.storage.heads(&some, 1 << 20);
    let expected = [
        FileHead::Bytes(reaching("/i/below").into()),
        FileHead::Nothing,
    ];
    assert_eq!(heads.await.unwrap(), expected);
}
