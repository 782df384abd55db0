//! Starts the VSI's domain.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Name},
    step::{Done, Observed, Step, StepContext},
};

use super::{DefineDomain, moved, starting};
use crate::{
    error, guards,
    ports::{ConsolePosition, DomainInfo, HostPorts, Hosts, PortErrorKind, VolumeKey},
    snapshot::{
        CheckMemory, RestoreDisks, SavedMemory, VolumeTrace, check_memory, memory, restore_disks,
    },
};

/// Notes the end of the console, then starts the domain.
///
/// The note is a checkpoint that is durable before the start. A crash between the start and its record
/// leaves a guest that runs, or one that ran and is off again. The next attempt recognises the first by
/// its state. It recognises the second by a console that grew past the note in the same boot of the host:
/// starting that guest again would boot it twice and lose its output. After this step the console decides
/// about the boot.
///
/// A domain whose memory was saved continues where it was; its note says so, because nothing boots.
///
/// Memory of a snapshot is restored only if the disks were not written to since this run restored them,
/// by their lengths and times on the host. Each attempt checks that: if an earlier one restored the
/// memory and the guest is off again, the guest may have written to the disks. If it did, the memory no
/// longer fits, and the guest boots from its disks, as after a power loss.
pub struct StartDomain {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`StartDomain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The console log.
    pub console: VolumeKey,
    /// The start of the last recorded boot in the console: the boot of a guest that is found running
    /// begins there or later.
    #[serde(default)]
    pub last_boot: ConsolePosition,
    /// The memory of a snapshot whose disks this run restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SavedMemory>,
    /// Every volume that this journal names, or has named, as a disk that the VSI writes to: it is started
    /// with no other. Not checked if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<VolumeKey>,
}

/// What [`StartDomain`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The start of this boot in the console.
    pub console: ConsolePosition,
    /// The boot ID of the host in which the guest runs, if it may be read.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// Whether saved memory was resumed, so that nothing booted.
    #[serde(default)]
    pub taken_up: bool,
    /// Why it booted instead of resuming the memory of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_because: Option<String>,
}

/// The note that is saved before the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StartNote {
    position: ConsolePosition,
    boot_id: Option<String>,
    #[serde(default)]
    saved: bool,
    /// Whether the memory of a snapshot is restored.
    #[serde(default)]
    of_snapshot: bool,
    #[serde(default)]
    booted_because: Option<String>,
}

impl StartNote {
    /// The note of a boot whose console begins at `position`.
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
            // Its disks show whether it ran.
            Some(note) if !is_active && note.of_snapshot => false,
            Some(note) if !is_active => ran_since(&ports, params, note, &boot_id).await?,
            _ => is_active,
        };
        // The boot of a guest that something else started begins somewhere after the last recorded one.
        let start_note = note.unwrap_or(StartNote {
            booted_because: params.memory.as_ref().map(|_| STARTED_OUTSIDE.to_owned()),
            ..StartNote::at(params.last_boot)
        });
        let output = Output {
            boot_id,
            ..start_note.output()
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
        let permit = guards::permit_start(cx, &ports, &domain, &params.named).await?;
        if !cx.outputs.contains_key(&Name::of(DefineDomain::NAME)) {
            guards::record_started(cx, &ports, &params.named).await?;
        }
        guards::record_data_disks(cx, &ports, &domain, &params.named).await?;
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
            MemoryNeed::At(path) => ports.domains.start_saved(&permit, path).await,
            _ => ports.domains.start(&permit).await,
        };
        match started {
            Ok(()) => Ok(Done::updated(output)),
            Err(error) if error.kind == PortErrorKind::WrongState => {
                came_up(cx, &ports, params.uuid).await?;
                Ok(Done::present(output))
            }
            // The host's QEMU may differ from the one that saved it.
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

/// Why a guest that something else started does not have the memory of a snapshot.
const STARTED_OUTSIDE: &str = "it was started by something else, such as its host";

/// The memory that the guest is started with.
enum MemoryNeed {
    /// None: it boots, or resumes what libvirt saved.
    None,
    /// The memory in this file.
    At(String),
    /// None: the requested memory no longer fits, for this reason.
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

/// The memory of a snapshot, if the disks were not written to since they were restored.
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
        let why = "it is not recorded how the disks were left when they were restored";
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

/// Checks that a domain that was already active when it was to be started is still active.
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

async fn ran_since(
    ports: &HostPorts,
    params: &Params,
    note: &StartNote,
    boot_id: &Option<String>,
) -> Result<bool, Failure> {
    let same_boot = *boot_id == note.boot_id;
    // A log shorter than noted was rotated or started again: that counts as grown.
    let grown = ports.console.end(&params.console).await? != note.position;
    Ok(same_boot && grown)
}
