//! Drift: compares what vsiflow wrote on a host with what a scan found there. Pure.

use vsiflow_engine::model::Text;
use vsiflow_steps::ports::{DiskShape, DomainInfo, DomainShape, DomainState, ScreenShape};

use crate::spec::PowerState;

/// The prefix of a recorded detail that describes drift.
const PREFIX: &str = "drift: ";

/// What a host should show of a VSI.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// Whether it runs.
    pub power: PowerState,
    /// Whether libvirt starts it with its host.
    pub autostart: bool,
    /// The definition that was written; `None` if an older version wrote it. Then nothing is compared.
    pub written: Option<DomainShape>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DriftFinding {
    /// What differs: `power`, `autostart`, `cpus`, `disk vdc`, …
    pub what: String,
    /// The expected value.
    pub expected: String,
    /// The value that was found.
    pub found: String,
}

impl std::fmt::Display for DriftFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, expected, found) = (&self.what, &self.expected, &self.found);
        write!(f, "{what}{EXPECTED}{expected}{FOUND}{found}")
    }
}

/// Whether a recorded detail describes drift.
pub fn tells_drift(detail: &Text) -> bool {
    detail.as_str().starts_with(PREFIX)
}

/// Findings as a recorded detail.
pub fn findings_text(findings: &[DriftFinding]) -> Text {
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    Text::new(format!("{PREFIX}{}", findings.join("; ")))
}

/// A recorded detail without the drift prefix; `None` if it has none.
pub fn message(detail: &Text) -> Option<&str> {
    detail.as_str().strip_prefix(PREFIX)
}

/// The finding for a volume that does not exist any more.
pub fn gone(what: &str, volume: &str) -> DriftFinding {
    finding(what, volume, "no such volume")
}

/// The finding for a problem of a guest that was ready.
pub fn of_guest(what: &str, found: &str) -> DriftFinding {
    // Recorded details are split at semicolons.
    let found = found.replace(';', ",");
    let expected = match what {
        "console" => "no failure",
        _ => "an answer",
    };
    finding(&format!("{GUEST}{what}"), expected, found)
}

/// The prefix of a finding about a guest.
const GUEST: &str = "guest ";

impl DriftFinding {
    /// Whether it is about the guest, not about a change on its host.
    pub fn is_of_guest(&self) -> bool {
        self.what.starts_with(GUEST)
    }

    /// Parses a finding from its text.
    fn read(text: &str) -> Option<Self> {
        let (what, rest) = text.split_once(EXPECTED)?;
        let (expected, found) = rest.split_once(FOUND)?;
        Some(finding(what, expected, found))
    }
}

const EXPECTED: &str = ": expected ";
const FOUND: &str = ", found ";

/// Splits a drift message into findings about the guest, and about its host.
pub fn apart(message: &str) -> (Vec<&str>, Vec<&str>) {
    message
        .split("; ")
        .partition(|part| part.starts_with(GUEST))
}

/// The findings about the guest in a recorded detail.
pub fn of_guest_in(detail: &Text) -> Vec<DriftFinding> {
    let parts = message(detail).map(|message| apart(message).0);
    let parts = parts.into_iter().flatten();
    parts.filter_map(DriftFinding::read).collect()
}

/// The finding for a network of a VSI that guests cannot use now.
pub fn of_network(name: &str, found: &str) -> DriftFinding {
    finding(&format!("{NETWORK}{name}"), "an active network", found)
}

/// The prefix of a finding about a network.
const NETWORK: &str = "network ";

/// The name of a finding about a lost ownership mark.
const MARK: &str = "mark";

/// The findings about networks in a drift message.
pub fn networks(message: &str) -> Option<String> {
    let of_networks = message.split("; ").filter(|part| part.starts_with(NETWORK));
    let of_networks: Vec<_> = of_networks.collect();
    (!of_networks.is_empty()).then(|| of_networks.join("; "))
}

/// Whether the VSI can be brought back to the expected state. Not if all findings concern its networks
/// or its guest, and not if the domain's ownership mark is lost.
pub fn is_mendable(findings: &[DriftFinding]) -> bool {
    let elsewhere =
        |finding: &DriftFinding| finding.what.starts_with(NETWORK) || finding.is_of_guest();
    !findings.iter().all(elsewhere) && !findings.iter().any(|finding| finding.what == MARK)
}

/// The findings for a domain with the VSI's UUID but without this journal's mark. Its definition is not
/// compared, because another owner may have written it.
pub fn unmarked(power: PowerState, domain: &DomainInfo) -> Vec<DriftFinding> {
    let whose = domain.mark.as_ref();
    let found = whose.map_or("no mark of vsiflow".to_owned(), |mark| {
        format!("journal {}", mark.journal)
    });
    let mut all = vec![finding(MARK, "this journal's", found)];
    all.extend(of_power(power, domain));
    all
}

fn finding(what: &str, expected: impl ToString, found: impl ToString) -> DriftFinding {
    DriftFinding {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// How the domain differs from the expected state. A domain that is shutting down, starting or held has no
/// power finding.
pub fn findings(expected: &Expected, domain: Option<&DomainInfo>) -> Vec<DriftFinding> {
    let Some(domain) = domain else {
        return vec![finding("domain", "a definition", "none")];
    };
    let mut found = Vec::from_iter(of_power(expected.power, domain));
    if !domain.persistent {
        found.push(finding(
            "definition",
            "one that stays",
            "none once it stops",
        ));
    }
    let autostart = expected.autostart;
    if domain.autostart != autostart {
        found.push(finding("autostart", autostart, domain.autostart));
    }
    if let Some(written) = &expected.written {
        found.extend(shapes("", written, &domain.stored));
        // If the live definition equals the stored one, its differences are reported once.
        if let Some(live) = domain.live.as_ref().filter(|live| **live != domain.stored) {
            let of_live = shapes("running ", written, live);
            found.extend(of_live);
        }
    }
    found
}

fn of_power(power: PowerState, domain: &DomainInfo) -> Option<DriftFinding> {
    let (desired, found) = (state_of(power), domain.state);
    let differs = found != desired && !is_passing(found) && !both_off(found, desired);
    let state = match &domain.reason {
        Some(reason) => format!("{} ({reason})", words(found)),
        None => words(found).to_owned(),
    };
    differs.then(|| finding("power", words(desired), state))
}

/// Whether the only difference is that a guest is not up that should be, or is suspended.
pub fn is_power_alone(findings: &[DriftFinding]) -> bool {
    !findings.is_empty() && findings.iter().all(|finding| finding.what == "power")
}

/// Whether the guest runs, although something else differs.
pub fn runs(findings: &[DriftFinding]) -> bool {
    let down = ["power", "domain"];
    !findings
        .iter()
        .any(|finding| down.contains(&finding.what.as_str()))
}

fn state_of(power: PowerState) -> DomainState {
    match power {
        PowerState::Running => DomainState::Running,
        PowerState::Paused => DomainState::Paused,
        PowerState::Stopped => DomainState::ShutOff,
    }
}

fn is_passing(state: DomainState) -> bool {
    matches!(
        state,
        DomainState::ShuttingDown | DomainState::Starting | DomainState::Held
    )
}

fn both_off(found: DomainState, desired: DomainState) -> bool {
    !found.is_active() && !desired.is_active()
}

fn words(state: DomainState) -> &'static str {
    match state {
        DomainState::Running => "running",
        DomainState::Paused => "paused",
        DomainState::ShuttingDown => "shutting down",
        DomainState::ShutOff => "shut off",
        DomainState::Crashed => "crashed",
        DomainState::Starting => "starting",
        DomainState::Held => "held by its host",
    }
}

fn shapes(which: &str, written: &DomainShape, found: &DomainShape) -> Vec<DriftFinding> {
    let mut all = Vec::new();
    let mut compare = |what: &str, expected: String, actual: String| {
        if expected != actual {
            all.push(finding(&format!("{which}{what}"), expected, actual));
        }
    };
    compare("cpus", written.cpus.to_string(), found.cpus.to_string());
    let mib = |memory: u64| format!("{memory} MiB");
    compare("memory", mib(written.memory_mib), mib(found.memory_mib));
    let targets = written.disks.iter().chain(&found.disks);
    let mut targets: Vec<_> = targets.map(|disk| disk.target.clone()).collect();
    targets.sort();
    targets.dedup();
    for target in targets {
        let (before, after) = (disk(written, &target), disk(found, &target));
        compare(&format!("disk {target}"), before, after);
    }
    if let (Some(written), Some(found)) = (&written.screens, &found.screens) {
        compare("screen", screens(written), screens(found));
    }
    let most = written.nics.len().max(found.nics.len());
    for card in 0..most {
        let of = |shape: &DomainShape| {
            let nic = shape.nics.get(card);
            nic.map_or("none".to_owned(), |nic| {
                format!("{} {}", nic.network, nic.mac)
            })
        };
        compare(&format!("card {card}"), of(written), of(found));
    }
    all
}

fn screens(all: &[ScreenShape]) -> String {
    let words = all.iter().map(|screen| match screen.listen.as_str() {
        "" => screen.protocol.clone(),
        listen => format!("{} on {listen}", screen.protocol),
    });
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

fn disk(shape: &DomainShape, target: &str) -> String {
    let found = shape.disks.iter().find(|disk| disk.target == target);
    found.map_or("none".to_owned(), |disk| {
        let DiskShape {
            source,
            format,
            readonly,
            serial,
            ..
        } = disk;
        let how = if *readonly { " read-only" } else { "" };
        format!("{source} ({format}, serial {serial}{how})")
    })
}

#[cfg(test)]
mod tests;
