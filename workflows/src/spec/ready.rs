//! When a VSI counts as ready, as its document describes it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use vsiflow_steps::guest::{GuestType, Probe, pattern};

use super::desired::DesiredReady;
use super::documents::Document;
use super::problem::{FieldPath, Problem, ProblemCode};
use super::vsi::VsiSpec;

/// `spec.ready`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadySpec {
    /// How long a boot may take: 90s, 15m.
    #[serde(default, deserialize_with = "within")]
    #[schemars(with = "Option<String>", extend("x-example" = "15m", "x-expected" = "a time"))]
    pub within: Option<Duration>,
    /// What shows that it is ready, all of it.
    #[serde(default)]
    #[schemars(with = "Option<Vec<ProbeSpec>>", length(max = MAX_PROBES), extend("x-example" = "[{cloudInit: {}}, {tcp: 22}]", "x-expected" = "a list of probes"))]
    pub all: Vec<ProbeSpec>,
}

/// One probe: one field of it is given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeSpec {
    /// A regular expression that a line of the console matches.
    #[serde(default)]
    #[schemars(length(max = 1024), extend("x-example" = "\"login:\""))]
    pub console: Option<String>,
    /// The guest's agent answers.
    #[serde(default)]
    pub agent: Option<Nothing>,
    /// cloud-init has ended without an error.
    #[serde(default)]
    pub cloud_init: Option<Nothing>,
    /// A TCP port that accepts connections.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535), extend("x-example" = 22))]
    pub tcp: Option<u16>,
    /// An HTTP server that answers with a status from 200 to 399.
    #[serde(default)]
    #[schemars(extend("x-example" = "{port: 80, path: /healthz}"))]
    pub http: Option<HttpSpec>,
    /// The guest has an address.
    #[serde(default)]
    pub address: Option<Nothing>,
    /// The guest runs.
    #[serde(default)]
    pub started: Option<Nothing>,
}

/// A probe without settings: `{}`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-example" = "{}", "x-expected" = "an empty object"))]
pub struct Nothing {}

/// An HTTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSpec {
    /// The port; 80 where absent.
    #[serde(default = "http_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The path; / where absent.
    #[serde(default = "root")]
    #[schemars(extend("x-example" = "/healthz"))]
    pub path: String,
}

fn http_port() -> u16 {
    80
}

fn root() -> String {
    "/".to_owned()
}

/// The shortest and the longest time that a boot may be given.
const MIN_DURATION: Duration = Duration::from_secs(1);
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest path of a probe, in bytes.
const PATH_MAX: usize = 1024;
/// The most probes; more are probably a mistake.
pub(super) const MAX_PROBES: usize = 16;

fn within<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let wrong = || D::Error::custom("a time is written as `90s` or `15m`, from 1s to 24h");
    let time = humantime::parse_duration(&text).map_err(|_| wrong())?;
    if (MIN_DURATION..=MAX_DURATION).contains(&time) {
        Ok(Some(time))
    } else {
        Err(wrong())
    }
}

/// The expressions of a document's probes, if they are not too many to be compiled.
pub(super) fn patterns(document: &Document<VsiSpec>) -> impl Iterator<Item = &str> {
    let probes = document.spec.ready.iter().map(|ready| &ready.all);
    let probes = probes.filter(|probes| probes.len() <= MAX_PROBES);
    let probes = probes.flatten();
    probes.filter_map(|probe| probe.console.as_deref())
}

/// When the VSI counts as ready; `None` if the document leaves it to its kind.
pub(super) fn of(
    document: &Document<VsiSpec>,
    guest: Option<GuestType>,
    problems: &mut Vec<Problem>,
) -> Option<DesiredReady> {
    let own = guest.is_none();
    let guest = guest.unwrap_or_default();
    let Some(spec) = &document.spec.ready else {
        return (!own).then(|| by_default(guest));
    };
    if spec.all.len() > MAX_PROBES {
        let message = format!(
            "ready.all has {} probes, and {MAX_PROBES} are the most",
            spec.all.len()
        );
        let path = FieldPath::of(["spec", "ready", "all"]);
        problems.push(document.problem(
            ProblemCode::WrongValue,
            path,
            message,
            "remove some of them",
        ));
        // What would be too many to compile is not compiled.
        return None;
    }
    let mut probes = Vec::new();
    for (place, one) in spec.all.iter().enumerate() {
        match probe(one, guest) {
            Ok(probe) => probes.push(probe),
            Err((field, message, remedy)) => {
                let mut path = FieldPath::of(["spec", "ready", "all"]).index(place);
                if !field.is_empty() {
                    path = path.key(field);
                }
                problems.push(document.problem(ProblemCode::WrongValue, path, message, remedy));
            }
        }
    }
    if spec.all.is_empty() {
        probes = defaults(guest);
    }
    Some(DesiredReady {
        within_s: spec.within.map(|time| time.as_secs().max(1)),
        probes,
    })
}

/// When a guest of this type counts as ready if nobody says it.
pub(crate) fn by_default(guest: GuestType) -> DesiredReady {
    DesiredReady {
        within_s: None,
        probes: defaults(guest),
    }
}

/// The default probes of a guest. A Hyper Protect guest needs none: it prints on its console when it is
/// ready.
fn defaults(guest: GuestType) -> Vec<Probe> {
    match guest {
        GuestType::HyperProtect => Vec::new(),
        GuestType::CloudInit => vec![Probe::CloudInit {}],
        GuestType::Ignition | GuestType::None => vec![Probe::Started {}],
    }
}

/// The field with the problem (empty for the whole), the message, and the remedy.
pub(super) type WrongProbe = (&'static str, String, &'static str);

pub(super) fn probe(spec: &ProbeSpec, guest: GuestType) -> Result<Probe, WrongProbe> {
    let probes: Vec<Result<Probe, WrongProbe>> = [
        spec.console.as_ref().map(|pattern| console(pattern)),
        spec.agent.map(|_| agent(guest)),
        spec.cloud_init.map(|_| cloud_init(guest)),
        spec.tcp.map(tcp),
        spec.http.as_ref().map(http),
        spec.address.map(|_| Ok(Probe::Address {})),
        spec.started.map(|_| Ok(Probe::Started {})),
    ]
    .into_iter()
    .flatten()
    .collect();
    let one = "write one of console, agent, cloudInit, tcp, http, address and started in each";
    match <[_; 1]>::try_from(probes) {
        Ok([probe]) => probe,
        Err(probes) if probes.is_empty() => Err(("", "this probe is empty".to_owned(), one)),
        Err(_) => Err(("", "this is more than one probe".to_owned(), one)),
    }
}

fn console(text: &str) -> Result<Probe, WrongProbe> {
    match pattern::check(text) {
        Ok(()) => Ok(Probe::Console(text.to_owned())),
        Err(message) => Err((
            "console",
            message,
            "write a regular expression that a line of the console matches, for example: \"login:\"",
        )),
    }
}

fn agent(guest: GuestType) -> Result<Probe, WrongProbe> {
    match guest {
        GuestType::HyperProtect => Err((
            "agent",
            "a Hyper Protect guest has no channel to an agent, so that this is never met"
                .to_owned(),
            "remove it, or probe a port: {tcp: 443}",
        )),
        _ => Ok(Probe::Agent {}),
    }
}

fn cloud_init(guest: GuestType) -> Result<Probe, WrongProbe> {
    match guest {
        GuestType::CloudInit => Ok(Probe::CloudInit {}),
        other => Err((
            "cloudInit",
            format!(
                "no cloud-init runs in a guest of type {}, so that this is never met",
                other.as_str()
            ),
            "remove it, or write `type: cloudInit` in guest",
        )),
    }
}

fn tcp(port: u16) -> Result<Probe, WrongProbe> {
    match port {
        0 => Err((
            "tcp",
            "a port is a number from 1 to 65535".to_owned(),
            "write, for example: tcp: 22",
        )),
        port => Ok(Probe::Tcp(port)),
    }
}

fn http(spec: &HttpSpec) -> Result<Probe, WrongProbe> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
    let remedy = "write, for example: http: {port: 80, path: /healthz}";
    if spec.port == 0 {
        return Err((
            "http",
            "a port is a number from 1 to 65535".to_owned(),
            remedy,
        ));
    }
    if !spec.path.starts_with('/') || spec.path.contains(odd) || spec.path.len() > PATH_MAX {
        return Err((
            "http",
            format!("a path begins with `/`, holds no spaces and has at most {PATH_MAX} bytes"),
            remedy,
        ));
    }
    Ok(Probe::Http {
        port: spec.port,
        path: spec.path.clone(),
    })
}
