//! Starts the VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{moved, starting};
use crate::{
    error, ownership,
    ports::{ConsolePosition, DiskSource, DomainInfo, HostPorts, Hosts, PortErrorKind, VolumeKey},
    snapshot::{
        CheckMemory, RestoreDisks, SavedMemory, VolumeTrace, check_memory, memory, restore_disks,
    },
};

/// Notes where the console ends, then starts the domain.
///
/// The note is a checkpoint that is durable before the start. A crash between the start and its
/// record leaves a guest that runs, or one that ran and is off again. The next attempt sees the
/// first by its state, and the second by a console that grew past the note in the same boot of
/// the host; starting that one again would boot it twice and lose what it said. Only then does
/// the monitor decide.
///
/// A domain whose memory was saved continues where it was; its note says so, for it boots nothing.
///
/// Memory of a snapshot is taken up only over disks that nobody wrote to since this run put them back,
/// by their lengths and times on the host. That holds for each attempt: where an earlier one took it up
/// and the guest is off again, the guest wrote to them or it did not. If it did, the memory fits no
/// longer, and the guest boots from its disks, as after a power cut.
pub struct StartDomain {
    hosts: Arc<dyn Hosts>,
}

/// What [`StartDomain`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The console's log.
    pub console: VolumeKey,
    /// Where the console of the last boot that is on record begins: that of a guest that is found
    /// running begins there or later.
    #[serde(default)]
    pub last_boot: ConsolePosition,
    /// The memory of a snapshot whose disks were put back by this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SavedMemory>,
}

/// What [`StartDomain`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where the console of this boot begins.
    pub console: ConsolePosition,
    /// The host's boot that the guest runs in, where it may be read.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// Whether memory that was saved was taken up, so that nothing booted.
    #[serde(default)]
    pub taken_up: bool,
    /// Why it booted instead of going on with the memory of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_because: Option<String>,
}

/// What is noted before the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StartNote {
    position: ConsolePosition,
    boot_id: Option<String>,
    #[serde(default)]
    saved: bool,
    /// Whether the memory of a snapshot is taken up.
    #[serde(default)]
    of_snapshot: bool,
    #[serde(default)]
    booted_because: Option<String>,
}

impl StartNote {
    /// Of a boot whose console begins there.
    fn at(position: ConsolePosition) -> Self {
        Self {
            position,
            boot_id: None,
            saved: false,
            of_snapshot: false,
            booted_because: None,
        }
    }

    fn output(self) -> Output {
        Output {
            console: self.position,
            boot_id: self.boot_id,
            taken_up: self.saved || self.of_snapshot,
            booted_because: self.booted_because,
        }
    }
}

impl StartDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for StartDomain {
    const NAME: &'static str = "start_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = defined(cx, &ports, params.uuid).await?;
        let note: Option<StartNote> = cx.saved().await?;
        let is_active = domain.state.is_active();
        moved::refused(&ports, Some(&domain))?;
        if !is_active && note.is_none() {
            return Ok(Observed::Needed);
        }
        let boot_id = ports.host.facts().await?.boot_id;
        let ran = match &note {
            // Its disks say whether it ran.
            Some(note) if !is_active && note.of_snapshot => false,
            Some(note) if !is_active => ran_since(&ports, params, note, &boot_id).await?,
            _ => is_active,
        };
        // A guest that somebody else started has its boot somewhere after the last on record.
        let note = note.unwrap_or(StartNote {
            booted_because: params.memory.as_ref().map(|_| RAN.to_owned()),
            ..StartNote::at(params.last_boot)
        });
        let output = Output {
            boot_id,
            ..note.output()
        };
        Ok(if ran {
            Observed::Present(output)
        } else {
            Observed::Needed
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = defined(cx, &ports, params.uuid).await?;
        alone_on_its_disks(cx, &ports, &domain).await?;
        let memory = memory(cx, &ports, params).await?;
        let note = StartNote {
            boot_id: ports.host.facts().await?.boot_id,
            saved: domain.saved,
            of_snapshot: matches!(memory, MemoryNeed::At(_)),
            booted_because: memory.booted_because(),
            ..StartNote::at(ports.console.end(&params.console).await?)
        };
        cx.save(&note).await?;
        let output = note.output();
        let started = match &memory {
            MemoryNeed::At(path) => ports.domains.start_saved(params.uuid, path).await,
            _ => ports.domains.start(params.uuid).await,
        };
        match started {
            Ok(()) => Ok(Done::updated(output)),
            Err(error) if error.kind == PortErrorKind::WrongState => {
                came_up(cx, &ports, params.uuid).await?;
                Ok(Done::present(output))
            }
            // The host's QEMU may be of another kind than the one that saved it.
            Err(error)
                if matches!(memory, MemoryNeed::At(_))
                    && matches!(error.kind, PortErrorKind::Rejected | PortErrorKind::Other) =>
            {
                let why = format!("the host cannot take up the memory: {}", error.message);
                Err(memory::unfit(&ports, params.uuid, &why))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a guest that somebody else started has no memory of a snapshot.
const RAN: &str = "it was started by something else, such as its host";

/// What the guest is started with beside its disks.
enum MemoryNeed {
    /// Nothing: it boots, or takes up what libvirt saved.
    None,
    /// The memory in this file.
    At(String),
    /// Nothing, since what was asked for does not fit any more, and why.
    Stale(String),
}

impl MemoryNeed {
    fn booted_because(&self) -> Option<String> {
        match self {
            Self::Stale(why) => Some(why.clone()),
            _ => None,
        }
    }
}

/// The memory of a snapshot, if nobody wrote to the disks since they were put back.
async fn memory(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<MemoryNeed, Failure> {
    let Some(volume) = &params.memory else {
        return Ok(MemoryNeed::None);
    };
    let restored: restore_disks::Output = cx.output(RestoreDisks::NAME)?;
    if restored.left.is_empty() {
        let why = "nobody noted how the disks were left when they were put back";
        return Ok(MemoryNeed::Stale(why.to_owned()));
    }
    if let Some(disk) = memory::written_since(ports, &restored.left).await? {
        return Ok(MemoryNeed::Stale(format!(
            "volume {disk} was written to since it was put back"
        )));
    }
    let checked: check_memory::Output = cx.output(CheckMemory::NAME)?;
    let file = memory::of_length(ports, volume).await?;
    if VolumeTrace::of(&file) == checked.file {
        return Ok(MemoryNeed::At(file.path));
    }
    let why = "the file with the memory was written to since it was checked";
    Err(memory::damaged(ports, volume, why))
}

/// That a domain was active when it was to be started does not say that it stayed so.
async fn came_up(cx: &StepContext, ports: &HostPorts, uid: Uuid) -> Result<(), Failure> {
    let domain = defined(cx, ports, uid).await?;
    if domain.state.is_active() {
        Ok(())
    } else {
        Err(error::BUSY
            .failure("the domain went down while it was starting")
            .on_host(ports.host.name())
            .of_object(format!("domain {uid}")))
    }
}

async fn defined(cx: &StepContext, ports: &HostPorts, uid: Uuid) -> Result<DomainInfo, Failure> {
    starting::decided(cx, ports, uid).await?.ok_or_else(|| {
        error::MISSING
            .failure("the domain to start is not defined")
            .on_host(ports.host.name())
            .of_object(format!("domain {uid}"))
    })
}

/// No guest is started on a disk that another one writes to. QEMU's own lock holds that from here
/// until both run.
async fn alone_on_its_disks(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
) -> Result<(), Failure> {
    let disks = &domain.stored.disks;
    // The boot disk and what is read-only are its own; only data disks can be somebody else's, too.
    if disks.iter().skip(1).all(|disk| disk.readonly) {
        return Ok(());
    }
    let written = |path: &String| disks.iter().any(|d| !d.readonly && d.source == *path);
    let others = ports.domains.domains().await?;
    let others = others.iter().filter(|other| other.uuid != domain.uuid);
    for other in others.filter(|other| other.state.is_active()) {
        let shared = other.files.iter().find_map(|file| match file {
            DiskSource::Path(path) => Some(path).filter(|path| written(path)),
            _ => None,
        });
        if let Some(path) = shared {
            let message = format!("{} runs and has {path}", ownership::called(cx, other));
            return Err(error::IN_USE
                .failure(message)
                .on_host(ports.host.name())
                .of_object(format!("domain {}", domain.uuid)));
        }
    }
    Ok(())
}

async fn ran_since(
    ports: &HostPorts,
    params: &Params,
    note: &StartNote,
    boot_id: &Option<String>,
) -> Result<bool, Failure> {
    let same_boot = *boot_id == note.boot_id;
    // A log that is shorter than noted was rotated or begun anew: it has grown as well.
    let grown = ports.console.end(&params.console).await? != note.position;
    Ok(same_boot && grown)
}
