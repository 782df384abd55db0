//! The documents that users of the stories apply.

use uuid::Uuid;
use vsiflow_engine::secret::Secret;
use vsiflow_steps::guest::{GuestType, Probe};
use vsiflow_workflows::{
    record::ImageRecord,
    spec::{
        DataDiskSource, DeletionPolicy, DesiredDataDisk, DesiredPool, DesiredVsi, DocumentRef,
        HostConnection, HostSettings, RecordedFields, Resolved, ResolvedPool, ResolvedVsi,
        group::{
            Gate, GateProbe, OutputPlace, OutputSource, Release, ResolvedGroup, ResolvedItem,
            ResolvedWave,
        },
        quota::{DesiredQuota, QuotaLimits},
    },
};

use super::world::HOSTS;

/// How a guest behaves with its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It becomes ready.
    Good,
    /// Its contract lacks a section, so it is never booted.
    NoWorkload,
    /// It writes an error code: it cannot boot.
    TooSmall,
    /// It writes neither a success nor an error.
    Hangs,
    /// It becomes ready and powers off.
    GoesOff,
}

/// A VSI's document.
#[derive(Clone, Debug)]
pub struct VsiDocument {
    pub name: &'static str,
    pub uid: Uuid,
    /// The host; empty if vsiflow chooses one of all.
    pub host: &'static str,
    pub guest: Guest,
    /// A number in the contract that makes it differ from others.
    pub edition: u32,
    pub image: &'static str,
    /// The mode of the boot disk, such as `copy`.
    pub boot: &'static str,
    /// The guest's type if it is a virtual server.
    pub server: Option<GuestType>,
    pub networks: Vec<&'static str>,
    /// The one of these networks that vsiflow makes, and the address requested in it.
    pub made: Option<(&'static str, Option<&'static str>)>,
    pub cpus: u32,
    /// Whether its changes wait for approval.
    pub manual: bool,
    /// Whether what is changed on its host is changed back.
    pub restores_drift: bool,
    /// Whether everything on its host stays when it is deleted.
    pub retain: bool,
    /// The data disk that is made with the VSI.
    pub disk: Option<Uuid>,
    /// The size of the data disk, in GiB.
    pub disk_gib: u64,
    /// Whether the data disk's volume is deleted with it.
    pub disk_goes: bool,
    /// What the data disk is filled with.
    pub disk_source: Option<DataDiskSource>,
    /// The schedule of its snapshots, and how many are retained.
    pub snapshots: Option<(&'static str, u32)>,
}

pub const POOL: &str = "images";

impl VsiDocument {
    pub fn new(name: &'static str, uid: u128, host: &'static str) -> Self {
        Self {
            name,
            uid: uuid(uid),
            host,
            guest: Guest::Good,
            edition: 1,
            image: "hpcr.qcow2",
            boot: "copy",
            server: None,
            networks: vec!["default"],
            made: None,
            cpus: 2,
            manual: false,
            restores_drift: false,
            retain: false,
            disk: None,
            disk_gib: 1,
            disk_goes: false,
            disk_source: None,
            snapshots: None,
        }
    }

    pub fn guest(mut self, guest: Guest) -> Self {
        self.guest = guest;
        self
    }

    /// A virtual server with a guest of this type.
    pub fn server(mut self, guest: GuestType) -> Self {
        self.server = Some(guest);
        self
    }

    /// How its guest really behaves: one without cloud-init has nothing to fail at.
    pub fn fate(&self) -> Guest {
        match (self.server, self.guest) {
            (Some(GuestType::CloudInit), Guest::NoWorkload) => Guest::Good,
            (Some(GuestType::Ignition | GuestType::None), _) => Guest::Good,
            (_, guest) => guest,
        }
    }

    pub fn edition(mut self, edition: u32) -> Self {
        self.edition = edition;
        self
    }

    pub fn with_disk(mut self, disk: u128) -> Self {
        self.disk = Some(uuid(disk));
        self
    }

    /// The same with its data disk filled from this source.
    pub fn filled(mut self, source: DataDiskSource) -> Self {
        self.disk_source = Some(source);
        self
    }

    /// The same with snapshots by this schedule, of which this many are retained.
    pub fn snapshots(mut self, schedule: &'static str, keep: u32) -> Self {
        self.snapshots = Some((schedule, keep));
        self
    }

    pub fn contract(&self) -> String {
        let edition = self.edition;
        let word = match self.guest {
            Guest::Hangs => "lab-hang",
            Guest::GoesOff => "lab-off",
            Guest::TooSmall => "lab-fail",
            Guest::Good | Guest::NoWorkload => "good",
        };
        match self.server {
            Some(GuestType::CloudInit) => return format!("#cloud-config\n# {word} {edition}\n"),
            Some(GuestType::Ignition) => {
                return format!(r#"{{"ignition":{{"version":"3.4.0"}},"edition":{edition}}}"#);
            }
            Some(GuestType::None) => return String::new(),
            Some(GuestType::HyperProtect) | None => {}
        }
        match self.guest {
            Guest::NoWorkload => format!("env: e{edition}\n"),
            Guest::Hangs => format!("workload: lab-hang {edition}\nenv: e\n"),
            Guest::GoesOff => format!("workload: lab-off {edition}\nenv: e\n"),
            Guest::Good | Guest::TooSmall => format!("workload: w{edition}\nenv: e\n"),
        }
    }

    fn placement(&self) -> serde_json::Value {
        match self.host {
            "" => serde_json::json!({
                "request": {"spread": {"over": "host"}}, "candidates": HOSTS,
            }),
            _ => serde_json::Value::Null,
        }
    }

    fn desired(&self) -> DesiredVsi {
        let memory = if self.guest == Guest::TooSmall {
            200
        } else {
            4096
        };
        let disks: Vec<_> = self
            .disk
            .iter()
            .map(|uid| made_disk(*uid, self.disk_gib))
            .collect();
        let ready = match self.server {
            None | Some(GuestType::HyperProtect) => serde_json::Value::Null,
            Some(GuestType::CloudInit) => serde_json::json!({"all": [{"cloudInit": {}}]}),
            Some(_) => serde_json::json!({"all": [{"started": {}}]}),
        };
        let guest = self
            .server
            .map(|guest| serde_json::json!({"type": guest, "hostname": self.name}));
        serde_json::from_value(serde_json::json!({
            "namespace": "default", "name": self.name, "uid": self.uid,
            "host": self.host, "pool": POOL, "placement": self.placement(),
            "image": {
                "url": format!("http://images.test/{}", self.image), "fileName": self.image,
            },
            "bootDisk": {"mode": self.boot}, "guest": guest, "ready": ready,
            "machine": {"arch": "s390x", "cpus": self.cpus, "memoryMib": memory},
            "networks": self.networks,
            "madeNetworks": self.made_networks(),
            "addresses": self.addresses(),
            "disks": disks,
            "updatePolicy": if self.manual { "Manual" } else { "Automatic" },
            "onDrift": if self.restores_drift { "Restore" } else { "Report" },
            "deletionPolicy": if self.retain { "Retain" } else { "Delete" },
            "snapshotPolicy": self.snapshots.map(|(schedule, keep)| {
                serde_json::json!({"schedule": schedule, "keep": keep})
            }),
        }))
        .unwrap()
    }

    fn made_networks(&self) -> serde_json::Value {
        let Some((name, _)) = self.made else {
            return serde_json::json!({});
        };
        let (namespace, own) = name.split_once('.').unwrap();
        let network = serde_json::json!({
            "namespace": namespace, "name": own, "cidr": "10.77.0.0/24", "mode": "nat",
            "dhcp": true, "dns": true, "deletionPolicy": "Delete",
        });
        serde_json::json!({name: network})
    }

    fn addresses(&self) -> serde_json::Value {
        match self.made {
            Some((name, Some(address))) => serde_json::json!({name: address}),
            _ => serde_json::json!({}),
        }
    }

    fn resolved(&self) -> ResolvedVsi {
        ResolvedVsi {
            desired: self.desired(),
            contract: Secret::new(self.contract()),
            retains_user_data: false,
            recorded: RecordedFields::default(),
            image_url: None,
            at: DocumentRef {
                index: 0,
                source: format!("{}.yaml", self.name),
                line: None,
            },
            selects_disks: true,
            selects_networks: true,
            retained_refs: Vec::new(),
            unresolved_refs: Vec::new(),
            placed: None,
        }
    }

    fn data_disk(&self) -> Option<DesiredDataDisk> {
        self.disk.map(|uid| DesiredDataDisk {
            namespace: "default".to_owned(),
            name: disk_name(uid),
            uid: Some(uid),
            labels: Default::default(),
            host: self.host.to_owned(),
            pool: POOL.to_owned(),
            size: self.disk_gib << 30,
            member_of: None,
            copy_of: None,
            source: self.disk_source.clone(),
            deletion_policy: if self.disk_goes {
                DeletionPolicy::Delete
            } else {
                DeletionPolicy::Retain
            },
        })
    }
}

/// An image that is uploaded ahead of time, and its host.
pub fn image(file_name: &str) -> (HostSettings, ImageRecord) {
    let name = Some("a".to_owned());
    let record = HostConnection::Sim {
        name,
        upload_limit: None,
        image_policy: "keep=0".parse().ok(),
    };
    let image = ImageRecord {
        host: record.id(),
        pool: POOL.to_owned(),
        url: format!("sim+http://images.test/{file_name}"),
        file_name: file_name.to_owned(),
        checksum: None,
    };
    (record.into(), image)
}

pub fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + number)
}

/// The name of a data disk.
pub fn disk_name(uid: Uuid) -> String {
    format!("data-{}", uid.as_u128() & 0xffff)
}

fn made_disk(uid: Uuid, gib: u64) -> serde_json::Value {
    serde_json::json!({"name": disk_name(uid), "pool": POOL, "source": {
        "type": "made", "uid": uid, "size": gib << 30, "deletionPolicy": "Retain",
    }})
}

/// The settings of a simulated host.
pub fn host(id: &str) -> HostSettings {
    let name = id.strip_prefix("sim:").map(str::to_owned);
    let record = HostConnection::Sim {
        name,
        upload_limit: None,
        image_policy: None,
    };
    record.into()
}

/// The document of a VSI pool whose template is `member`.
#[derive(Clone, Debug)]
pub struct PoolDocument {
    pub replicas: Option<u32>,
    pub member: VsiDocument,
    /// Whether each member has a data disk, which is deleted with it.
    pub disk: bool,
    /// Whether members may be evicted from a host although their disks are lost.
    pub evictable: bool,
}

/// The UID of every story's pool.
pub fn pool_uid() -> Uuid {
    uuid(77)
}

impl PoolDocument {
    pub fn resolved(&self) -> Resolved {
        let mut template = self.member.resolved();
        template.desired.uid = None;
        template.desired.name = "web".to_owned();
        let disk = DesiredDataDisk {
            namespace: "default".to_owned(),
            name: "data".to_owned(),
            uid: None,
            labels: Default::default(),
            host: self.member.host.to_owned(),
            pool: POOL.to_owned(),
            size: 1 << 30,
            deletion_policy: DeletionPolicy::Delete,
            member_of: None,
            copy_of: None,
            source: None,
        };
        let desired = DesiredPool {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: Some(pool_uid()),
            labels: Default::default(),
            replicas: self.replicas,
            strategy: Default::default(),
            update_policy: Default::default(),
            disks: self.disk.then_some(disk).into_iter().collect(),
            names_guests: true,
            evictable: self.evictable,
            of_group: None,
            of_shared_cluster: false,
        };
        let at = template.at.clone();
        let mut resolved = resolved(std::slice::from_ref(&self.member));
        (resolved.vsis, resolved.data_disks) = (Vec::new(), Vec::new());
        resolved.pools.push(ResolvedPool {
            desired,
            template,
            at,
        });
        resolved
    }
}

/// A group of two waves. The first wave has a member that is deleted once the second is up. The two members
/// of the second wave get its address and its outputs.
#[derive(Clone, Debug)]
pub struct Group {
    /// The template of all members.
    pub member: VsiDocument,
}

/// The UID of every story's group.
pub fn group_uid() -> Uuid {
    uuid(78)
}

impl Group {
    pub fn resolved(&self) -> Resolved {
        let mut resolved = resolved(std::slice::from_ref(&self.member));
        (resolved.vsis, resolved.data_disks) = (Vec::new(), Vec::new());
        let release = Release {
            image: "http://images.test/a.qcow2".to_owned(),
            checksum: None,
        };
        let output = |name: &str, secret| OutputSource {
            name: name.to_owned(),
            item: "a".to_owned(),
            number: 0,
            from: OutputPlace::Console("Linux version ([0-9.]+)".to_owned()),
            secret,
        };
        let second = "$(group.members.a-0.address) $(group.outputs.shown) $(group.outputs.secret)";
        resolved.groups.push(ResolvedGroup {
            namespace: "default".to_owned(),
            name: "grp".to_owned(),
            uid: Some(group_uid()),
            labels: Default::default(),
            release: [("a".to_owned(), release)].into(),
            waves: vec![
                self.wave("first", "a", 1, ""),
                self.wave("second", "b", 2, second),
            ],
            outputs: vec![output("shown", false), output("secret", true)],
            late: Vec::new(),
            of_shared_cluster: false,
            at: self.member.resolved().at,
        });
        resolved
    }

    fn wave(&self, name: &str, item: &str, replicas: u32, words: &str) -> ResolvedWave {
        let pool = PoolDocument {
            replicas: Some(replicas),
            member: self.member.clone(),
            disk: false,
            evictable: false,
        };
        let mut pool = pool.resolved().pools.pop().unwrap();
        pool.desired.name = format!("grp-{item}");
        pool.desired.uid = None;
        let user_data = format!("{}# {words}\n", self.member.contract());
        pool.template.contract = Secret::new(user_data);
        let probe = GateProbe::Guest(Probe::Console("login:".to_owned()));
        ResolvedWave {
            name: name.to_owned(),
            gate: Gate {
                probes: vec![probe],
                ..Gate::default()
            },
            items: vec![ResolvedItem {
                name: item.to_owned(),
                single: replicas == 1,
                remove_after: (item == "a").then(|| "second".to_owned()),
                pool,
            }],
        }
    }
}

/// The quota `team`, for this many VSIs.
pub fn quota(vsis: u32) -> Resolved {
    let hard = QuotaLimits {
        vsis: Some(vsis),
        ..QuotaLimits::default()
    };
    Resolved {
        quotas: vec![DesiredQuota {
            namespace: "default".to_owned(),
            name: "team".to_owned(),
            hard,
        }],
        ..Resolved::default()
    }
}

/// The resolved documents of one apply with all of these.
pub fn resolved(vsis: &[VsiDocument]) -> Resolved {
    let ids = vsis.iter().flat_map(|vsi| match vsi.host {
        "" => HOSTS.to_vec(),
        id => vec![id],
    });
    let hosts = ids.map(|id| (id.to_owned(), host(id))).collect();
    Resolved {
        vsis: vsis.iter().map(VsiDocument::resolved).collect(),
        data_disks: vsis.iter().filter_map(VsiDocument::data_disk).collect(),
        hosts,
        ..Resolved::default()
    }
}
