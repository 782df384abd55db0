//! Calls on domains.

use std::time::Duration;

use super::{
    AddressSource, DomainInterface, MetadataKind, Procedure, RemoteDomain, RemoteDomainInfo,
    RemoteDomainState, Uuid, domain_flags,
};
use crate::connection::Calls;
use crate::error::Result;
use crate::stream::ConsoleStream;

/// Requests the list itself, not only its length.
const NEED_RESULTS: i32 = 1;

impl Calls {
    /// Lists domains; `flags` of 0 means all of them.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_list_all_domains(&self, flags: u32) -> Result<Vec<RemoteDomain>> {
        let (domains, _count): (Vec<RemoteDomain>, u32) = self
            .call(Procedure::ConnectListAllDomains, &(NEED_RESULTS, flags))
            .await?;
        Ok(domains)
    }

    /// Finds a domain by UUID.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_lookup_by_uuid(&self, uuid: Uuid) -> Result<RemoteDomain> {
        self.call(Procedure::DomainLookupByUuid, &uuid).await
    }

    /// Finds a domain by name.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_lookup_by_name(&self, name: &str) -> Result<RemoteDomain> {
        self.call(Procedure::DomainLookupByName, name).await
    }

    /// Defines a domain, or updates the one with the same name and UUID, running or not.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_FAILED` (9) if the name belongs to another UUID, `VIR_ERR_XML_DETAIL` (35) and
    /// `VIR_ERR_XML_INVALID_SCHEMA` (92) if the XML is wrong, `VIR_ERR_CONFIG_UNSUPPORTED` (67) if this
    /// host's QEMU lacks a feature.
    pub async fn domain_define_xml_flags(&self, xml: &str, flags: u32) -> Result<RemoteDomain> {
        self.call(Procedure::DomainDefineXmlFlags, &(xml, flags))
            .await
    }

    /// Sends a command to the guest's agent and waits at most `seconds` for its response.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if the guest is off, `VIR_ERR_ARGUMENT_UNSUPPORTED` (74) if it has no
    /// channel, `VIR_ERR_AGENT_UNRESPONSIVE` (86) if no agent responds.
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
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_undefine_flags(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainUndefineFlags, &(domain, flags))
            .await
    }

    /// Starts a defined domain and returns it with its new ID.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it already runs; `VIR_ERR_SYSTEM_ERROR` (38) and
    /// `VIR_ERR_INTERNAL_ERROR` (1) with QEMU's message if it does not start, which takes about 2 seconds.
    pub async fn domain_create_with_flags(
        &self,
        domain: &RemoteDomain,
        flags: u32,
    ) -> Result<RemoteDomain> {
        self.call(Procedure::DomainCreateWithFlags, &(domain, flags))
            .await
    }

    /// Ends a domain immediately, like a power failure.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run; `VIR_ERR_NO_DOMAIN` (42) if it was transient and
    /// has ended.
    pub async fn domain_destroy_flags(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainDestroyFlags, &(domain, flags))
            .await
    }

    /// Asks the guest to shut down and returns before it has. Flags of 0 let libvirt choose the method.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run; `VIR_ERR_NO_DOMAIN` (42) if it was transient and
    /// has ended.
    pub async fn domain_shutdown_flags(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainShutdownFlags, &(domain, flags))
            .await
    }

    /// Resets a domain, like its reset button.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run.
    pub async fn domain_reset(&self, domain: &RemoteDomain) -> Result<()> {
        self.call(Procedure::DomainReset, &(domain, 0_u32)).await
    }

    /// Asks the guest to reboot.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run.
    pub async fn domain_reboot(&self, domain: &RemoteDomain, flags: u32) -> Result<()> {
        self.call(Procedure::DomainReboot, &(domain, flags)).await
    }

    /// Suspends a domain; its memory stays on the host.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run.
    pub async fn domain_suspend(&self, domain: &RemoteDomain) -> Result<()> {
        self.call(Procedure::DomainSuspend, domain).await
    }

    /// Opens the domain's first serial console as a stream.
    ///
    /// `stall` is how long a single packet may wait to be accepted.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_FAILED` (9) if another client has it open, unless the flags force it;
    /// `VIR_ERR_OPERATION_INVALID` (55) if the domain is off.
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

    /// Resumes a suspended domain.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run.
    pub async fn domain_resume(&self, domain: &RemoteDomain) -> Result<()> {
        self.call(Procedure::DomainResume, domain).await
    }

    /// A domain's state and the reason for it.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_get_state(&self, domain: &RemoteDomain) -> Result<RemoteDomainState> {
        self.call(Procedure::DomainGetState, &(domain, 0_u32)).await
    }

    /// A domain's resource usage.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_get_info(&self, domain: &RemoteDomain) -> Result<RemoteDomainInfo> {
        self.call(Procedure::DomainGetInfo, domain).await
    }

    /// Whether a domain runs or is suspended.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_is_active(&self, domain: &RemoteDomain) -> Result<bool> {
        self.call::<_, i32>(Procedure::DomainIsActive, domain)
            .await
            .map(|active| active == 1)
    }

    /// Whether the domain's definition remains when it stops.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_is_persistent(&self, domain: &RemoteDomain) -> Result<bool> {
        self.call::<_, i32>(Procedure::DomainIsPersistent, domain)
            .await
            .map(|persistent| persistent == 1)
    }

    /// A domain's XML: the live definition, or with [`XML_INACTIVE`](domain_flags::XML_INACTIVE) the stored
    /// one.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_get_xml_desc(&self, domain: &RemoteDomain, flags: u32) -> Result<String> {
        self.call(Procedure::DomainGetXmlDesc, &(domain, flags))
            .await
    }

    /// Sets whether a domain starts with the host.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
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
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
    pub async fn domain_get_autostart(&self, domain: &RemoteDomain) -> Result<bool> {
        self.call::<_, i32>(Procedure::DomainGetAutostart, domain)
            .await
            .map(|on| on == 1)
    }

    /// Whether the memory of a domain that is off was saved (`virsh managedsave`). Its next start restores
    /// it.
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist, [`NO_SUPPORT`](crate::code::NO_SUPPORT) if
    /// the driver cannot save memory.
    pub async fn domain_has_managed_save_image(&self, domain: &RemoteDomain) -> Result<bool> {
        let arguments = (domain, 0_u32);
        let procedure = Procedure::DomainHasManagedSaveImage;
        let saved: i32 = self.call(procedure, &arguments).await?;
        Ok(saved == 1)
    }

    /// The definition of the domain whose memory is saved in a file.
    ///
    /// # Errors
    /// `VIR_ERR_SYSTEM_ERROR` (38) if there is no such file, `VIR_ERR_OPERATION_FAILED` (9) if the memory was
    /// not saved completely.
    pub async fn domain_save_image_get_xml_desc(&self, file: &str, flags: u32) -> Result<String> {
        let procedure = Procedure::DomainSaveImageGetXmlDesc;
        self.call(procedure, &(file, flags)).await
    }

    /// Starts a domain from memory that is saved in a file, with another definition of the same machine.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it already runs, `VIR_ERR_CONFIG_UNSUPPORTED` (67) if the
    /// definition is for another machine, `VIR_ERR_INTERNAL_ERROR` (1) with QEMU's message.
    pub async fn domain_restore_flags(&self, file: &str, xml: &str, flags: u32) -> Result<()> {
        let args = (file, Some(xml), flags);
        self.call(Procedure::DomainRestoreFlags, &args).await
    }

    /// Sets a part of a domain's metadata; `None` removes it. An element needs a prefix (`key`) and a
    /// namespace (`uri`). libvirt writes both into the element, so it must not declare them itself
    /// (`VIR_ERR_INTERNAL_ERROR`, 1).
    ///
    /// # Errors
    /// [`NO_DOMAIN`](crate::code::NO_DOMAIN) if it does not exist.
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

    /// A part of a domain's metadata.
    ///
    /// # Errors
    /// [`NO_DOMAIN_METADATA`](crate::code::NO_DOMAIN_METADATA) if it has none of this kind.
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

    /// A running domain's interfaces and addresses, as the source reports them.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run; `VIR_ERR_AGENT_UNRESPONSIVE` (86) if the guest's
    /// agent does not respond.
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

    /// Attaches a device; the flags choose the live or the stored definition.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn domain_attach_device_flags(
        &self,
        domain: &RemoteDomain,
        xml: &str,
        flags: u32,
    ) -> Result<()> {
        self.call(Procedure::DomainAttachDeviceFlags, &(domain, xml, flags))
            .await
    }

    /// Detaches a device; the flags choose the live or the stored definition.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn domain_detach_device_flags(
        &self,
        domain: &RemoteDomain,
        xml: &str,
        flags: u32,
    ) -> Result<()> {
        self.call(Procedure::DomainDetachDeviceFlags, &(domain, xml, flags))
            .await
    }

    /// Grows a disk of a running domain (by target name or path) to this size, and grows its file.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it does not run.
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
