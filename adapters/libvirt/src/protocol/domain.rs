//! Domains: the guests.

use std::time::Duration;

use super::{
    AddressSource, DomainInterface, MetadataKind, Procedure, RemoteDomain, RemoteDomainInfo,
    RemoteDomainState, Uuid, domain_flags,
};
use crate::connection::Calls;
use crate::error::Result;
use crate::stream::ConsoleStream;

/// Asks for the list itself, not only for its length.
const NEED_RESULTS: i32 = 1;

impl Calls {
    /// Lists domains; `flags` of 0 means all of them.
    ///
    /// # Errors
    /// As of every call, see [`Error`](crate::Error).
    pub async fn connect_list_all_domains(&self, flags: u32) -> Result<Vec<RemoteDomain>> {
        let (domains, _count): (Vec<RemoteDomain>, u32) = self
            .call(Procedure::ConnectListAllDomains, &(NEED_RESULTS, flags))
            .await?;
        Ok(domains)
    }

    /// Finds a domain by UUID.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_lookup_by_uuid(&self, uuid: Uuid) -> Result<RemoteDomain> {
        self.call(Procedure::DomainLookupByUuid, &uuid).await
    }

    /// Finds a domain by name.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_lookup_by_name(&self, name: &str) -> Result<RemoteDomain> {
        self.call(Procedure::DomainLookupByName, name).await
    }

    /// Defines a domain, or updates the one with the same name and UUID, running or not.
    ///
    /// # Errors
    /// 9 where the name belongs to another UUID, 35 and 92 for XML that is wrong, 67 for what this
    /// host's QEMU lacks.
    pub async fn domain_define_xml_flags(&self, xml: &str, flags: u32) -> Result<RemoteDomain> {
        self.call(Procedure::DomainDefineXmlFlags, &(xml, flags))
            .await
    }

    /// Has the guest's agent carry out a command, and waits so many seconds for its answer.
    ///
    /// # Errors
    /// 55 where the guest is off, 74 where it has no channel, 86 where no agent answers.
    pub async fn qemu_domain_agent_command(
        &self,
        domain: &RemoteDomain,
        command: &str,
        seconds: i32,
    ) -> Result<Option<String>> {
        const FLAGS: u32 = 0;
        self.call(
            Procedure::QemuDomainAgentCommand,
            &(domain, command, seconds, FLAGS),
        )
        .await
    }

    /// Removes a definition. A running domain becomes transient and vanishes when it stops.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_undefine_flags(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainUndefineFlags, &(domain, flags))
            .await
    }

    /// Starts a defined domain; answers it with its new id.
    ///
    /// # Errors
    /// 55 where it runs already; 38 and 1 with QEMU's words where it does not come up, which takes
    /// about 2 seconds.
    pub async fn domain_create_with_flags(
        &self,
        domain: &RemoteDomain,
        flags: u32,
    ) -> Result<RemoteDomain> {
        self.call(Procedure::DomainCreateWithFlags, &(domain, flags))
            .await
    }

    /// Ends a domain at once, as pulling the plug does.
    ///
    /// # Errors
    /// 55 where it does not run; 42 where it was transient and is gone.
    pub async fn domain_destroy_flags(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainDestroyFlags, &(domain, flags))
            .await
    }

    /// Asks the guest to shut down; returns before it has. 0 lets libvirt choose how.
    ///
    /// # Errors
    /// 55 where it does not run; 42 where it was transient and is gone.
    pub async fn domain_shutdown_flags(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainShutdownFlags, &(domain, flags))
            .await
    }

    /// Resets a domain, as its button does.
    ///
    /// # Errors
    /// 55 where it does not run.
    pub async fn domain_reset(&self, domain: &RemoteDomain) -> Result<()> {
        self.call(Procedure::DomainReset, &(domain, 0_u32)).await
    }

    /// Asks the guest to reboot.
    ///
    /// # Errors
    /// 55 where it does not run.
    pub async fn domain_reboot(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainReboot, &(domain, flags)).await
    }

    /// Suspends a domain; its memory stays.
    ///
    /// # Errors
    /// 55 where it does not run.
    pub async fn domain_suspend(&self, domain: &RemoteDomain) -> Result<()> {
        self.call(Procedure::DomainSuspend, domain).await
    }

    /// Opens the domain's first serial console as a stream.
    ///
    /// `stall` is how long any one packet may wait to be taken.
    ///
    /// # Errors
    /// 9 where somebody has it open, unless the flags take it over; 55 where the domain is off.
    pub async fn domain_open_console(
        &self,
        domain: &RemoteDomain,
        flags: u32,
        stall: Duration,
    ) -> Result<ConsoleStream> {
        let device: Option<&str> = None;
        let args = (domain, device, flags);
        self.open_both_ways(Procedure::DomainOpenConsole, &args, stall)
            .await
    }

    /// Lets a suspended domain continue.
    ///
    /// # Errors
    /// 55 where it does not run.
    pub async fn domain_resume(&self, domain: &RemoteDomain) -> Result<()> {
        self.call(Procedure::DomainResume, domain).await
    }

    /// A domain's state and why it is in it.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_get_state(&self, domain: &RemoteDomain) -> Result<RemoteDomainState> {
        self.call(Procedure::DomainGetState, &(domain, 0_u32)).await
    }

    /// What a domain uses.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_get_info(&self, domain: &RemoteDomain) -> Result<RemoteDomainInfo> {
        self.call(Procedure::DomainGetInfo, domain).await
    }

    /// Whether a domain runs, or is suspended.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_is_active(&self, domain: &RemoteDomain) -> Result<bool> {
        self.call::<_, i32>(Procedure::DomainIsActive, domain)
            .await
            .map(|active| active == 1)
    }

    /// Whether a definition of the domain stays when it stops.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_is_persistent(&self, domain: &RemoteDomain) -> Result<bool> {
        self.call::<_, i32>(Procedure::DomainIsPersistent, domain)
            .await
            .map(|persistent| persistent == 1)
    }

    /// A domain's XML: of its present run, or with
    /// [`XML_INACTIVE`](domain_flags::XML_INACTIVE) its stored definition.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_get_xml_desc(&self, domain: &RemoteDomain, flags: u32) -> Result<String> {
        self.call(Procedure::DomainGetXmlDesc, &(domain, flags))
            .await
    }

    /// Sets whether a domain starts with the host.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_set_autostart(&self, domain: &RemoteDomain, autostart: bool) -> Result<()> {
        self.call(
            Procedure::DomainSetAutostart,
            &(domain, i32::from(autostart)),
        )
        .await
    }

    /// Whether a domain starts with the host.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_get_autostart(&self, domain: &RemoteDomain) -> Result<bool> {
        self.call::<_, i32>(Procedure::DomainGetAutostart, domain)
            .await
            .map(|on| on == 1)
    }

    /// Whether the memory of a domain that is off was saved (`virsh managedsave`): its next start
    /// takes it up.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none,
    /// [`NO_SUPPORT`](crate::code::NO_SUPPORT) of a driver that saves none.
    pub async fn domain_has_managed_save_image(&self, domain: &RemoteDomain) -> Result<bool> {
        let arguments = (domain, 0_u32);
        let procedure = Procedure::DomainHasManagedSaveImage;
        let saved: i32 = self.call(procedure, &arguments).await?;
        Ok(saved == 1)
    }

    /// The definition of the domain whose memory is saved in a file.
    ///
    /// # Errors
    /// 38 where there is no such file, 9 (operation failed) where the memory was not saved to its end.
    pub async fn domain_save_image_get_xml_desc(&self, file: &str, flags: u32) -> Result<String> {
        let procedure = Procedure::DomainSaveImageGetXmlDesc;
        self.call(procedure, &(file, flags)).await
    }

    /// Starts a domain from the memory that is saved in a file, with another definition of the same
    /// machine.
    ///
    /// # Errors
    /// 55 where it runs already, 67 where the definition is that of another machine, 1 with QEMU's words.
    pub async fn domain_restore_flags(&self, file: &str, xml: &str, flags: u32) -> Result<()> {
        let args = (file, Some(xml), flags);
        self.call(Procedure::DomainRestoreFlags, &args).await
    }

    /// Sets a part of a domain's description; `None` removes it. An element needs the prefix (`key`)
    /// and the namespace (`uri`) it is to have; libvirt writes both into it, so that it must not
    /// declare them itself (code 1).
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) where there is none.
    pub async fn domain_set_metadata(
        &self,
        domain: &RemoteDomain,
        kind: MetadataKind,
        metadata: Option<&str>,
        key: Option<&str>,
        uri: Option<&str>,
        flags: u32,
    ) -> Result<()> {
        let args = (domain, kind, metadata, key, uri, flags);
        self.call(Procedure::DomainSetMetadata, &args).await
    }

    /// A part of a domain's description.
    ///
    /// # Errors
    /// [`NO_DOMAIN_METADATA`](crate::code::NO_DOMAIN_METADATA) where it has none of that kind.
    pub async fn domain_get_metadata(
        &self,
        domain: &RemoteDomain,
        kind: MetadataKind,
        uri: Option<&str>,
        flags: u32,
    ) -> Result<String> {
        self.call(Procedure::DomainGetMetadata, &(domain, kind, uri, flags))
            .await
    }

    /// A running domain's interfaces and addresses, as the source knows them.
    ///
    /// # Errors
    /// 55 where it does not run; 86 where the guest's agent is silent.
    pub async fn domain_interface_addresses(
        &self,
        domain: &RemoteDomain,
        source: AddressSource,
    ) -> Result<Vec<DomainInterface>> {
        self.call(
            Procedure::DomainInterfaceAddresses,
            &(domain, source, 0_u32),
        )
        .await
    }

    /// Attaches a device; the flags say where.
    ///
    /// # Errors
    /// As of every call, see [`Error`](crate::Error).
    pub async fn domain_attach_device_flags(
        &self,
        domain: &RemoteDomain,
        xml: &str,
        flags: u32,
    ) -> Result<()> {
        self.call(Procedure::DomainAttachDeviceFlags, &(domain, xml, flags))
            .await
    }

    /// Detaches a device; the flags say where.
    ///
    /// # Errors
    /// As of every call, see [`Error`](crate::Error).
    pub async fn domain_detach_device_flags(
        &self,
        domain: &RemoteDomain,
        xml: &str,
        flags: u32,
    ) -> Result<()> {
        self.call(Procedure::DomainDetachDeviceFlags, &(domain, xml, flags))
            .await
    }

    /// Tells a running domain that one of its disks (by target name or path) has grown to so many
    /// bytes, and grows its file.
    ///
    /// # Errors
    /// 55 where it does not run.
    pub async fn domain_block_resize(
        &self,
        domain: &RemoteDomain,
        disk: &str,
        bytes: u64,
    ) -> Result<()> {
        let args = (domain, disk, bytes, domain_flags::BLOCK_RESIZE_BYTES);
        self.call(Procedure::DomainBlockResize, &args).await
    }
}
