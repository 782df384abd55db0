//! The probes of a guest, one file for each kind.

mod address;
mod agent;
pub mod cloud_init;
mod console;
mod http;
mod tcp;

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Card, Params};
use crate::{
    guest::{
        Probe,
        pattern::{LinePattern, MatchBudget, USED_UP, first_lines},
    },
    hpl::cut,
    ports::{HostPorts, PortError, PortErrorKind, PortResult},
    vsi::ready_report::Addresses,
};

/// How often to ask probes that do not read the console.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Timeout of one question.
pub(crate) const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Maximum number of bytes of an answer that are stored.
const ANSWER_MAX: usize = 160;
/// Maximum number of cloud-init errors that are stored.
const ERRORS_MAX: usize = 4;

/// The results of the probes so far; stored across attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProbeFound {
    /// The probes that were met, by index, with the answer that met them.
    #[serde(default)]
    met: Vec<(usize, String)>,
    /// cloud-init's lines about errors.
    #[serde(default)]
    errors: Vec<String>,
    /// What cloud-init did not apply, and went on.
    #[serde(default)]
    warnings: Vec<String>,
}

impl ProbeFound {
    pub(super) fn is_empty(&self) -> bool {
        self.met.is_empty() && self.errors.is_empty() && self.warnings.is_empty()
    }
}

/// The answer of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ProbeAnswer {
    /// It is met, by this.
    Met(String),
    /// It is not met yet, for this reason.
    NotYet(String),
    /// It can never be met: the guest's setup failed.
    Failed(String),
}

/// A probe and its latest answer.
struct Watched {
    probe: Probe,
    pattern: Option<LinePattern>,
    status: cloud_init::StatusCommand,
    answer: ProbeAnswer,
}

/// All probes of one guest.
pub(crate) struct Probes {
    uuid: Uuid,
    cards: Vec<Card>,
    all: Vec<Watched>,
    errors: Vec<String>,
    warnings: Vec<String>,
    next: Instant,
    budget: MatchBudget,
    /// The unfinished line that was matched last.
    matched_piece: String,
}

impl Probes {
    /// The probes, with the results of earlier attempts.
    pub(super) fn resume(params: &Params, found: ProbeFound) -> Self {
        let watched = |(place, probe): (usize, &Probe)| {
            let met = found.met.iter().find(|(met, _)| *met == place);
            let answer = match met {
                Some((_, by)) => ProbeAnswer::Met(by.clone()),
                None => ProbeAnswer::NotYet(String::new()),
            };
            Watched {
                pattern: console::pattern(probe),
                probe: probe.clone(),
                status: cloud_init::StatusCommand::default(),
                answer,
            }
        };
        Self {
            uuid: params.uuid,
            cards: params.cards.clone(),
            all: params.probes.iter().enumerate().map(watched).collect(),
            errors: found.errors,
            warnings: found.warnings,
            next: Instant::now(),
            budget: MatchBudget::of_guest(params.uuid, &params.namespace, &params.host),
            matched_piece: String::new(),
        }
    }

    /// The results to store.
    pub(super) fn found(&self) -> ProbeFound {
        let probes = self.all.iter().enumerate();
        let met = probes.filter_map(|(place, watched)| match &watched.answer {
            ProbeAnswer::Met(answer) => Some((place, answer.clone())),
            _ => None,
        });
        ProbeFound {
            met: met.collect(),
            errors: self.errors.clone(),
            warnings: self.warnings.clone(),
        }
    }

    /// What cloud-init did not apply, although it ended.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads a line of the console that has ended, for all probes but those with expressions.
    pub(super) fn line(&mut self, line: &str) {
        let is_cloud_init = |one: &Watched| matches!(one.probe, Probe::CloudInit {});
        if self.all.iter().any(is_cloud_init) {
            note(&mut self.errors, cloud_init::error(line));
            note(&mut self.warnings, cloud_init::warning(line));
        }
        let errors = std::mem::take(&mut self.errors);
        for watched in self.all.iter_mut().filter(|watched| watched.is_open()) {
            if matches!(watched.probe, Probe::CloudInit {})
                && let Some(answer) = cloud_init::end(line, &errors)
            {
                watched.answer = answer;
            }
        }
        self.errors = errors;
    }

    /// Matches the expressions with lines that have ended. Waits while they have used up their budget.
    pub(super) async fn search(&mut self, lines: Vec<String>) {
        let is_open = |watched: &&mut Watched| watched.is_open() && watched.pattern.is_some();
        let mut open_probes: Vec<_> = self.all.iter_mut().filter(is_open).collect();
        if open_probes.is_empty() || lines.is_empty() {
            return;
        }
        let patterns: Vec<_> = (open_probes.iter())
            .filter_map(|watched| watched.pattern.clone())
            .collect();
        let matched = first_lines(&patterns, lines, &self.budget).await;
        for (watched, line) in open_probes.iter_mut().zip(matched) {
            if let Some(line) = line {
                watched.answer = ProbeAnswer::Met(cut(line.trim(), ANSWER_MAX).to_owned());
            } else if self.budget.is_used_up() {
                watched.answer = ProbeAnswer::NotYet(USED_UP.to_owned());
            }
        }
    }

    /// Matches the expressions with a line that may not have ended: a prompt never does.
    pub(super) async fn search_piece(&mut self, line: String) {
        if line != self.matched_piece {
            self.matched_piece.clone_from(&line);
            self.search(vec![line]).await;
        }
    }

    /// Asks the probes that do not read the console, if they are due.
    ///
    /// # Errors
    /// When no call on the host can succeed.
    pub(super) async fn ask(&mut self, ports: &HostPorts) -> PortResult<()> {
        if Instant::now() < self.next || self.is_met() {
            return Ok(());
        }
        let reaches = |probe: &Probe| {
            matches!(
                probe,
                Probe::Tcp(_) | Probe::Http { .. } | Probe::Address {}
            )
        };
        let mut addresses = Vec::new();
        if self
            .all
            .iter()
            .any(|watched| watched.is_open() && reaches(&watched.probe))
        {
            addresses = Addresses::on(ports).of(self.uuid, &self.cards).await;
        }
        let addresses = address::parsed(&addresses);
        for watched in self.all.iter_mut().filter(|watched| watched.is_open()) {
            let (probe, status) = (&watched.probe, &mut watched.status);
            if let Some(answer) = ask(ports, self.uuid, &addresses, probe, status).await? {
                watched.answer = answer;
            }
            for reported in std::mem::take(&mut watched.status.recoverable) {
                // The console may have had it with a prefix.
                if !self.warnings.iter().any(|line| line.contains(&reported)) {
                    note(&mut self.warnings, Some(&reported));
                }
            }
        }
        let now = Instant::now();
        self.next = now.checked_add(ASK_EVERY).unwrap_or(now);
        Ok(())
    }

    /// Whether there are no probes.
    pub(super) fn is_none(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether all of them are met.
    pub(super) fn is_met(&self) -> bool {
        self.all
            .iter()
            .all(|watched| matches!(watched.answer, ProbeAnswer::Met(_)))
    }

    /// Why they can never be met, if that is known.
    pub(super) fn failed(&self) -> Option<&str> {
        self.all.iter().find_map(|watched| match &watched.answer {
            ProbeAnswer::Failed(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// The answers that met them.
    pub(super) fn met_by(&self) -> String {
        let met = self.all.iter().filter_map(|watched| match &watched.answer {
            ProbeAnswer::Met(answer) => Some(answer.as_str()),
            _ => None,
        });
        met.collect::<Vec<_>>().join("; ")
    }

    /// The probes that are not met, each with its reason.
    pub(super) fn missing(&self) -> String {
        let missing = self.all.iter().filter_map(|watched| match &watched.answer {
            ProbeAnswer::NotYet(why) if why.is_empty() => Some(watched.probe.to_string()),
            ProbeAnswer::NotYet(why) => Some(format!("{} ({why})", watched.probe)),
            _ => None,
        });
        missing.collect::<Vec<_>>().join(", ")
    }
}

/// Stores a line once; of many, the first ones.
fn note(lines: &mut Vec<String>, line: Option<&str>) {
    let Some(line) = line.filter(|_| lines.len() < ERRORS_MAX) else {
        return;
    };
    let line = cut(line, ANSWER_MAX).to_owned();
    if !lines.contains(&line) {
        lines.push(line);
    }
}

impl Watched {
    fn is_open(&self) -> bool {
        matches!(self.answer, ProbeAnswer::NotYet(_))
    }
}

/// Asks a probe again that was met before; returns why it is not met now, `None` if it is.
///
/// # Errors
/// When no call on the host can succeed.
pub(crate) async fn probe_again(
    ports: &HostPorts,
    uuid: Uuid,
    addresses: &[String],
    probe: &Probe,
) -> PortResult<Option<String>> {
    let addresses = address::parsed(addresses);
    let mut status = cloud_init::StatusCommand::default();
    Ok(
        match ask(ports, uuid, &addresses, probe, &mut status).await? {
            Some(ProbeAnswer::NotYet(why) | ProbeAnswer::Failed(why)) => Some(why),
            Some(ProbeAnswer::Met(_)) | None => None,
        },
    )
}

/// Asks one probe; `None` if only the console can answer it.
async fn ask(
    ports: &HostPorts,
    uuid: Uuid,
    addresses: &[IpAddr],
    probe: &Probe,
    status: &mut cloud_init::StatusCommand,
) -> PortResult<Option<ProbeAnswer>> {
    let answer = match probe {
        Probe::Console(_) => return Ok(None),
        Probe::Agent {} => agent::ask(ports, uuid).await,
        Probe::CloudInit {} => match status.ask(ports, uuid).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        },
        Probe::Tcp(port) => tcp::ask(ports, addresses, *port).await,
        Probe::Http { port, path } => http::ask(ports, addresses, *port, path).await,
        Probe::Address {} => Ok(address::ask(addresses)),
        Probe::Started {} => Ok(ProbeAnswer::Met("the guest runs".to_owned())),
    };
    match answer {
        Err(error) if !is_of_host(&error) => Ok(Some(ProbeAnswer::NotYet(shown(&error)))),
        answer => answer.map(Some),
    }
}

/// Whether the error says that no call on the host can succeed.
fn is_of_host(error: &PortError) -> bool {
    use PortErrorKind as MessageKind;
    matches!(
        error.kind,
        MessageKind::Unreachable
            | MessageKind::LibvirtAbsent
            | MessageKind::HostKeyUnknown
            | MessageKind::HostKeyChanged
            | MessageKind::HostKeyRevoked
            | MessageKind::KnownHosts
            | MessageKind::AuthRefused
            | MessageKind::KeyUnusable
            | MessageKind::OtherMachine
    )
}

fn shown(error: &PortError) -> String {
    cut(&error.message, ANSWER_MAX).to_owned()
}
