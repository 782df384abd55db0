//! Implements the host port: facts, capacity and commands of a host.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_steps::host_text;
use vsiflow_steps::ports::{
    GuestStats, GuestSupport, HostCapacity, HostCare, HostChanges, HostFacts, HostPort, HostUuid,
    PortError, PortErrorKind, PortResult,
};

use super::LibvirtHost;
use crate::{
    events::{DomainEvents, EventReceived},
    protocol::DomainStats,
    xml::capabilities,
};

const COMMAND: Duration = Duration::from_secs(15);
/// How long a host may take to report the resource usage of its guests.
const STATS: Duration = Duration::from_secs(10);
/// Reads libvirt's settings in force. A file that cannot be read leaves the defaults.
const CARE: &str = "cat /etc/libvirt/virtlogd.conf /etc/libvirt/qemu.conf 2>/dev/null \
    | grep -E '^[[:space:]]*(max_size|stdio_handler)[[:space:]]*='; true";
/// Identifies the current start of libvirt's daemon, monolithic or modular.
const DAEMON: &str = "cat /proc/sys/kernel/random/boot_id; \
    for p in libvirtd virtqemud; do f=/var/run/$p.pid; \
    if [ -r $f ]; then echo \"$p pid $(cat $f) since $(stat -c %Y $f)\"; fi; done; true";
/// Lists the host's addresses with any available tool; local routes lead to the host itself.
const ADDRESSES: &str = "{ ip -o addr show || hostname -I || \
    awk '/32 host LOCAL/ {print p} {p=$2}' /proc/net/fib_trie; } 2>/dev/null; true";
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

#[async_trait]
impl HostPort for LibvirtHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn facts(&self) -> PortResult<HostFacts> {
        let calls = self.quick().await?;
        let context = self.speaking("");
        let hostname = calls
            .connect_get_hostname()
            .await
            .map_err(|e| context.of(&e))?;
        let version = calls
            .connect_get_lib_version()
            .await
            .map_err(|e| context.of(&e))?;
        let boot_id = self.boot_id().await?;
        Ok(HostFacts {
            hostname,
            libvirt_version: version.to_string(),
            shell: boot_id.is_some(),
            boot_id,
        })
    }

    async fn machine(&self) -> PortResult<Option<String>> {
        let machine = self.session.machine().await;
        machine.map_err(|error| self.unconnected(&error))
    }

    fn pin(&self, machine: Option<&str>) {
        self.session.pin(machine);
    }

    async fn uuid(&self) -> PortResult<Option<HostUuid>> {
        let calls = self.quick().await?;
        let context = self.speaking("");
        let xml_reply = calls.connect_get_capabilities().await;
        let xml = xml_reply.map_err(|e| context.of(&e))?;
        let uuid = self.parsed(xml, capabilities::host_uuid).await;
        let Some(uuid) = uuid.map_err(|e| context.unreadable(&e))? else {
            return Ok(None);
        };
        let daemon = match self.command(DAEMON, COMMAND).await {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| text.contains("pid ")),
            Err(error) if error.kind == PortErrorKind::Denied => None,
            Err(error) => return Err(error),
        };
        Ok(Some(HostUuid { uuid, daemon }))
    }

    fn pin_uuid(&self, uuid: Option<Uuid>) {
        self.session.pin_uuid(uuid);
    }

    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>> {
        let calls = self.quick().await?;
        let context = self.speaking("");
        let xml = calls
            .connect_get_capabilities()
            .await
            .map_err(|e| context.of(&e))?;
        let wanted = arch.to_owned();
        let parsed_support = self.parsed(xml, move |xml| capabilities::guest_support(xml, &wanted));
        let Some(mut support) = parsed_support.await.map_err(|e| context.unreadable(&e))? else {
            return Ok(None);
        };
        let (machine, kind) = (support.machine.clone(), support.domain_type.clone());
        let capabilities = calls
            .connect_get_domain_capabilities(Some(arch), Some(&machine), Some(&kind))
            .await
            .map_err(|e| context.of(&e))?;
        let secure = self.parsed(capabilities, capabilities::has_secure_execution);
        support.secure_execution = secure.await.map_err(|e| context.unreadable(&e))?;
        Ok(Some(support))
    }

    async fn capacity(&self) -> PortResult<Option<HostCapacity>> {
        let calls = self.quick().await?;
        let node_reply = calls.node_get_info().await;
        let node = node_reply.map_err(|e| self.speaking("").of(&e))?;
        Ok(capacity(node.cpus, node.memory))
    }

    async fn guest_stats(&self) -> PortResult<Option<Vec<GuestStats>>> {
        let connection = self.session.control().await;
        let calls = connection.map_err(|e| self.unconnected(&e))?.within(STATS);
        let stats_reply = calls.connect_get_all_domain_stats().await;
        let stats_of_domains = stats_reply.map_err(|e| self.speaking("").of(&e))?;
        Ok(Some(stats_of_domains.iter().map(stats).collect()))
    }

    async fn care(&self) -> PortResult<Option<HostCare>> {
        match self.command(CARE, COMMAND).await {
            Ok(text) => Ok(Some(parse_logging(&text))),
            Err(error) if error.kind == PortErrorKind::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn changes(&self) -> PortResult<Option<Box<dyn HostChanges>>> {
        let events = self.quick().await?.domain_events().await;
        let (events, host) = (
            events.map_err(|e| self.speaking("").of(&e))?,
            self.name.clone(),
        );
        Ok(Some(Box::new(Changes { events, host })))
    }

    async fn leave(&self) {
        self.session.leave().await;
    }
}

/// Lifecycle events of any cause.
struct Changes {
    events: DomainEvents,
    host: String,
}

#[async_trait]
impl HostChanges for Changes {
    async fn next(&mut self) -> PortResult<Option<Uuid>> {
        match self.events.next().await {
            EventReceived::Event(event) => Ok(Some(event.domain.uuid.0)),
            EventReceived::Missed(_) => Ok(None),
            EventReceived::Ended(reason) => {
                let (kind, why) = (PortErrorKind::Unreachable, reason.to_string());
                Err(PortError::new(kind, &self.host, "", why))
            }
        }
    }
}

fn stats(stats: &DomainStats) -> GuestStats {
    let used = stats.used;
    let bytes = |kib: Option<u64>| kib.and_then(|kib| kib.checked_mul(1024));
    GuestStats {
        uuid: stats.domain.uuid.0,
        cpu_ns: used.cpu_time,
        memory: bytes(used.balloon),
        memory_resident: bytes(used.rss),
        disk_read: used.block_rd_bytes,
        disk_written: used.block_wr_bytes,
        disk_reads: used.block_rd_reqs,
        disk_writes: used.block_wr_reqs,
        net_received: used.net_rx_bytes,
        net_sent: used.net_tx_bytes,
    }
}

/// The host's hardware as libvirt reports it, memory in KiB. Values that are not positive mean unknown.
fn capacity(cpus: i32, memory_kib: u64) -> Option<HostCapacity> {
    let cpus = u32::try_from(cpus).ok().filter(|cpus| *cpus > 0)?;
    let memory = memory_kib.checked_mul(1024).filter(|bytes| *bytes > 0)?;
    Some(HostCapacity { cpus, memory })
}

impl LibvirtHost {
    /// The host's boot ID; `None` if the host does not permit commands.
    async fn boot_id(&self) -> PortResult<Option<String>> {
        match self.command(BOOT_ID, COMMAND).await {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|id| !id.is_empty())),
            Err(error) if error.kind == PortErrorKind::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a command and returns its standard output. `Denied` if the host does not permit commands, or the
    /// command does not exist.
    pub(super) async fn command(&self, command: &str, within: Duration) -> PortResult<String> {
        const MAX: usize = 4 << 20;
        let object = format!("command {command}");
        let context = self.speaking(&object);
        let output = self
            .session
            .exec(command, MAX, within)
            .await
            .map_err(|e| context.exec(&e))?;
        if output.truncated {
            let words = format!("it printed more than {MAX} bytes");
            return Err(context.error(PortErrorKind::Other, words));
        }
        if output.success() {
            return Ok(host_text::read(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // 126 and 127 are exit codes of the shell: not permitted, not found.
        let kind = match output.status {
            Some(126 | 127) => PortErrorKind::Denied,
            _ => PortErrorKind::Other,
        };
        Err(context.error(
            kind,
            if text.is_empty() {
                "it failed without a word".into()
            } else {
                text
            },
        ))
    }

    /// The host's own addresses; empty if the host does not permit commands.
    pub(super) async fn own_addresses(&self) -> PortResult<Vec<IpAddr>> {
        if !self.has_shell().await? {
            return Ok(Vec::new());
        }
        let text = self.command(ADDRESSES, COMMAND).await?;
        Ok(addresses(&text))
    }

    /// Whether the host permits commands. Asked only once.
    pub(super) async fn has_shell(&self) -> PortResult<bool> {
        let has_shell = self
            .shell
            .get_or_try_init(|| async { Ok(self.boot_id().await?.is_some()) });
        has_shell.await.copied()
    }
}

/// Every address in a text.
fn addresses(text: &str) -> Vec<IpAddr> {
    let words = text.split_ascii_whitespace();
    let bare = words.filter_map(|word| word.split(['/', '%']).next()?.parse::<IpAddr>().ok());
    bare.map(|ip| ip.to_canonical()).collect()
}

/// Quotes a text as one word for a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Parses lines such as `max_size = 2097152` and `stdio_handler = "logd"`.
fn parse_logging(text: &str) -> HostCare {
    let mut care = HostCare::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let uncommented = value.split('#').next().unwrap_or_default();
        let setting = uncommented.trim().trim_matches('"');
        match (key.trim(), setting.parse()) {
            ("max_size", Ok(size)) => care.log_bytes = size,
            ("stdio_handler", _) => setting.clone_into(&mut care.log_handler),
            _ => {}
        }
    }
    care
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_addresses_are_found_in_what_its_tools_print() {
        let ip = "2: virbr0    inet 192.168.122.1/24 brd 192.168.122.255 scope global virbr0\n\
                  2: virbr0    inet6 fd00::1/64 scope global\n";
        let found = addresses(ip);
        for own in ["192.168.122.1", "fd00::1"] {
            assert!(found.contains(&own.parse().unwrap()), "{found:?}");
        }
        assert_eq!(addresses("10.0.0.1 fd00::2 \n").len(), 2);
        assert!(addresses("").is_empty());
    }

    #[test]
    fn settings_of_the_console_log_are_read_and_their_defaults_are_libvirts() {
        assert_eq!(parse_logging("").log_bytes, 2_097_152);
        let set = parse_logging("max_size = 4096 # small\n  stdio_handler = \"file\"\n");
        assert_eq!((set.log_bytes, set.log_handler.as_str()), (4_096, "file"));
        assert_eq!(
            parse_logging("max_size = much\n=\nrubbish"),
            HostCare::default()
        );
    }
}
