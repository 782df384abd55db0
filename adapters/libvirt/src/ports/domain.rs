//! Implements the domain port with libvirt's calls on domains.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_steps::{
    guards::Permit,
    ports::{
        DhcpLease, DiskJob, DomainInfo, DomainPort, DomainSpec, DomainStart, DomainState,
        GuestConsole, LayerSpec, Leftovers, OwnerMark, PausedStart, PortErrorKind, PortResult,
        Removed, SavedMachine, Undefinition,
    },
};

use super::{
    LibvirtHost, QUICK, START,
    domain_state::{reason_of, state_of, was_moved},
};
use crate::{
    connection::Calls,
    error::{Absent, code},
    protocol::{
        AddressSource, DomainInterface, IpAddress, MetadataKind, RemoteDomain, domain_flags,
    },
    xml::{XmlError, domain, domain_info, domain_info::BothDefinitions},
};

#[async_trait]
impl DomainPort for LibvirtHost {
    async fn domain(&self, uuid: Uuid) -> PortResult<Option<DomainInfo>> {
        let calls = self.quick().await?;
        match self.lookup_domain(&calls, uuid).await? {
            Some(domain) => self.domain_info(&calls, &domain).await,
            None => Ok(None),
        }
    }

    async fn domains(&self) -> PortResult<Vec<DomainInfo>> {
        let calls = self.quick().await?;
        let listed = calls.connect_list_all_domains(0).await;
        let (mut domains, mut bytes) = (Vec::new(), 0_usize);
        for domain in listed.map_err(|e| self.speaking("").of(&e))? {
            if let Some(info) = self.listed_domain(&calls, &domain).await? {
                bytes = bytes.saturating_add(info.xml.len());
                domains.push(info);
            }
            if bytes > DEFINITIONS_MAX {
                let words = format!("its definitions are larger than {DEFINITIONS_MAX} bytes");
                return Err(self.speaking("").error(PortErrorKind::Other, words));
            }
        }
        Ok(domains)
    }

    async fn define(&self, permit: &Permit<DomainSpec>) -> PortResult<DomainInfo> {
        let spec = permit.call();
        let calls = self.quick().await?;
        let object = format!("domain {}", spec.name);
        let context = self.speaking(&object);
        let (xml, flags) = (domain::describe(spec), domain_flags::DEFINE_VALIDATE);
        let defined = calls
            .domain_define_xml_flags(&xml, flags)
            .await
            .map_err(|e| context.of(&e))?;
        let set = calls.domain_set_autostart(&defined, spec.autostart).await;
        set.map_err(|e| context.of(&e))?;
        let info = self.domain_info(&calls, &defined).await?;
        info.ok_or_else(|| {
            context.error(
                PortErrorKind::Missing,
                "it vanished right after it was defined",
            )
        })
    }

    async fn start(&self, permit: &Permit<DomainStart>) -> PortResult<()> {
        let uuid = permit.call().uuid;
        let calls = self.long(START).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let started = calls.domain_create_with_flags(&domain, 0).await;
        started.map(drop).map_err(|e| self.of_domain(uuid, &e))
    }

    async fn shutdown(&self, uuid: Uuid) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        calls
            .domain_shutdown_flags(&domain, 0)
            .await
            .map_err(|e| self.of_domain(uuid, &e))
    }

    async fn suspend(&self, uuid: Uuid) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let reply = calls.domain_suspend(&domain).await;
        reply.map_err(|e| self.of_domain(uuid, &e))
    }

    async fn resume(&self, uuid: Uuid) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let state_reply = calls.domain_get_state(&domain).await;
        let state = state_reply.map_err(|e| self.of_domain(uuid, &e))?;
        // libvirt refuses to resume a running guest.
        if state_of(state.state, state.reason) == DomainState::Running {
            return Ok(());
        }
        let reply = calls.domain_resume(&domain).await;
        reply.map_err(|e| self.of_domain(uuid, &e))
    }

    async fn grow_disk(&self, uuid: Uuid, path: &str, capacity: u64) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let grown = calls.domain_block_resize(&domain, path, capacity).await;
        grown.map_err(|e| self.of_domain(uuid, &e))
    }

    async fn add_layers(&self, uuid: Uuid, layers: &[LayerSpec], quiesce: bool) -> PortResult<()> {
        self.create_layers(uuid, layers, quiesce).await
    }

    async fn save_with_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()> {
        self.create_layers_and_save(uuid, layers, memory).await
    }

    async fn saved_machine(&self, memory: &str) -> PortResult<SavedMachine> {
        self.machine_in(memory).await
    }

    async fn start_saved(&self, permit: &Permit<DomainStart>, memory: &str) -> PortResult<()> {
        self.restore(permit.call().uuid, memory).await
    }

    async fn begin_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        self.commit(uuid, target).await
    }

    async fn disk_job(&self, uuid: Uuid, target: &str) -> PortResult<Option<DiskJob>> {
        self.job(uuid, target).await
    }

    async fn end_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        self.pivot(uuid, target).await
    }

    async fn start_paused(&self, permit: &Permit<PausedStart>) -> PortResult<()> {
        self.wake_paused(permit.call().uuid).await
    }

    async fn set_autostart(&self, uuid: Uuid, on: bool) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let reply = calls.domain_set_autostart(&domain, on).await;
        reply.map_err(|e| self.of_domain(uuid, &e))
    }

    async fn addresses(&self, uuid: Uuid) -> PortResult<Vec<DhcpLease>> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        for source in [AddressSource::Agent, AddressSource::Arp] {
            let answer = calls.domain_interface_addresses(&domain, source).await;
            let cards = match answer {
                Ok(cards) => cards,
                // The agent does not respond, or the ARP table cannot be read: try the next source.
                Err(error) if error.code().is_some() => continue,
                Err(error) => return Err(self.of_domain(uuid, &error)),
            };
            let addresses: Vec<_> = cards.into_iter().flat_map(of_card).collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
        }
        Ok(Vec::new())
    }

    async fn agent(&self, uuid: Uuid, command: &str, within: Duration) -> PortResult<String> {
        let calls = self.long(within.saturating_add(QUICK)).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let seconds = i32::try_from(within.as_secs().max(1)).unwrap_or(1);
        let answer = calls.qemu_domain_agent_command(&domain, command, seconds);
        match answer.await {
            Ok(answer) => Ok(answer.unwrap_or_default()),
            Err(error) => {
                let mut failure = self.of_domain(uuid, &error);
                failure.kind = match error.code() {
                    Some(code::AGENT_UNRESPONSIVE) => PortErrorKind::WrongState,
                    Some(code::ARGUMENT_UNSUPPORTED) => PortErrorKind::Rejected,
                    _ => failure.kind,
                };
                Err(failure)
            }
        }
    }

    async fn open_console(&self, uuid: Uuid, force: bool) -> PortResult<Box<dyn GuestConsole>> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        self.serial_console(uuid, &domain, force).await
    }

    async fn open_screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>> {
        self.screen(uuid).await
    }

    async fn set_mark(&self, uuid: Uuid, mark: &OwnerMark) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let state_reply = calls.domain_get_state(&domain).await;
        let state = state_reply.map_err(|e| self.of_domain(uuid, &e))?;
        // For a running guest, the live definition is the one that is read back.
        let live = if state_of(state.state, state.reason).is_active() {
            domain_flags::AFFECT_LIVE
        } else {
            0
        };
        let mark = domain::bare_mark(mark);
        let set = calls.domain_set_metadata(
            &domain,
            MetadataKind::Element,
            Some(&mark),
            Some(domain::MARK_PREFIX),
            Some(domain::MARK_URI),
            domain_flags::AFFECT_CONFIG | live,
        );
        set.await.map_err(|e| self.of_domain(uuid, &e))
    }

    async fn destroy(&self, uuid: Uuid) -> PortResult<()> {
        let calls = self.long(START).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        calls
            .domain_destroy_flags(&domain, 0)
            .await
            .map_err(|e| self.of_domain(uuid, &e))
    }

    async fn undefine(&self, permit: &Permit<Undefinition>) -> PortResult<Removed> {
        let Undefinition { uuid, leftovers } = *permit.call();
        let calls = self.quick().await?;
        let Some(domain) = self.lookup_domain(&calls, uuid).await? else {
            return Ok(Removed::Absent);
        };
        let state = calls
            .domain_get_state(&domain)
            .await
            .map_err(|e| self.of_domain(uuid, &e))?;
        if state_of(state.state, state.reason).is_active() {
            let object = format!("domain {uuid}");
            // libvirt would make a running domain transient instead of refusing.
            return Err(self
                .speaking(&object)
                .error(PortErrorKind::WrongState, "it is running"));
        }
        let flags = match leftovers {
            Leftovers::Keep => UNDEFINE | domain_flags::UNDEFINE_KEEP_NVRAM,
            Leftovers::Delete => {
                UNDEFINE | domain_flags::UNDEFINE_MANAGED_SAVE | domain_flags::UNDEFINE_NVRAM
            }
        };
        match calls.domain_undefine_flags(&domain, flags).await {
            Ok(()) => Ok(Removed::Removed),
            Err(error) if is_absent(&error) => Ok(Removed::Absent),
            Err(error) => Err(self.of_domain(uuid, &error)),
        }
    }
}

/// The definitions of a domain, and the live one as libvirt wrote it.
struct ReadDomain {
    both: BothDefinitions,
    xml: String,
}

/// The size limit of all domain definitions of a host, in bytes. Thousands of domains need less.
const DEFINITIONS_MAX: usize = 128 << 20;

/// Removes libvirt's notes that would otherwise prevent undefining a domain.
const UNDEFINE: u32 =
    domain_flags::UNDEFINE_SNAPSHOTS_METADATA | domain_flags::UNDEFINE_CHECKPOINTS_METADATA;

impl LibvirtHost {
    async fn lookup_domain(&self, calls: &Calls, uuid: Uuid) -> PortResult<Option<RemoteDomain>> {
        match calls.domain_lookup_by_uuid(uuid.into()).await {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.of_domain(uuid, &error)),
        }
    }

    pub(super) async fn existing_domain(
        &self,
        calls: &Calls,
        uuid: Uuid,
    ) -> PortResult<RemoteDomain> {
        let object = format!("domain {uuid}");
        let gone = || {
            self.speaking(&object)
                .error(PortErrorKind::Missing, "there is none")
        };
        self.lookup_domain(calls, uuid).await?.ok_or_else(gone)
    }

    /// A domain of a list; `None` if it was deleted since the list was made, and libvirt says so twice.
    async fn listed_domain(
        &self,
        calls: &Calls,
        domain: &RemoteDomain,
    ) -> PortResult<Option<DomainInfo>> {
        let info = self.domain_info(calls, domain).await?;
        let uuid = domain.uuid.0;
        if info.is_some() || self.lookup_domain(calls, uuid).await?.is_none() {
            return Ok(info);
        }
        let object = format!("domain {uuid}");
        let words = "libvirt lists the domain, and does not find it";
        Err(self.speaking(&object).error(PortErrorKind::Other, words))
    }

    /// The domain; `None` if it was deleted in the meantime.
    async fn domain_info(
        &self,
        calls: &Calls,
        domain: &RemoteDomain,
    ) -> PortResult<Option<DomainInfo>> {
        match self.read_domain(calls, domain).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.kind == PortErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_domain(&self, calls: &Calls, domain: &RemoteDomain) -> PortResult<DomainInfo> {
        let uuid = domain.uuid.0;
        let failure = |error: &crate::Error| self.of_domain(uuid, error);
        let state = calls
            .domain_get_state(domain)
            .await
            .map_err(|e| failure(&e))?;
        let persistent = calls
            .domain_is_persistent(domain)
            .await
            .map_err(|e| failure(&e))?;
        let live = calls
            .domain_get_xml_desc(domain, 0)
            .await
            .map_err(|e| failure(&e))?;
        let object = format!("domain {uuid}");
        let unreadable = |error: &_| self.speaking(&object).unreadable(error);
        let stored = calls
            .domain_get_xml_desc(domain, domain_flags::XML_INACTIVE)
            .await
            .map_err(|e| failure(&e))?;
        let reading = self.read_both(live, stored).await;
        let ReadDomain { both, xml } = reading.map_err(|e| unreadable(&e))?;
        let definition = both.live;
        let autostart = match calls.domain_get_autostart(domain).await {
            Ok(autostart) => autostart,
            // A transient domain has no autostart.
            Err(error) if error.code().is_some() => false,
            Err(error) => return Err(failure(&error)),
        };
        let reason = reason_of(state.state, state.reason).map(str::to_owned);
        let moved = was_moved(state.state, state.reason);
        let state = state_of(state.state, state.reason);
        let saved = !state.is_active() && self.has_saved_memory(calls, domain).await?;
        let (defined_uuid, name, mark) = (definition.uuid, definition.name, definition.mark);
        Ok(DomainInfo {
            uuid: defined_uuid,
            name,
            title: definition.title,
            arch: definition.arch,
            state,
            reason,
            moved,
            saved,
            persistent,
            autostart,
            files: definition.files,
            chains: if state.is_active() {
                definition.chains
            } else {
                Vec::new()
            },
            mark,
            stored: both.stored,
            live: state.is_active().then_some(definition.shape),
            xml,
        })
    }

    async fn has_saved_memory(&self, calls: &Calls, domain: &RemoteDomain) -> PortResult<bool> {
        let saved = calls.domain_has_managed_save_image(domain).await;
        match saved {
            Ok(saved) => Ok(saved),
            // Some of libvirt's drivers do not support this call.
            Err(error) if error.code() == Some(code::NO_SUPPORT) => Ok(false),
            Err(error) => Err(self.of_domain(domain.uuid.0, &error)),
        }
    }

    async fn read_both(&self, live: String, stored: String) -> Result<ReadDomain, XmlError> {
        let length = live.len().saturating_add(stored.len());
        let parse = move || {
            let both = domain_info::read_both(&live, &stored)?;
            Ok(ReadDomain { both, xml: live })
        };
        self.parsed_in_turn(length, parse).await
    }

    pub(super) fn of_domain(
        &self,
        uuid: Uuid,
        error: &crate::Error,
    ) -> vsiflow_steps::ports::PortError {
        self.speaking(&format!("domain {uuid}")).of(error)
    }
}

fn of_card(card: DomainInterface) -> Vec<DhcpLease> {
    let Some(mac) = card.hwaddr.map(|mac| mac.to_lowercase()) else {
        return Vec::new();
    };
    let lease = |address: IpAddress| DhcpLease {
        mac: mac.clone(),
        ip: address.address,
        hostname: None,
    };
    card.addresses.into_iter().map(lease).collect()
}

fn is_absent(error: &crate::Error) -> bool {
    error.libvirt().and_then(|error| error.absent()) == Some(Absent::Domain)
}
