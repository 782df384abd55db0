//! The domains of a simulated host.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Content, Domain, Live, SimHost, SimHostState, Volume,
    guest::SimFound,
    host::Call,
    layers,
    memory::{self, SavedGuest},
    network, screen,
    serial::SerialConsole,
    shown,
};
use crate::{
    cidata,
    guards::Permit,
    guest::GuestType,
    ports::{
        DhcpLease, DiskJob, DiskSpec, DomainInfo, DomainPort, DomainSpec, DomainStart, DomainState,
        Graphics, GuestConsole, LayerSpec, Leftovers, MergeProgress, OwnerMark, PausedStart,
        PortError, PortErrorKind, PortResult, Removed, SavedMachine, Undefinition,
    },
};

fn object(uuid: Uuid) -> String {
    format!("domain {uuid}")
}

impl SimHost {
    fn known<'a>(&self, state: &'a mut SimHostState, uuid: Uuid) -> PortResult<&'a mut Domain> {
        let missing = || self.error(PortErrorKind::Missing, &object(uuid), "no such domain");
        state.domains.get_mut(&uuid).ok_or_else(missing)
    }

    fn wrong_state(&self, uuid: Uuid, words: &str) -> PortError {
        self.error(PortErrorKind::WrongState, &object(uuid), words)
    }

    fn check_start(&self, state: &SimHostState, uuid: Uuid) -> PortResult<()> {
        let Some(domain) = state.domains.get(&uuid) else {
            return Err(self.error(PortErrorKind::Missing, &object(uuid), "no such domain"));
        };
        if domain.state.is_active() {
            return Err(self.wrong_state(uuid, "domain is already running"));
        }
        for disk in &domain.spec.disks {
            self.check_disk(state, uuid, disk)?;
        }
        for nic in &domain.spec.nics {
            let network = format!("network {}", nic.network);
            match state.networks.get(&nic.network) {
                Some(known) if known.active => {}
                Some(_) => {
                    return Err(self.error(PortErrorKind::NetworkInactive, &network, "not active"));
                }
                None => {
                    return Err(self.error(PortErrorKind::NetworkMissing, &network, "no network"));
                }
            }
        }
        Ok(())
    }

    fn check_disk(&self, state: &SimHostState, uuid: Uuid, disk: &DiskSpec) -> PortResult<()> {
        let fail = |kind, words: &str| {
            Err(self.error(kind, &object(uuid), &format!("{}: {words}", disk.path)))
        };
        let Some(volume) = state.by_path(&disk.path) else {
            return fail(PortErrorKind::Missing, "Cannot access storage file");
        };
        if disk.format.as_str() == "qcow2" && volume.format != "qcow2" {
            return fail(PortErrorKind::Rejected, "Image is not in qcow2 format");
        }
        let running_domains = state
            .domains
            .values()
            .filter(|domain| domain.spec.uuid != uuid && domain.state.is_active());
        let writes = |attached: &&DiskSpec| attached.path == disk.path && !attached.readonly;
        if running_domains
            .flat_map(|domain| &domain.spec.disks)
            .any(|attached| writes(&attached))
        {
            return fail(PortErrorKind::Rejected, "Failed to get \"write\" lock");
        }
        Ok(())
    }

    fn power_on(
        &self,
        state: &mut SimHostState,
        uuid: Uuid,
        found: SimFound,
        now: u64,
    ) -> PortResult<()> {
        self.check_start(state, uuid)?;
        let domain = self.known(state, uuid)?;
        let mut live = match domain.saved.take() {
            Some(saved) => saved,
            None => Live::start(now, found),
        };
        live.unpause(now);
        domain.live = Some(live);
        domain.state = DomainState::Running;
        let spec = domain.spec.clone();
        domain.running = Some(spec.clone());
        memory::touch_disks(state, &spec);
        make_log(state, &spec.console_log);
        state.lend();
        Ok(())
    }

    /// Starts a guest behind vsiflow's back, as `virsh start` does. Nothing happens if it cannot start.
    pub async fn start_by_hand(&self, uuid: Uuid) {
        if let Ok(media) = self.boot_media(uuid).await {
            let time = self.now();
            let _ = self
                .with(|state| self.power_on(state, uuid, media, time))
                .await;
        }
    }

    /// Simulates a power loss, after which the host starts the guests that start with it.
    pub async fn restart_with_guests(&self) {
        let restart = |state: &mut SimHostState| {
            state.restart();
            let domains = state.domains.values();
            let autostarted = domains.filter(|domain| domain.spec.autostart);
            autostarted
                .map(|domain| domain.spec.uuid)
                .collect::<Vec<_>>()
        };
        for uuid in self.with(restart).await {
            self.start_by_hand(uuid).await;
        }
    }

    /// What the guest finds when it starts.
    async fn boot_media(&self, uuid: Uuid) -> PortResult<SimFound> {
        let (mut media, contents, ignition) = {
            let world = self.world.lock().await;
            let Some(domain) = world.state.domains.get(&uuid) else {
                return Ok(SimFound::default());
            };
            let machine = &domain.spec.machine;
            let content = |path: &String| {
                let volume = world.state.by_path(path);
                volume.map(|volume| volume.content.clone())
            };
            let disks = domain.spec.disks.iter().filter(|disk| disk.readonly);
            let (ignition, cidata): (Vec<_>, Vec<_>) =
                disks.partition(|disk| disk.serial == "ignition");
            let by_firmware = machine.platform.as_ref().and_then(|p| p.ignition.as_ref());
            let ignition = ignition
                .iter()
                .map(|disk| &disk.path)
                .chain(by_firmware)
                .filter_map(content)
                .next();
            let media = SimFound {
                memory_mib: machine.memory_mib,
                guest: match machine.platform {
                    None => GuestType::HyperProtect,
                    Some(_) => GuestType::None,
                },
                ..SimFound::default()
            };
            let cidata: Vec<Content> = cidata.iter().filter_map(|d| content(&d.path)).collect();
            (media, cidata, ignition)
        };
        let inspection = self.store.on(move |store| {
            for content in contents {
                if let Some(cidata) = cidata::read(&store.read(&content, 0, content.len())?) {
                    media.guest = match cidata.instance {
                        Some(_) => GuestType::CloudInit,
                        None => GuestType::HyperProtect,
                    };
                    media.cidata = Some(cidata);
                    break;
                }
            }
            if let Some(content) = ignition {
                media.guest = GuestType::Ignition;
                media.ignition = Some(store.read(&content, 0, content.len())?);
            }
            Ok(media)
        });
        inspection
            .await
            .map_err(|error| self.store_error(&object(uuid), &error))
    }
}

#[async_trait]
impl DomainPort for SimHost {
    async fn domain(&self, uuid: Uuid) -> PortResult<Option<DomainInfo>> {
        self.call(Call::observe("domain", object(uuid)), |state, _| {
            Ok(state.domains.get(&uuid).map(|domain| state.info(domain)))
        })
        .await
    }

    async fn domains(&self) -> PortResult<Vec<DomainInfo>> {
        self.call(Call::observe("domains", ""), |state, _| {
            Ok(state
                .domains
                .values()
                .map(|domain| state.info(domain))
                .collect())
        })
        .await
    }

    async fn define(&self, permit: &Permit<DomainSpec>) -> PortResult<DomainInfo> {
        let spec = permit.call();
        self.call(Call::act("define", object(spec.uuid)), |state, _| {
            let has_its_name = |d: &&Domain| d.spec.name == spec.name && d.spec.uuid != spec.uuid;
            if state.domains.values().any(|domain| has_its_name(&domain)) {
                let words = "the name is defined with another UUID";
                return Err(self.error(PortErrorKind::Rejected, &object(spec.uuid), words));
            }
            let domain = state.domains.entry(spec.uuid).or_insert_with(|| Domain {
                spec: spec.clone(),
                mark: None,
                state: DomainState::ShutOff,
                live: None,
                running: None,
                ends_at: None,
                moved: false,
                saved: None,
                merges: BTreeMap::new(),
                block_copies: BTreeMap::new(),
                io_error: false,
            });
            domain.spec = spec.clone();
            domain.mark = Some(spec.mark.clone());
            let defined = domain.clone();
            Ok(state.info(&defined))
        })
        .await
    }

    async fn start(&self, permit: &Permit<DomainStart>) -> PortResult<()> {
        let uuid = permit.call().uuid;
        let media = self.boot_media(uuid).await?;
        self.call(Call::act("start", object(uuid)), |state, now| {
            self.power_on(state, uuid, media, now)
        })
        .await
    }

    async fn shutdown(&self, uuid: Uuid) -> PortResult<()> {
        self.call(Call::act("shutdown", object(uuid)), |state, now| match self
            .known(state, uuid)?
            .live
            .as_mut()
        {
            Some(live) => {
                live.shut_down(now);
                Ok(())
            }
            None => Err(self.wrong_state(uuid, "domain is not running")),
        })
        .await
    }

    async fn suspend(&self, uuid: Uuid) -> PortResult<()> {
        self.call(Call::act("suspend", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            if domain.live.is_none() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            domain.pause(now);
            Ok(())
        })
        .await
    }

    async fn resume(&self, uuid: Uuid) -> PortResult<()> {
        self.call(Call::act("resume", object(uuid)), |state, now| {
            let full = state.pools.values().any(|pool| pool.available() == 0);
            let domain = self.known(state, uuid)?;
            if domain.live.is_none() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            domain.io_error &= full;
            if !domain.io_error {
                domain.unpause(now);
            }
            Ok(())
        })
        .await
    }

    async fn grow_disk(&self, uuid: Uuid, path: &str, capacity: u64) -> PortResult<()> {
        self.call(Call::act("grow_disk", object(uuid)), |state, _| {
            if !self.known(state, uuid)?.state.is_active() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            let change = state.change();
            let missing = || self.error(PortErrorKind::Missing, &object(uuid), path);
            let volume = state.by_path_mut(path).ok_or_else(missing)?;
            if capacity < volume.capacity {
                let words = "a disk is not made smaller";
                return Err(self.error(PortErrorKind::Rejected, &object(uuid), words));
            }
            (volume.capacity, volume.modified) = (capacity, change);
            Ok(())
        })
        .await
    }

    async fn add_layers(&self, uuid: Uuid, layers: &[LayerSpec], quiesce: bool) -> PortResult<()> {
        self.call(Call::act("add_layers", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            let Some(live) = &domain.live else {
                return Err(self.wrong_state(uuid, "domain is not running"));
            };
            let freeze = r#"{"execute":"guest-fsfreeze-freeze"}"#;
            if quiesce && live.agent(freeze, now).is_none() {
                let words = "QEMU guest agent is not connected";
                return Err(self.error(PortErrorKind::Rejected, &object(uuid), words));
            }
            let rejected = |words: &str| self.error(PortErrorKind::Rejected, &object(uuid), words);
            layers::add(state, uuid, layers).map_err(rejected)
        })
        .await
    }

    async fn save_with_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()> {
        self.call(Call::act("save_with_layers", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            let running = domain.state == DomainState::Running;
            let Some(mut live) = domain.live.clone().filter(|_| running) else {
                return Err(self.wrong_state(uuid, "domain is not running"));
            };
            live.pause(now);
            let spec = domain.running.as_ref().unwrap_or(&domain.spec).clone();
            let rejected = |words: &str| self.error(PortErrorKind::Rejected, &object(uuid), words);
            memory::write(state, memory, &SavedGuest { spec, live }).map_err(rejected)?;
            layers::add(state, uuid, layers).map_err(rejected)
        })
        .await
    }

    async fn saved_machine(&self, memory: &str) -> PortResult<SavedMachine> {
        self.call(Call::observe("saved_machine", memory), |state, _| {
            let rejected = |words: &str| self.error(PortErrorKind::Rejected, memory, words);
            let guest = memory::read(state, memory).map_err(rejected)?;
            Ok(SavedMachine {
                uuid: guest.spec.uuid,
                shape: shown::shape(&guest.spec),
            })
        })
        .await
    }

    async fn start_saved(&self, permit: &Permit<DomainStart>, memory: &str) -> PortResult<()> {
        let uuid = permit.call().uuid;
        self.call(Call::act("start_saved", object(uuid)), |state, now| {
            self.check_start(state, uuid)?;
            let rejected = |words: &str| self.error(PortErrorKind::Rejected, &object(uuid), words);
            let mut guest = memory::read(state, memory).map_err(rejected)?;
            if guest.spec.uuid != uuid {
                return Err(rejected("target domain uuid does not match source"));
            }
            guest.live.unpause(now);
            let stored = self.known(state, uuid)?.spec.disks.clone();
            memory::take_files_of(&mut guest.spec, &stored);
            memory::touch_disks(state, &guest.spec);
            let domain = self.known(state, uuid)?;
            domain.live = Some(guest.live);
            domain.state = DomainState::Running;
            domain.running = Some(guest.spec);
            let log = domain.spec.console_log.clone();
            make_log(state, &log);
            state.lend();
            Ok(())
        })
        .await
    }

    async fn begin_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        self.call(Call::act("begin_merge", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            if domain.live.is_none() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            if domain.block_copies.contains_key(target) {
                let words = "disk already in active block job";
                return Err(self.error(PortErrorKind::Rejected, &object(uuid), words));
            }
            let until = now.saturating_add(layers::MERGE_MS);
            domain.merges.insert(target.to_owned(), until);
            Ok(())
        })
        .await
    }

    async fn disk_job(&self, uuid: Uuid, target: &str) -> PortResult<Option<DiskJob>> {
        self.call(Call::observe("disk_job", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            if domain.live.is_none() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            if domain.block_copies.contains_key(target) {
                return Ok(Some(DiskJob {
                    merges_into: None,
                    kind: "block copy".to_owned(),
                    progress: MergeProgress { done: 1, total: 1 },
                }));
            }
            let until = domain.merges.get(target).copied();
            let mut disks = domain.running.iter().flat_map(|spec| &spec.disks);
            let disk = disks.find(|disk| disk.target == target);
            let path = disk.map(|disk| disk.path.clone()).unwrap_or_default();
            let below = state.by_path(&path).and_then(|layer| layer.backing.clone());
            Ok(until.map(|until| DiskJob {
                merges_into: below,
                kind: "active commit".to_owned(),
                progress: MergeProgress {
                    done: layers::MERGE_MS.saturating_sub(until.saturating_sub(now)),
                    total: layers::MERGE_MS,
                },
            }))
        })
        .await
    }

    async fn end_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        self.call(Call::act("end_merge", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            let rejected = |words: &str| self.error(PortErrorKind::Rejected, &object(uuid), words);
            if domain.block_copies.contains_key(target) {
                return layers::switch_to_copy(state, uuid, target).map_err(rejected);
            }
            match domain.merges.get(target).copied() {
                Some(until) if until <= now => layers::pivot(state, uuid, target).map_err(rejected),
                Some(_) => {
                    let words = "the block job is not ready for pivot yet";
                    Err(self.error(PortErrorKind::Busy, &object(uuid), words))
                }
                None => Err(self.wrong_state(uuid, "no block job is active")),
            }
        })
        .await
    }

    async fn start_paused(&self, permit: &Permit<PausedStart>) -> PortResult<()> {
        let uuid = permit.call().uuid;
        let media = self.boot_media(uuid).await?;
        self.call(Call::act("start_paused", object(uuid)), |state, now| {
            self.check_start(state, uuid)?;
            let domain = self.known(state, uuid)?;
            let mut live = Live::start(now, media);
            live.pause(now);
            domain.live = Some(live);
            domain.state = DomainState::Paused;
            domain.running = Some(domain.spec.clone());
            Ok(())
        })
        .await
    }

    async fn set_autostart(&self, uuid: Uuid, on: bool) -> PortResult<()> {
        self.call(Call::act("set_autostart", object(uuid)), |state, _| {
            self.known(state, uuid)?.spec.autostart = on;
            Ok(())
        })
        .await
    }

    async fn addresses(&self, uuid: Uuid) -> PortResult<Vec<DhcpLease>> {
        self.call(Call::observe("addresses", object(uuid)), |state, now| {
            self.known(state, uuid)?;
            let networks = state.networks.iter().filter(|(_, network)| !network.dhcp);
            let networks: Vec<_> = networks.map(|(name, _)| name.clone()).collect();
            let mut leases = Vec::new();
            for name in networks {
                leases.extend(network::addresses(state, &name, now));
            }
            let domain = state.domains.get(&uuid);
            let nics = domain.map(|domain| domain.spec.nics.as_slice());
            let macs: Vec<_> = nics
                .unwrap_or_default()
                .iter()
                .map(|nic| &nic.mac)
                .collect();
            leases.retain(|lease| macs.contains(&&lease.mac));
            Ok(leases)
        })
        .await
    }

    async fn agent(&self, uuid: Uuid, command: &str, _: Duration) -> PortResult<String> {
        self.call(Call::observe("agent", object(uuid)), |state, now| {
            let domain = self.known(state, uuid)?;
            let platform = domain
                .running
                .as_ref()
                .and_then(|spec| spec.machine.platform.clone());
            let Some(live) = &domain.live else {
                return Err(self.wrong_state(uuid, "domain is not running"));
            };
            if !platform.is_some_and(|platform| platform.agent) {
                let words = "QEMU guest agent is not configured";
                return Err(self.error(PortErrorKind::Rejected, &object(uuid), words));
            }
            let answer = live.agent(command, now);
            answer.ok_or_else(|| self.wrong_state(uuid, "QEMU guest agent is not connected"))
        })
        .await
    }

    async fn open_console(&self, uuid: Uuid, force: bool) -> PortResult<Box<dyn GuestConsole>> {
        self.call(Call::observe("open_console", object(uuid)), |state, _| {
            let Some(live) = &self.known(state, uuid)?.live else {
                return Err(self.wrong_state(uuid, "domain is not running"));
            };
            let name = live.hostname.as_deref().unwrap_or("localhost");
            let busy = || {
                let words = "Active console session exists for this domain";
                self.error(PortErrorKind::Busy, &object(uuid), words)
            };
            let console = SerialConsole::open(self, uuid, name, force).ok_or_else(busy)?;
            Ok(Box::new(console) as Box<dyn GuestConsole>)
        })
        .await
    }

    async fn open_screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>> {
        self.call(Call::observe("open_screen", object(uuid)), |state, _| {
            let domain = self.known(state, uuid)?;
            if domain.live.is_none() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            let running = domain.running.as_ref().unwrap_or(&domain.spec);
            if shown::graphics(running) == Graphics::None {
                let words = "the guest has no VNC screen";
                return Err(self.error(PortErrorKind::Missing, &object(uuid), words));
            }
            Ok(screen::open())
        })
        .await
    }

    async fn set_mark(&self, uuid: Uuid, mark: &OwnerMark) -> PortResult<()> {
        self.call(Call::act("set_mark", object(uuid)), |state, _| {
            self.known(state, uuid)?.mark = Some(mark.clone());
            Ok(())
        })
        .await
    }

    async fn destroy(&self, uuid: Uuid) -> PortResult<()> {
        self.call(Call::act("destroy", object(uuid)), |state, _| {
            let domain = self.known(state, uuid)?;
            if !domain.state.is_active() {
                return Err(self.wrong_state(uuid, "domain is not running"));
            }
            domain.end(DomainState::ShutOff);
            Ok(())
        })
        .await
    }

    async fn undefine(&self, permit: &Permit<Undefinition>) -> PortResult<Removed> {
        let Undefinition { uuid, leftovers } = *permit.call();
        self.call(
            Call::act("undefine", object(uuid)),
            |state, _| match state.domains.get(&uuid) {
                None => Ok(Removed::Absent),
                Some(domain) if domain.state.is_active() => {
                    Err(self.wrong_state(uuid, "domain is running"))
                }
                Some(domain) if domain.saved.is_some() && leftovers == Leftovers::Keep => {
                    let words = "Refusing to undefine while domain managed save image exists";
                    Err(self.wrong_state(uuid, words))
                }
                Some(_) => {
                    state.domains.remove(&uuid);
                    Ok(Removed::Removed)
                }
            },
        )
        .await
    }
}

/// Creates the console log if it is missing, as the host's log daemon does.
fn make_log(state: &mut SimHostState, path: &str) {
    let Some((folder, name)) = path.rsplit_once('/') else {
        return;
    };
    let Some(pool) = state.pools.values_mut().find(|pool| pool.path == folder) else {
        return;
    };
    pool.volumes
        .entry(name.to_owned())
        .or_insert_with(|| Volume {
            format: "raw".to_owned(),
            capacity: 0,
            content: Content::Inline(Vec::new()),
            backing: None,
            modified: 0,
            born: 0,
            synced: true,
            unwritten: false,
            busy_until: 0,
            tokens: Default::default(),
        });
}
