//! The machine.

use std::time::Duration;

use async_trait::async_trait;
use vsiflow_steps::ports::{GuestSupport, HostFacts, HostPort, PortErrorKind, PortResult};

use super::LibvirtHost;
use crate::xml::capabilities;

const COMMAND: Duration = Duration::from_secs(15);
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

#[async_trait]
impl HostPort for LibvirtHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn facts(&self) -> PortResult<HostFacts> {
        let calls = self.quick().await?;
        let at = self.speaking("");
        let hostname = calls.connect_get_hostname().await.map_err(|e| at.of(&e))?;
        let version = calls
            .connect_get_lib_version()
            .await
            .map_err(|e| at.of(&e))?;
        let boot_id = self.boot_id().await?;
        Ok(HostFacts {
            hostname,
            libvirt_version: version.to_string(),
            shell: boot_id.is_some(),
            boot_id,
        })
    }

    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>> {
        let calls = self.quick().await?;
        let at = self.speaking("");
        let xml = calls
            .connect_get_capabilities()
            .await
            .map_err(|e| at.of(&e))?;
        let found = capabilities::guest_support(&xml, arch).map_err(|e| at.unreadable(&e))?;
        let Some(mut support) = found else {
            return Ok(None);
        };
        let (machine, kind) = (support.machine.clone(), support.domain_type.clone());
        let xml = calls
            .connect_get_domain_capabilities(Some(arch), Some(&machine), Some(&kind))
            .await
            .map_err(|e| at.of(&e))?;
        support.secure_execution =
            capabilities::has_secure_execution(&xml).map_err(|e| at.unreadable(&e))?;
        Ok(Some(support))
    }
}

impl LibvirtHost {
    /// The host's boot id; `None` where it runs no command for us.
    async fn boot_id(&self) -> PortResult<Option<String>> {
        match self.command(BOOT_ID, COMMAND).await {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|id| !id.is_empty())),
            Err(error) if error.kind == PortErrorKind::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a command; its standard output. `Denied` where the host runs none for us, or the
    /// command is not there.
    pub(super) async fn command(&self, command: &str, within: Duration) -> PortResult<String> {
        const MOST: usize = 64 * 1024;
        let object = format!("command {command}");
        let at = self.speaking(&object);
        let output = self
            .session
            .exec(command, MOST, within)
            .await
            .map_err(|e| at.exec(&e))?;
        if output.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // 126 and 127 are the shell's own: not permitted, not found.
        let kind = match output.status {
            Some(126 | 127) => PortErrorKind::Denied,
            _ => PortErrorKind::Other,
        };
        Err(at.error(
            kind,
            if said.is_empty() {
                "it failed without a word".into()
            } else {
                said
            },
        ))
    }

    /// Whether the host runs commands for us; asked once.
    pub(super) async fn has_shell(&self) -> PortResult<bool> {
        let asked = self
            .shell
            .get_or_try_init(|| async { Ok(self.boot_id().await?.is_some()) });
        asked.await.copied()
    }
}

/// A text as one word for a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
