//! Validates groups: names that occur twice, waves that wait for one another, and references to missing
//! objects.

use std::collections::BTreeSet;

use vsiflow_steps::guest::{GuestType, pattern};

use super::documents::Document;
use super::group::{
    Gate, GateProbe, GateProbeSpec, GroupSpec, LateProblem, OutputPlace, OutputSource, OutputSpec,
    RecordedValue, Release, ResolvedGroup, ResolvedItem,
};
use super::problem::{FieldPath, Problem, ProblemCode, ProblemList};
use super::ready::{self, MAX_PROBES, ProbeSpec};
use super::substitute;
use super::target::list;
use super::template_texts::texts;
use crate::pool::number_of;

/// The most regular expressions of a group, in its gates and outputs; more are probably a mistake.
const MAX_PATTERNS: usize = 256;
/// The longest path and the longest argument of a guest's program, in bytes.
const MAX_TEXT_LEN: usize = 1024;
/// The most arguments of a guest's program.
const MAX_ARGS: usize = 64;

/// The regular expressions of a group's gates and outputs.
fn all_patterns(document: &Document<GroupSpec>) -> impl Iterator<Item = &str> {
    let spec = &document.spec;
    let gates = spec.waves.iter().flat_map(|wave| &wave.gate.probes);
    let gates = gates.filter_map(|probe| probe.console.as_deref());
    let outputs = spec.outputs.iter();
    gates.chain(outputs.filter_map(|output| output.console.as_deref()))
}

/// The same, if they are not too many to be compiled.
pub(super) fn patterns(document: &Document<GroupSpec>) -> Vec<&str> {
    let first = all_patterns(document).take(MAX_PATTERNS.saturating_add(1));
    let first: Vec<_> = first.collect();
    if first.len() > MAX_PATTERNS {
        return Vec::new();
    }
    first
}

/// Collects the problems of a group.
pub(super) struct GroupCheck<'a> {
    document: &'a Document<GroupSpec>,
    problems: &'a mut ProblemList,
    /// Problems that the group's record may excuse.
    late: &'a mut Vec<LateProblem>,
}

impl<'a> GroupCheck<'a> {
    pub(super) fn new(
        document: &'a Document<GroupSpec>,
        problems: &'a mut ProblemList,
        late: &'a mut Vec<LateProblem>,
    ) -> Self {
        Self {
            document,
            problems,
            late,
        }
    }
}

impl GroupCheck<'_> {
    fn wrong_value(&self, path: FieldPath, message: impl Into<String>, remedy: &str) -> Problem {
        let code = ProblemCode::WrongValue;
        self.document.problem(code, path, message, remedy)
    }

    fn wrong(&mut self, path: FieldPath, message: impl Into<String>, remedy: &str) {
        let problem = self.wrong_value(path, message, remedy);
        self.problems.push(problem);
    }

    /// Checks the document itself, without its resolved templates.
    pub(super) fn form(&mut self) {
        let spec = &self.document.spec;
        let waves = FieldPath::of(["spec", "waves"]);
        if spec.waves.is_empty() {
            let remedy = "add a wave with members or pools";
            self.wrong(waves.clone(), "a group has at least one wave", remedy);
        }
        let (mut names, mut items) = (BTreeSet::new(), BTreeSet::new());
        for (place, wave) in spec.waves.iter().enumerate() {
            let at = waves.clone().index(place);
            if !names.insert(&wave.name) {
                let path = at.clone().key("name");
                self.wrong(
                    path,
                    "this name occurs twice",
                    "give each wave its own name",
                );
            }
            if wave.members.is_empty() && wave.pools.is_empty() {
                let remedy = "add members or pools, or remove the wave";
                self.wrong(at.clone(), "this wave has no member and no pool", remedy);
            }
            let members = wave.members.iter().enumerate();
            let members = members.map(|(n, one)| ("members", n, &one.name, &one.remove_after));
            let pools = wave.pools.iter().enumerate();
            let pools = pools.map(|(n, one)| ("pools", n, &one.name, &one.remove_after));
            for (list, number, name, remove_after) in members.chain(pools) {
                let at = at.clone().key(list).index(number);
                if !items.insert(name) {
                    let remedy = "give each member and pool its own name";
                    self.wrong(at.clone().key("name"), "this name occurs twice", remedy);
                }
                self.remove_after(at, place, remove_after.as_deref());
            }
        }
        self.release();
        self.patterns();
    }

    fn patterns(&mut self) {
        let all = all_patterns(self.document).count();
        if all > MAX_PATTERNS {
            let message = format!(
                "its gates and outputs have {all} expressions, and {MAX_PATTERNS} are the most"
            );
            self.wrong(FieldPath::of(["spec"]), message, "remove some of them");
        }
    }

    fn has_too_many_patterns(&self) -> bool {
        all_patterns(self.document).nth(MAX_PATTERNS).is_some()
    }

    fn remove_after(&mut self, at: FieldPath, own: usize, after: Option<&str>) {
        let Some(after) = after else { return };
        let mut waves = self.document.spec.waves.iter();
        let path = at.key("removeAfter");
        match waves.position(|wave| wave.name == after) {
            None if self.problems.is_full() => {}
            None => {
                let all = self.document.spec.waves.iter();
                let names: Vec<_> = all.map(|wave| wave.name.clone()).collect();
                let remedy = format!("name one of the waves: {}", list(&names));
                self.wrong(path, format!("there is no wave {after:?}"), &remedy);
            }
            Some(place) if place < own => {
                let message = format!("wave {after} comes before this one: it would never be made");
                self.wrong(path, message, "name this wave, or one that comes later");
            }
            Some(_) => {}
        }
    }

    fn release(&mut self) {
        for (name, release) in &self.document.spec.release {
            let path = FieldPath::of(["spec", "release", name]);
            if super::meta::check_label(name).is_err() {
                let remedy = "use lower-case letters, digits and `-`";
                self.wrong(path.clone(), format!("{name:?} is not a name"), remedy);
            }
            if release.image.with_credentials().is_some() {
                let message = "a release is shown, so its image holds no credentials";
                let remedy = "write the credentials into the settings of the host";
                self.wrong(path.key("image"), message, remedy);
            }
        }
    }

    /// Checks the gate of a wave, for guests of these types.
    pub(super) fn gate(&mut self, wave: usize, guests: &[GuestType]) -> Gate {
        let Some(spec) = self.document.spec.waves.get(wave) else {
            return Gate::default();
        };
        let base = FieldPath::of(["spec", "waves"]).index(wave).key("gate");
        let base = base.key("probes");
        if self.has_too_many_patterns() {
            return Gate::default();
        }
        if spec.gate.probes.len() > MAX_PROBES {
            let message = format!("a gate has at most {MAX_PROBES} probes");
            self.wrong(base.clone(), message, "remove some of them");
            return Gate::default();
        }
        let mut probes = Vec::new();
        for (place, probe) in spec.gate.probes.iter().enumerate() {
            match gate_probe(probe, guests) {
                Ok(probe) => probes.extend(probe),
                Err((field, message, remedy)) => {
                    let path = base.clone().index(place);
                    let path = if field.is_empty() {
                        path
                    } else {
                        path.key(field)
                    };
                    self.wrong(path, message, remedy);
                }
            }
        }
        let members = spec.gate.members;
        Gate { members, probes }
    }

    /// Checks the outputs.
    pub(super) fn outputs(&mut self, items: &[(usize, &ResolvedItem)]) -> Vec<OutputSource> {
        let mut names = BTreeSet::new();
        let mut sources = Vec::new();
        if self.has_too_many_patterns() {
            return sources;
        }
        for (place, output) in self.document.spec.outputs.iter().enumerate() {
            let path = FieldPath::of(["spec", "outputs"]).index(place);
            if !names.insert(&output.name) {
                let remedy = "give each output its own name";
                self.wrong(path.clone().key("name"), "this name occurs twice", remedy);
            }
            let from = match output_place(output) {
                Ok(from) => from,
                Err((field, message, remedy)) => {
                    let path = if field.is_empty() {
                        path
                    } else {
                        path.key(field)
                    };
                    self.wrong(path, message, remedy);
                    continue;
                }
            };
            let Some(named) = member(items, &output.member) else {
                let (message, remedy) = no_member(items, &output.member);
                self.wrong(path.key("member"), message, &remedy);
                continue;
            };
            let guest = named.item.pool.template.desired.guest_type();
            if guest == GuestType::HyperProtect && matches!(from, OutputPlace::File(_)) {
                let message = "a Hyper Protect guest has no channel to an agent that reads files";
                let remedy = "have the guest print it, and write console: and a pattern";
                self.wrong(path.key("file"), message, remedy);
                continue;
            }
            let source = OutputSource {
                name: output.name.clone(),
                item: named.item.name.clone(),
                number: named.number,
                from,
                secret: output.secret,
            };
            if !named.is_wanted {
                let (message, remedy) = no_member(items, &output.member);
                let late = LateProblem {
                    problem: self.wrong_value(path.key("member"), message, &remedy),
                    item: named.item.name.clone(),
                    value: Some(RecordedValue::Output(source.clone())),
                };
                self.late.push(late);
            }
            sources.push(source);
        }
        sources
    }

    /// Checks the references in the texts of a template.
    pub(super) fn references(
        &mut self,
        group: &ResolvedGroup,
        wave: usize,
        item: &ResolvedItem,
        base: &FieldPath,
    ) {
        let items: Vec<_> = placed(group);
        for text in texts(&item.pool.template) {
            let path = base.clone().key("template").key("spec").key("guest");
            let path = path.key(text.field);
            let Some(words) = text.words() else { continue };
            for reference in substitute::references(&words) {
                if self.problems.is_full() {
                    return;
                }
                let found = resolve(group, &items, wave, reference);
                let found = found.and_then(|secret| {
                    if secret && !text.is_secret {
                        Err((
                            format!("$({reference}) is a secret, and this field is shown"),
                            "use it in userData, or write `secret: false` for the output"
                                .to_owned(),
                        ))
                    } else {
                        Ok(())
                    }
                });
                if let Err((message, remedy)) = found {
                    self.wrong(path.clone(), message, &remedy);
                } else if let Some((name, value)) = of_absent_member(&items, reference) {
                    let (message, remedy) = no_member(&items, name);
                    let late = LateProblem {
                        problem: self.wrong_value(path.clone(), message, &remedy),
                        item: item.name.clone(),
                        value: Some(value),
                    };
                    self.late.push(late);
                }
            }
        }
    }
}

/// Message and remedy.
type RefusedGroup = (String, String);

fn placed(group: &ResolvedGroup) -> Vec<(usize, &ResolvedItem)> {
    let waves = group.waves.iter().enumerate();
    waves
        .flat_map(|(place, wave)| wave.items.iter().map(move |item| (place, item)))
        .collect()
}

/// Resolves a reference; returns whether its value is a secret.
fn resolve(
    group: &ResolvedGroup,
    items: &[(usize, &ResolvedItem)],
    own: usize,
    reference: &str,
) -> Result<bool, RefusedGroup> {
    let segments: Vec<_> = reference.split('.').collect();
    match segments.as_slice() {
        ["group", "name"] | ["pool", "name" | "index" | "member"] => Ok(false),
        ["group", "release", name, what @ ("image" | "checksum")] => {
            of_release(&group.release, name, what).map(|_| false)
        }
        ["group", "members", name, "name" | "index"] => match member(items, name) {
            Some(_) => Ok(false),
            None => Err(no_member(items, name)),
        },
        ["group", "members", name, "address"] => match member(items, name) {
            Some(named) => comes_before(group, named.wave, own, reference).map(|()| false),
            None => Err(no_member(items, name)),
        },
        ["group", "outputs", name] => {
            let output = group.outputs.iter().find(|output| output.name == *name);
            let Some(output) = output else {
                let names: Vec<_> = group.outputs.iter().map(|o| o.name.clone()).collect();
                return Err((
                    format!("the group has no output {name:?}"),
                    format!("name one of its outputs: {}", listed(&names)),
                ));
            };
            let mut placed = items.iter();
            let wave = placed.find(|(_, item)| item.name == output.item);
            let wave = wave.map_or(own, |(wave, _)| *wave);
            comes_before(group, wave, own, reference).map(|()| output.secret)
        }
        _ => Err((
            format!("$({reference}) names nothing that there is"),
            "use group.name, group.members.NAME-0.address (or name, index), group.outputs.NAME, \
             group.release.NAME.image (or checksum), pool.name, pool.index or pool.member; \
             write $$( where it is meant as it is written"
                .to_owned(),
        )),
    }
}

/// The image or the checksum of a release.
pub(crate) fn of_release(
    release: &std::collections::BTreeMap<String, Release>,
    name: &str,
    what: &str,
) -> Result<String, RefusedGroup> {
    let Some(found) = release.get(name) else {
        let names: Vec<_> = release.keys().cloned().collect();
        return Err((
            format!("the release has no image {name:?}"),
            format!("name one of its images: {}", listed(&names)),
        ));
    };
    match (what, &found.checksum) {
        ("image", _) => Ok(found.image.clone()),
        (_, Some(checksum)) => Ok(checksum.clone()),
        (_, None) => Err((
            format!("image {name} of the release has no checksum"),
            format!("add spec.release.{name}.checksum"),
        )),
    }
}

fn comes_before(
    group: &ResolvedGroup,
    wave: usize,
    own: usize,
    reference: &str,
) -> Result<(), RefusedGroup> {
    if wave < own {
        return Ok(());
    }
    let name = |of: usize| group.waves.get(of).map_or("", |of| of.name.as_str());
    let message = if wave == own {
        format!(
            "$({reference}) is known only once wave {} is up, to which this belongs",
            name(own)
        )
    } else {
        format!(
            "waves {} and {} would wait for one another: $({reference}) is known only once {} is up",
            name(own),
            name(wave),
            name(wave)
        )
    };
    Err((
        message,
        "refer to members of earlier waves, or move this to a later wave".to_owned(),
    ))
}

/// A member that a document names.
struct NamedMember<'a> {
    wave: usize,
    item: &'a ResolvedItem,
    number: u32,
    /// Whether its pool has so many members.
    is_wanted: bool,
}

/// The member of this name. A pool may have had more members than it has now.
fn member<'a>(items: &[(usize, &'a ResolvedItem)], name: &str) -> Option<NamedMember<'a>> {
    items.iter().find_map(|(wave, item)| {
        let number = number_of(&item.name, name)?;
        let is_wanted = number < item.pool.desired.replicas.unwrap_or(1);
        (is_wanted || !item.single).then_some(NamedMember {
            wave: *wave,
            item,
            number,
            is_wanted,
        })
    })
}

/// The member that a reference names, and what a group records of it, if its pool does not have so many members.
fn of_absent_member<'a>(
    items: &[(usize, &ResolvedItem)],
    reference: &'a str,
) -> Option<(&'a str, RecordedValue)> {
    let (name, what) = reference.strip_prefix("group.members.")?.split_once('.')?;
    let named = member(items, name).filter(|named| !named.is_wanted)?;
    let value = match what {
        "address" => RecordedValue::Address(reference.to_owned()),
        _ => RecordedValue::Name(named.item.name.clone()),
    };
    Some((name, value))
}

fn no_member(items: &[(usize, &ResolvedItem)], name: &str) -> RefusedGroup {
    let names = items.iter().filter_map(|(_, item)| {
        let last = item.pool.desired.replicas.unwrap_or(1).checked_sub(1)?;
        Some(match last {
            0 => format!("{}-0", item.name),
            last => format!("{0}-0 to {0}-{last}", item.name),
        })
    });
    let names: Vec<_> = names.collect();
    (
        format!("the group has no member {name:?}"),
        format!("name one of its members: {}", listed(&names)),
    )
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "there is none".to_owned(),
        names => list(names),
    }
}

/// The field with the problem (empty for the whole), the message, and the remedy.
type WrongMember = (&'static str, String, &'static str);

/// A probe of a gate; `None` if it only asks for being ready.
fn gate_probe(
    spec: &GateProbeSpec,
    guests: &[GuestType],
) -> Result<Option<GateProbe>, WrongMember> {
    let probe = ProbeSpec {
        console: spec.console.clone(),
        agent: spec.agent,
        tcp: spec.tcp,
        http: spec.http.clone(),
        ..ProbeSpec::default()
    };
    let probes = usize::from(spec.ready.is_some()) + usize::from(spec.agent_command.is_some());
    let of_guest = [
        spec.console.is_some(),
        spec.agent.is_some(),
        spec.tcp.is_some(),
        spec.http.is_some(),
    ];
    let of_guest = of_guest.iter().filter(|is_given| **is_given).count();
    let one = "write one of ready, console, agent, tcp, http and agentCommand in each";
    match probes.saturating_add(of_guest) {
        0 => return Err(("", "this probe is empty".to_owned(), one)),
        1 => {}
        _ => return Err(("", "this is more than one probe".to_owned(), one)),
    }
    if let Some(command) = &spec.agent_command {
        let text = |text: &String| text.len() <= MAX_TEXT_LEN && !text.contains('\0');
        let fits = text(&command.path) && command.args.iter().all(text);
        if !command.path.starts_with('/') || !fits || command.args.len() > MAX_ARGS {
            return Err((
                "agentCommand",
                format!(
                    "a program is an absolute path with at most {MAX_ARGS} arguments of {MAX_TEXT_LEN} bytes"
                ),
                "write, for example: agentCommand: {path: /usr/bin/systemctl, args: [is-active, etcd]}",
            ));
        }
        if guests.contains(&GuestType::HyperProtect) {
            return Err((
                "agentCommand",
                "a Hyper Protect guest has no channel to an agent, so that this is never met"
                    .to_owned(),
                "remove it, or probe a port: {tcp: 443}",
            ));
        }
        return Ok(Some(GateProbe::Command(command.clone())));
    }
    if of_guest == 0 {
        return Ok(None);
    }
    let guest = if guests.contains(&GuestType::HyperProtect) {
        GuestType::HyperProtect
    } else {
        GuestType::None
    };
    ready::probe(&probe, guest).map(|probe| Some(GateProbe::Guest(probe)))
}

fn output_place(spec: &OutputSpec) -> Result<OutputPlace, WrongMember> {
    match (&spec.file, &spec.console) {
        (Some(file), None) => {
            let fits = file.starts_with('/')
                && file.len() <= MAX_TEXT_LEN
                && !file.chars().any(char::is_control);
            if fits {
                Ok(OutputPlace::File(file.clone()))
            } else {
                Err((
                    "file",
                    format!("a file is an absolute path of at most {MAX_TEXT_LEN} bytes"),
                    "write, for example: file: /etc/kubernetes/admin.conf",
                ))
            }
        }
        (None, Some(console)) => match pattern::check(console) {
            Ok(()) => Ok(OutputPlace::Console(console.clone())),
            Err(message) => Err((
                "console",
                message,
                "write a regular expression whose first group is what is read, for example: 'token: (\\S+)'",
            )),
        },
        (None, None) => Err((
            "",
            "this output is empty".to_owned(),
            "write one of file and console",
        )),
        (Some(_), Some(_)) => Err((
            "console",
            "file and console are both given".to_owned(),
            "remove one of them",
        )),
    }
}
