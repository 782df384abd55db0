//! A simulated guest: what it prints, and how it ends, as a function of time.

use serde::{Deserialize, Serialize};

use crate::{cidata::Cidata, contract};

/// Below this a real guest would refuse at 4 GiB; small hosts for tests have less.
const MEMORY_MIN_MIB: u64 = 400;
const SHUTDOWN_MS: u64 = 400;
const READY_MS: u64 = 1400;
const NETWORK_MS: u64 = 1000;

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ended {
    /// It powered off.
    Off,
    /// It crashed.
    Crashed,
}

/// A guest that was started. What it will do is settled then, but for a shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// When it was started, by the host's clock in milliseconds.
    pub started: u64,
    /// Its name for itself, which its lease carries.
    pub hostname: Option<String>,
    lines: Vec<(u64, String)>,
    printed: usize,
    end: Option<(u64, Ended)>,
    deaf: bool,
    /// Since when it is suspended.
    #[serde(default)]
    paused: Option<u64>,
}

impl Live {
    /// A guest that starts now with this memory and what its cidata holds.
    pub(super) fn start(now: u64, memory_mib: u64, cidata: Option<Cidata>) -> Self {
        let words = cidata
            .as_ref()
            .map(|c| String::from_utf8_lossy(&c.user_data).into_owned());
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
        };
        live.boot(
            memory_mib,
            cidata.as_ref(),
            words.as_deref().unwrap_or_default(),
        );
        live
    }

    fn boot(&mut self, memory_mib: u64, cidata: Option<&Cidata>, words: &str) {
        self.say(50, "# HPL11 build:24.11.0 enabler:24.11.0");
        if memory_mib < MEMORY_MIN_MIB {
            let have = format!("# HPL11003E: Not enough memory: {memory_mib} MiB available");
            return self.fail(100, &have);
        }
        for (at, stage) in [
            (150, "create new root partition"),
            (250, "encrypt root partition"),
        ] {
            self.say(at, &format!("# {stage}..."));
        }
        self.say(500, "# decrypt user-data...");
        match cidata.map(|cidata| contract::check(&cidata.user_data)) {
            Some(Ok(())) => self.say(550, "2 token decrypted, 0 encrypted token ignored"),
            Some(Err(_)) => return self.fail(550, "# HPL11001E: The contract is not valid"),
            None => {
                return self.fail(
                    550,
                    "# HPL11001E: No volume with the label cidata was found",
                );
            }
        }
        self.say(800, "# HPL11099I: bootloader end");
        let network = "HPL14000I: Network connectivity check completed successfully.";
        self.say(NETWORK_MS, &format!("hpcr-dnslookup[860]: {network}"));
        self.say(
            1200,
            "hpcr-logging[1124]: HPL01010I: Logging has been setup successfully.",
        );
        self.services(words);
    }

    fn services(&mut self, words: &str) {
        if words.contains("lab-hang") {
            return self.say(1300, "lab: hanging before success");
        }
        let unit = "hpcr-catch-success[1421]";
        self.say(READY_MS, &format!("{unit}: VSI has started successfully."));
        self.say(READY_MS, &format!("{unit}: HPL10001I: Services succeeded"));
        let later = READY_MS.saturating_add(2000);
        if words.contains("lab-panic") {
            self.say(later, "Kernel panic - not syncing: sysrq triggered crash");
            self.end_at(later, Ended::Crashed);
        } else if words.contains("lab-off") {
            self.end_at(later, Ended::Off);
        }
    }

    fn say(&mut self, after_ms: u64, line: &str) {
        self.lines
            .push((self.started.saturating_add(after_ms), line.to_owned()));
    }

    fn fail(&mut self, after_ms: u64, reason: &str) {
        self.say(after_ms, reason);
        let unit = "hpcr-catch-failed[1421]";
        self.say(after_ms, &format!("{unit}: VSI has failed to start!"));
        self.say(
            after_ms,
            &format!("{unit}: HPL10000E: One or more service failed"),
        );
        self.end_at(after_ms.saturating_add(200), Ended::Off);
    }

    fn end_at(&mut self, after_ms: u64, ended: Ended) {
        self.end = Some((self.started.saturating_add(after_ms), ended));
    }

    /// Asks the guest to power off. One whose system is not up yet does not hear it, nor does one
    /// that is going down.
    pub(super) fn shut_down(&mut self, now: u64) {
        if self.deaf || self.paused.is_some() || !self.has_network(now) {
            return;
        }
        let off = now.saturating_add(SHUTDOWN_MS);
        if matches!(self.end, Some((at, Ended::Off)) if at <= off) {
            return;
        }
        self.lines.retain(|(at, _)| *at <= now);
        self.lines
            .push((now, "lab: quiesce, powering off".to_owned()));
        if self.end.is_none_or(|(at, _)| at > off) {
            self.end = Some((off, Ended::Off));
        }
    }

    /// From now on its time stands still.
    pub(super) fn pause(&mut self, now: u64) {
        self.paused.get_or_insert(now);
    }

    /// What it has not done yet it does later by as long as it stood still.
    pub(super) fn unpause(&mut self, now: u64) {
        let Some(since) = self.paused.take() else {
            return;
        };
        let stood = now.saturating_sub(since);
        let later = |at: &mut u64| *at = at.saturating_add(stood);
        let left = self.lines.iter_mut().skip(self.printed);
        left.for_each(|(at, _)| later(at));
        if let Some((at, _)) = self.end.as_mut() {
            later(at);
        }
    }

    /// Whether its network is up.
    pub fn has_network(&self, now: u64) -> bool {
        now >= self.started.saturating_add(NETWORK_MS)
    }

    /// What it printed since it was last looked at, and whether it ended.
    pub(super) fn advance(&mut self, now: u64) -> (Vec<u8>, Option<Ended>) {
        let now = self.paused.map_or(now, |since| now.min(since));
        let end = self.end.filter(|(at, _)| *at <= now);
        let due = self
            .lines
            .iter()
            .skip(self.printed)
            .take_while(|(at, _)| *at <= now);
        let lines: Vec<&str> = due.map(|(_, line)| line.as_str()).collect();
        let bytes = lines
            .iter()
            .flat_map(|line| [line.as_bytes(), b"\r\n"])
            .flatten();
        let bytes = bytes.copied().collect();
        self.printed = self.printed.saturating_add(lines.len());
        (bytes, end.map(|(_, ended)| ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_going_down_hears_no_second_request() {
        let mut live = Live::start(0, 4_096, None);
        (live.lines, live.end) = (Vec::new(), None);
        live.shut_down(NETWORK_MS);
        live.shut_down(NETWORK_MS + 1);
        let (said, ended) = live.advance(NETWORK_MS + SHUTDOWN_MS);
        assert_eq!(said, b"lab: quiesce, powering off\r\n");
        assert_eq!(ended, Some(Ended::Off));
    }
}
