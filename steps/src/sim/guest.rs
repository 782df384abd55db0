//! A simulated guest: its console lines and its end, as a function of time.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};

use crate::{cidata::Cidata, contract, guest::GuestType};

/// Below this a guest fails with too little memory. A real one needs 4 GiB; small test hosts have less.
const MEMORY_MIN_MIB: u64 = 400;
const SHUTDOWN_MS: u64 = 400;
const READY_MS: u64 = 1400;
const NETWORK_MS: u64 = 1000;
/// How cloud-init names itself on the console.
const CLOUD_INIT: &str = "cloud-init[512]: Cloud-init v. 22.4.2";
/// The ports on which an ordinary guest accepts connections.
const PORTS: [u16; 2] = [22, 80];

/// The ID of the process that prints cloud-init's status.
const CLOUD_INIT_PID: i64 = 7;
/// The ID of any other process that ends with 0; the next ID is one that ends with 1.
const PID: i64 = 8;
/// The ID of a process that never ends.
const ENDLESS_PID: i64 = 10;
/// The files of an ordinary guest; `NAME` is replaced by its hostname.
const FILES: [(&str, &str); 3] = [
    ("/etc/hostname", "NAME\n"),
    ("/etc/token", "token-of-NAME\n"),
    (
        "/etc/quoted",
        "a \"quoted\" word of NAME\nand another line\n",
    ),
];

/// An argument of an agent command.
fn argument<'a>(command: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    command.get("arguments")?.get(name)
}

/// The process ID of a program.
fn pid(path: &str) -> i64 {
    match path {
        "cloud-init" => CLOUD_INIT_PID,
        path if path.ends_with("/false") => PID + 1,
        path if path.ends_with("/sleep") => ENDLESS_PID,
        _ => PID,
    }
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum GuestEnded {
    /// It powered off.
    Off,
    /// It crashed.
    Crashed,
}

/// A guest that was started. Its behaviour is fixed at the start, except for a shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// When it was started, by the host's clock in milliseconds.
    pub started: u64,
    /// Its hostname, which its lease includes.
    pub hostname: Option<String>,
    lines: Vec<(u64, String)>,
    printed: usize,
    end: Option<(u64, GuestEnded)>,
    deaf: bool,
    /// The time at which it was suspended.
    #[serde(default)]
    paused: Option<u64>,
    /// Its agent, if it has one.
    #[serde(default)]
    agent: Option<Agent>,
    /// The ports on which it accepts connections.
    #[serde(default)]
    ports: Vec<u16>,
    /// Whether its HTTP server answers with an error.
    #[serde(default)]
    unhealthy: bool,
}

/// The agent of an ordinary guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Agent {
    /// Whether the setup from user-data failed; `None` if there is no cloud-init.
    set_up: Option<bool>,
    /// Whether cloud-init never ends.
    #[serde(default)]
    hangs: bool,
}

/// The configuration that a guest starts with.
#[derive(Clone, Default)]
pub(super) struct SimFound {
    pub(super) guest: GuestType,
    pub(super) memory_mib: u64,
    pub(super) cidata: Option<Cidata>,
    /// The Ignition configuration.
    pub(super) ignition: Option<Vec<u8>>,
}

impl Live {
    /// Starts a guest now with what it finds.
    pub(super) fn start(now: u64, media: SimFound) -> Self {
        let SimFound {
            guest,
            memory_mib,
            cidata,
            ignition,
        } = media;
        let user_data = cidata.as_ref().map(|cidata| &cidata.user_data);
        let words = user_data
            .or(ignition.as_ref())
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let mut live = Self {
            started: now,
            hostname: cidata.as_ref().map(|cidata| cidata.hostname.clone()),
            lines: Vec::new(),
            printed: 0,
            end: None,
            deaf: words
                .as_deref()
                .is_some_and(|words| words.contains("lab-deaf")),
            paused: None,
            agent: None,
            ports: Vec::new(),
            unhealthy: false,
        };
        let console_words = words.as_deref().unwrap_or_default();
        match guest {
            GuestType::HyperProtect => live.boot(memory_mib, cidata.as_ref(), console_words),
            guest => live.boot_ordinary(guest, cidata.as_ref(), console_words),
        }
        live
    }

    /// Boots an ordinary Linux guest, with cloud-init or Ignition if its image has one.
    fn boot_ordinary(&mut self, guest: GuestType, cidata: Option<&Cidata>, words: &str) {
        self.print_after(50, "[    0.000000] Linux version 6.1.0 (simulated)");
        let fails = words.contains("lab-fail");
        match guest {
            GuestType::CloudInit => self.print_after(600, &format!("{CLOUD_INIT} running 'init'")),
            GuestType::Ignition => {
                self.print_after(600, "ignition[312]: Ignition finished successfully")
            }
            _ => {}
        }
        if !words.contains("lab-closed") {
            self.ports = PORTS.to_vec();
        }
        self.unhealthy = words.contains("lab-unhealthy");
        let set_up = (guest == GuestType::CloudInit).then_some(fails);
        let hangs = words.contains("lab-hang");
        self.agent = (!words.contains("lab-silent")).then_some(Agent { set_up, hangs });
        if hangs {
            return self.print_after(1300, "lab: hanging before success");
        }
        if guest == GuestType::CloudInit {
            self.set_up(cidata.is_some(), fails);
        }
        let name = self
            .hostname
            .clone()
            .unwrap_or_else(|| "localhost".to_owned());
        self.print_after(READY_MS, &format!("{name} login: "));
        self.knobs(words);
    }

    fn set_up(&mut self, seed: bool, fails: bool) {
        if fails {
            let failed = "cc_scripts_user.py[WARNING]: Failed to run module scripts-user (scripts in /var/lib/cloud/instance/scripts)";
            self.print_after(READY_MS, failed);
        }
        let source = if seed {
            "DataSourceNoCloud [seed=/dev/vdb][dsmode=net]"
        } else {
            "DataSourceNone"
        };
        let end = format!(
            "{CLOUD_INIT} finished at Thu, 01 Jan 1970 00:00:01 +0000. Datasource {source}.  Up 1.40 seconds"
        );
        self.print_after(READY_MS, &end);
    }

    /// The agent's answer to a command; `None` if the agent does not answer.
    pub(super) fn agent(&self, command: &str, now: u64) -> Option<String> {
        let agent = self.agent.as_ref().filter(|_| self.has_network(now))?;
        if self.paused.is_some() {
            return None;
        }
        let command: serde_json::Value = serde_json::from_str(command).ok()?;
        let answer = match command.get("execute")?.as_str()? {
            "guest-exec" => {
                let path = argument(&command, "path")?.as_str()?;
                serde_json::json!({"return": {"pid": pid(path)}})
            }
            "guest-exec-status" => match argument(&command, "pid")?.as_i64()? {
                CLOUD_INIT_PID => self.cloud_init_status(agent, now)?,
                ENDLESS_PID => serde_json::json!({"return": {"exited": false}}),
                pid => serde_json::json!({"return": {"exited": true, "exitcode": pid - PID}}),
            },
            "guest-file-open" => {
                let path = argument(&command, "path")?.as_str()?;
                let handle = FILES.iter().position(|(name, _)| *name == path)?;
                serde_json::json!({"return": handle})
            }
            "guest-file-read" => {
                let handle = argument(&command, "handle")?.as_u64()?;
                let (_, content) = FILES.get(usize::try_from(handle).ok()?)?;
                let name = self.hostname.as_deref().unwrap_or("localhost");
                let text = content.replace("NAME", name);
                serde_json::json!({"return": {"buf-b64": BASE64.encode(text), "eof": true}})
            }
            _ => serde_json::json!({"return": {}}),
        };
        Some(answer.to_string())
    }

    fn cloud_init_status(&self, agent: &Agent, now: u64) -> Option<serde_json::Value> {
        let fails = agent.set_up?;
        let ends = self.started.saturating_add(READY_MS);
        let text = match fails {
            _ if agent.hangs || now < ends => "status: running\n",
            true => {
                "status: error\ndetail:\n('scripts-user', RuntimeError('Runparts: 1 failures'))\n"
            }
            false => "status: done\n",
        };
        let printed = BASE64.encode(text);
        Some(
            serde_json::json!({"return": {"exited": true, "exitcode": i32::from(fails), "out-data": printed}}),
        )
    }

    /// Whether a port accepts connections once the network is up, and the status of its HTTP server, if
    /// any.
    pub(super) fn serves(&self, port: u16, now: u64) -> Option<Option<u16>> {
        let up = self.paused.is_none() && self.has_network(now) && self.ports.contains(&port);
        let status = if self.unhealthy { 503 } else { 200 };
        up.then_some((port == 80).then_some(status))
    }

    fn boot(&mut self, memory_mib: u64, cidata: Option<&Cidata>, words: &str) {
        self.print_after(50, "# HPL11 build:24.11.0 enabler:24.11.0");
        if memory_mib < MEMORY_MIN_MIB {
            let have = format!("# HPL11003E: Not enough memory: {memory_mib} MiB available");
            return self.fail(100, &have);
        }
        for (at, stage) in [
            (150, "create new root partition"),
            (250, "encrypt root partition"),
        ] {
            self.print_after(at, &format!("# {stage}..."));
        }
        self.print_after(500, "# decrypt user-data...");
        match cidata.map(|cidata| contract::check(&cidata.user_data)) {
            Some(Ok(())) => self.print_after(550, "2 token decrypted, 0 encrypted token ignored"),
            Some(Err(_)) => return self.fail(550, "# HPL11001E: The contract is not valid"),
            None => {
                return self.fail(
                    550,
                    "# HPL11001E: No volume with the label cidata was found",
                );
            }
        }
        self.print_after(800, "# HPL11099I: bootloader end");
        let network = "HPL14000I: Network connectivity check completed successfully.";
        self.print_after(NETWORK_MS, &format!("hpcr-dnslookup[860]: {network}"));
        self.print_after(
            1200,
            "hpcr-logging[1124]: HPL01010I: Logging has been setup successfully.",
        );
        self.services(words);
    }

    fn services(&mut self, words: &str) {
        if words.contains("lab-hang") {
            return self.print_after(1300, "lab: hanging before success");
        }
        let unit = "hpcr-catch-success[1421]";
        self.print_after(READY_MS, &format!("{unit}: VSI has started successfully."));
        self.print_after(READY_MS, &format!("{unit}: HPL10001I: Services succeeded"));
        self.knobs(words);
    }

    /// Behaviour after it is ready, requested by words in its configuration.
    fn knobs(&mut self, words: &str) {
        let later = READY_MS.saturating_add(2000);
        if words.contains("lab-panic") {
            self.print_after(later, "Kernel panic - not syncing: sysrq triggered crash");
            self.end_at(later, GuestEnded::Crashed);
        } else if words.contains("lab-off") {
            self.end_at(later, GuestEnded::Off);
        }
    }

    fn print_after(&mut self, after_ms: u64, line: &str) {
        self.lines
            .push((self.started.saturating_add(after_ms), line.to_owned()));
    }

    fn fail(&mut self, after_ms: u64, reason: &str) {
        self.print_after(after_ms, reason);
        let unit = "hpcr-catch-failed[1421]";
        self.print_after(after_ms, &format!("{unit}: VSI has failed to start!"));
        self.print_after(
            after_ms,
            &format!("{unit}: HPL10000E: One or more service failed"),
        );
        self.end_at(after_ms.saturating_add(200), GuestEnded::Off);
    }

    fn end_at(&mut self, after_ms: u64, ended: GuestEnded) {
        self.end = Some((self.started.saturating_add(after_ms), ended));
    }

    /// Asks the guest to power off. It is ignored before the system is up, and while the guest shuts
    /// down.
    pub(super) fn shut_down(&mut self, now: u64) {
        if self.deaf || self.paused.is_some() || !self.has_network(now) {
            return;
        }
        let off = now.saturating_add(SHUTDOWN_MS);
        if matches!(self.end, Some((at, GuestEnded::Off)) if at <= off) {
            return;
        }
        self.lines.retain(|(at, _)| *at <= now);
        self.lines
            .push((now, "lab: quiesce, powering off".to_owned()));
        if self.end.is_none_or(|(at, _)| at > off) {
            self.end = Some((off, GuestEnded::Off));
        }
    }

    /// Stops the guest's clock.
    pub(super) fn pause(&mut self, now: u64) {
        self.paused.get_or_insert(now);
    }

    /// Resumes the guest: everything still to come is delayed by the length of the pause.
    pub(super) fn unpause(&mut self, now: u64) {
        let Some(since) = self.paused.take() else {
            return;
        };
        let stood = now.saturating_sub(since);
        let later = |at: &mut u64| *at = at.saturating_add(stood);
        let unprinted = self.lines.iter_mut().skip(self.printed);
        unprinted.for_each(|(at, _)| later(at));
        if let Some((at, _)) = self.end.as_mut() {
            later(at);
        }
    }

    /// Whether its network is up.
    pub fn has_network(&self, now: u64) -> bool {
        now >= self.started.saturating_add(NETWORK_MS)
    }

    /// The time at which it next prints or ends, if ever.
    pub(super) fn next(&self) -> Option<u64> {
        let line = self.lines.get(self.printed).map(|(at, _)| *at);
        let end = self.end.map(|(at, _)| at);
        let next = line.into_iter().chain(end).min()?;
        self.paused
            .is_none_or(|since| next <= since)
            .then_some(next)
    }

    /// Returns what it printed since the last call, and how it ended, if it did.
    pub(super) fn advance(&mut self, now: u64) -> (Vec<u8>, Option<GuestEnded>) {
        let guest_time = self.paused.map_or(now, |since| now.min(since));
        let end = self.end.filter(|(at, _)| *at <= guest_time);
        let due = self
            .lines
            .iter()
            .skip(self.printed)
            .take_while(|(at, _)| *at <= guest_time);
        let lines: Vec<&str> = due.map(|(_, line)| line.as_str()).collect();
        let bytes = lines
            .iter()
            .flat_map(|line| [line.as_bytes(), b"\r\n"])
            .flatten()
            .copied()
            .collect();
        self.printed = self.printed.saturating_add(lines.len());
        (bytes, end.map(|(_, ended)| ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_going_down_hears_no_second_request() {
        let mut live = Live::start(
            0,
            SimFound {
                memory_mib: 4_096,
                ..SimFound::default()
            },
        );
        (live.lines, live.end) = (Vec::new(), None);
        live.shut_down(NETWORK_MS);
        live.shut_down(NETWORK_MS + 1);
        let (output, ended) = live.advance(NETWORK_MS + SHUTDOWN_MS);
        assert_eq!(output, b"lab: quiesce, powering off\r\n");
        assert_eq!(ended, Some(GuestEnded::Off));
    }
}
