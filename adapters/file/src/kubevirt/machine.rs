//! Translates `VirtualMachine` and `VirtualMachineInstance` into a virtual server and its data disks.

mod labels;
pub(super) mod network;
mod volume_template;
mod volumes;

use std::collections::BTreeMap;

use vsiflow_workflows::spec::FieldPath;
use vsiflow_workflows::spec::documents::{VIRTUAL_SERVER, VSIFLOW_API_VERSION};

use self::{
    labels::{of_template, with_labels},
    network::{interfaces, networks},
    volume_template::template_of_volume,
    volumes::{disks, volumes},
};
use super::{
    Foreign, ForeignKind, KnownVolumes, KubevirtMetadata, MadeNode, Placement,
    data_volume::{self, DataVolume, VolumeSource, any_of, only_flag, word},
    fields::{Fields, Refusals, entry, instead, object, text},
    guest::{self, Configuration},
    memory,
    names::UniqueNames,
    preset, registry,
};
use crate::node::{Value, YamlNode};

type Volumes<'n> = BTreeMap<(String, String), KnownVolumes<'n>>;

/// The parts of a server that were read so far.
#[derive(Default)]
struct KubevirtServer {
    power: Option<YamlNode>,
    labels: Vec<(String, YamlNode)>,
    arch: Option<YamlNode>,
    cpus: Option<YamlNode>,
    cpu: Option<YamlNode>,
    memory: Option<YamlNode>,
    firmware: Option<YamlNode>,
    graphics: Option<YamlNode>,
    hostname: Option<YamlNode>,
    ready: Option<YamlNode>,
    configuration: Option<Configuration>,
    boot: Option<DataVolume>,
    disks: Vec<(String, DataVolume)>,
    interfaces: Option<YamlNode>,
    /// Whether one of its volumes was refused in its own manifest.
    has_refused_volume: bool,
}

/// Translates a manifest into documents; into none if anything is refused.
pub(super) fn documents(
    foreign: &Foreign,
    place: &Placement,
    volumes: &mut Volumes<'_>,
    refusals: &mut Refusals,
) -> Vec<MadeNode> {
    let metadata = KubevirtMetadata::of(&foreign.node);
    let mut server = KubevirtServer::default();
    let mut document = Fields::of(&foreign.node, Default::default(), refusals);
    for key in ["apiVersion", "kind", "metadata"] {
        document.take(key);
    }
    let mut spec = document.object("spec", refusals);
    document.end(refusals);
    let mut own = BTreeMap::new();
    match foreign.kind {
        ForeignKind::VirtualMachine => {
            server.power = power(&mut spec, refusals);
            let mut names = UniqueNames::of("dataVolumeTemplates");
            for template in spec.list("dataVolumeTemplates", refusals) {
                let path = template.own_path();
                let read = template_of_volume(template, foreign, refusals);
                let is_new = |(name, _): &(String, DataVolume)| names.is_new(name, &path, refusals);
                own.extend(read.filter(is_new));
            }
            let written = "write the machine's cpu and memory into its template";
            spec.refuse("instancetype", written, refusals);
            let preferred = "remove it: what it prefers is written into the template";
            spec.refuse("preference", preferred, refusals);
            let mut template = spec.object("template", refusals);
            spec.end(refusals);
            server.labels = of_template(&mut template, refusals);
            let inner = template.object("spec", refusals);
            template.end(refusals);
            instance(inner, &metadata, &mut server, &mut own, volumes, refusals);
        }
        _ => instance(spec, &metadata, &mut server, &mut own, volumes, refusals),
    }
    for name in own.into_keys() {
        let path = FieldPath::of(["spec", "dataVolumeTemplates"]);
        let message = format!("no volume of the machine names {name}");
        refusals.wrong(path, &message, "name it in volumes, or remove it");
    }
    if refusals.0.is_empty() && !server.has_refused_volume {
        made(&metadata, server, place)
    } else {
        Vec::new()
    }
}

fn power(spec: &mut Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    let (running, strategy) = (spec.take("running"), spec.take("runStrategy"));
    let path = spec.path("runStrategy");
    let remedy =
        "write running: true, or runStrategy: Always, RerunOnFailure, Once, Manual or Halted";
    match (running, strategy) {
        (Some(_), Some(_)) => {
            refusals.wrong(path, "running and runStrategy are both given", remedy)
        }
        (None, None) => refusals.missing(spec.path("running"), remedy),
        (Some(node), None) => match node.value {
            Value::Bool(true) => return Some(instead(node, word_of("Running"))),
            Value::Bool(false) => return Some(instead(node, word_of("Stopped"))),
            _ => refusals.wrong(spec.path("running"), "running is true or false", remedy),
        },
        (None, Some(node)) => match node.text() {
            Some("Always" | "RerunOnFailure" | "Once") => {
                return Some(instead(node, word_of("Running")));
            }
            Some("Halted" | "Manual") => return Some(instead(node, word_of("Stopped"))),
            _ => refusals.wrong(path, "this runStrategy is not supported", remedy),
        },
    }
    None
}

fn word_of(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Only cloud-init sets the host name that a machine is given.
fn check_hostname(server: &KubevirtServer, path: FieldPath, refusals: &mut Refusals) {
    if server.hostname.is_none() {
        return;
    }
    match &server.configuration {
        Some(configuration) if configuration.ignition => refusals.wrong(
            path,
            "a guest with Ignition takes its host name from its configuration",
            "remove hostname, and write /etc/hostname by Ignition",
        ),
        Some(_) => {}
        None => refusals.wrong(
            path,
            "a guest without cloud-init does not learn its hostname",
            "add a volume with cloudInitNoCloud: {userData: …}, or remove hostname",
        ),
    }
}

fn instance(
    mut spec: Fields<'_>,
    metadata: &KubevirtMetadata<'_>,
    server: &mut KubevirtServer,
    own: &mut BTreeMap<String, DataVolume>,
    known: &mut Volumes<'_>,
    refusals: &mut Refusals,
) {
    server.arch = architecture(&mut spec, refusals);
    server.hostname = spec.text("hostname", refusals).cloned();
    let hostname_path = spec.path("hostname");
    if let Some(node) = spec.peek("readinessProbe") {
        let probes = guest::probes(spec.object("readinessProbe", refusals), refusals);
        let ready = |all| instead(node, object([("all", Some(all))]).value);
        server.ready = probes.map(ready);
    }
    let networks = networks(&mut spec, refusals);
    let volumes = volumes(&mut spec, server, refusals);
    check_hostname(server, hostname_path, refusals);
    let mut domain = spec.object("domain", refusals);
    let remedy = "remove it; `vsiflow stop --grace-period` says it for each shutdown";
    spec.refuse("terminationGracePeriodSeconds", remedy, refusals);
    spec.end(refusals);
    let mut devices = domain.object("devices", refusals);
    machine(domain, server, refusals);
    server.interfaces = interfaces(&mut devices, networks, refusals);
    if devices.has("rng") {
        devices.object("rng", refusals).end(refusals);
    }
    server.graphics = graphics(&mut devices, refusals);
    disks(
        &mut devices,
        metadata,
        volumes,
        server,
        own,
        known,
        refusals,
    );
    devices.end(refusals);
}

fn architecture(spec: &mut Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    let node = spec.text("architecture", refusals)?;
    let arch = match node.text().unwrap_or_default() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "s390x" => "s390x",
        "ppc64le" => "ppc64le",
        _ => {
            let path = spec.path("architecture");
            refusals.wrong(
                path,
                "this architecture is not known",
                "write amd64, arm64, s390x or ppc64le",
            );
            return None;
        }
    };
    Some(instead(node, word_of(arch)))
}

/// Processors, memory and firmware.
fn machine(mut domain: Fields<'_>, server: &mut KubevirtServer, refusals: &mut Refusals) {
    let mut cpu = domain.object("cpu", refusals);
    let (mut cpus, mut counted) = (1_i128, None);
    for key in ["cores", "sockets", "threads"] {
        let Some(node) = cpu.take(key) else { continue };
        match node.value {
            Value::Int(count) if (1..=4096).contains(&count) => {
                cpus = cpus.saturating_mul(count);
                counted = Some(node);
            }
            _ => refusals.wrong(
                cpu.path(key),
                "this is not a number of CPUs",
                "write, for example: 2",
            ),
        }
    }
    server.cpu = cpu.text("model", refusals).cloned();
    cpu.end(refusals);
    let mut guest_memory = domain.object("memory", refusals);
    let path = guest_memory.path("guest");
    let guest = guest_memory.take("guest");
    server.memory = guest.and_then(|node| memory(node, path, refusals));
    guest_memory.end(refusals);
    let mut resources = domain.object("resources", refusals);
    let mut requests = resources.object("requests", refusals);
    let memory_path = requests.path("memory");
    match (requests.take("memory"), guest) {
        (Some(_), Some(_)) => refusals.wrong(
            memory_path,
            "memory.guest and resources.requests.memory are both given",
            "write memory.guest alone: a host keeps no memory for others",
        ),
        (Some(node), None) => server.memory = memory(node, memory_path, refusals),
        (None, _) => {}
    }
    let cpu_path = requests.path("cpu");
    match (requests.take("cpu"), counted) {
        (Some(_), Some(_)) => refusals.wrong(
            cpu_path,
            "cpu.cores and resources.requests.cpu are both given",
            "write cpu.cores alone: a host keeps no processors for others",
        ),
        (Some(node), None) => server.cpus = whole(node, cpu_path, refusals),
        (None, counted) => {
            server.cpus = counted.map(|node| instead(node, Value::Int(cpus)));
        }
    }
    requests.end(refusals);
    resources.end(refusals);
    if server.memory.is_none() && refusals.0.is_empty() {
        let guest_path = domain.path("memory").key("guest");
        refusals.missing(guest_path, "write the guest's memory, for example: 2Gi");
    }
    firmware(&mut domain, server, refusals);
    let mut kind = domain.object("machine", refusals);
    let fitting = match server.arch.as_ref().and_then(YamlNode::text) {
        Some("aarch64") => "virt",
        Some("s390x") => "s390-ccw-virtio",
        Some("ppc64le") => "pseries",
        _ => "q35",
    };
    word(&mut kind, "type", fitting, refusals);
    kind.end(refusals);
    domain.end(refusals);
}

fn whole(node: &YamlNode, path: FieldPath, refusals: &mut Refusals) -> Option<YamlNode> {
    let count = match &node.value {
        Value::Int(count) => Some(*count),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    let Some(count) = count else {
        refusals.wrong(
            path,
            "a part of a processor is not supported",
            "write a whole number",
        );
        return None;
    };
    Some(instead(node, Value::Int(count)))
}

/// Absent means no screen, unlike in KubeVirt: vsiflow adds one only on request.
fn graphics(devices: &mut Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    let node = devices.take("autoattachGraphicsDevice")?;
    match node.value {
        Value::Bool(true) => return Some(instead(node, word_of("vnc"))),
        Value::Bool(false) => {}
        _ => refusals.wrong(
            devices.path("autoattachGraphicsDevice"),
            "autoattachGraphicsDevice is true or false",
            "write, for example: true",
        ),
    }
    None
}

fn firmware(domain: &mut Fields<'_>, server: &mut KubevirtServer, refusals: &mut Refusals) {
    let mut firmware = domain.object("firmware", refusals);
    let mut loader = firmware.object("bootloader", refusals);
    let (bios, efi) = (loader.has("bios"), loader.has("efi"));
    if bios {
        loader.object("bios", refusals).end(refusals);
        server.firmware = Some(text("bios"));
    }
    if efi {
        let mut efi_settings = loader.object("efi", refusals);
        let (message, remedy) = (
            "secure boot is not supported",
            "write efi: {secureBoot: false}",
        );
        match efi_settings.take("secureBoot").map(|node| &node.value) {
            Some(Value::Bool(false)) => {}
            Some(_) => refusals.wrong(efi_settings.path("secureBoot"), message, remedy),
            // KubeVirt turns secure boot on if this is absent.
            None => refusals.wrong(efi_settings.own_path(), message, remedy),
        }
        efi_settings.end(refusals);
        server.firmware = Some(text("uefi"));
    }
    if bios && efi {
        refusals.wrong(
            loader.own_path(),
            "bios and efi are both given",
            "write one of them",
        );
    }
    loader.end(refusals);
    firmware.end(refusals);
}

/// The documents of the server and its disks.
fn made(
    metadata: &KubevirtMetadata<'_>,
    server: KubevirtServer,
    place: &Placement,
) -> Vec<MadeNode> {
    let Some(boot) = server.boot else {
        return Vec::new();
    };
    let VolumeSource::Http(url) = boot.source else {
        return Vec::new();
    };
    let name = metadata.name.as_str();
    let name_node = metadata.node.and_then(|node| node.get("name"));
    let disks = server.disks.iter().map(|(disk, volume)| MadeNode {
        node: data_volume::disk(disk, metadata.namespace, volume, name_node, place),
        name_at: volume.name_at.clone(),
    });
    let mut all: Vec<_> = disks.collect();
    let configuration = server.configuration;
    let kind = match &configuration {
        Some(found) if found.ignition => "ignition",
        Some(_) => "cloudInit",
        None => "none",
    };
    let found = configuration.unwrap_or_default();
    let guest = object([
        ("type", Some(text(kind))),
        ("userData", found.user_data),
        ("userDataFrom", found.user_data_from),
        ("networkConfig", found.network_config),
        ("hostname", server.hostname),
    ]);
    let machine = object([
        ("arch", server.arch),
        (
            "cpus",
            server
                .cpus
                .or_else(|| Some(YamlNode::nowhere(Value::Int(1)))),
        ),
        ("memory", server.memory),
        ("cpu", server.cpu),
        ("firmware", server.firmware),
        ("graphics", server.graphics),
    ]);
    let has_disks = !all.is_empty();
    let spec = object([
        ("guest", Some(guest)),
        ("imageURL", Some(url)),
        ("storagePool", place.pool.clone().or(boot.pool)),
        ("targetSelector", place.target.clone()),
        (
            "diskSelector",
            has_disks.then(|| data_volume::selector(name)),
        ),
        (
            "bootDisk",
            Some(object([
                ("size", boot.size),
                ("mode", boot.ephemeral.then(|| text("ephemeral"))),
            ])),
        ),
        ("machine", Some(machine)),
        ("ready", server.ready),
        ("interfaces", server.interfaces),
        ("powerState", server.power),
    ]);
    let node = object([
        ("apiVersion", Some(text(VSIFLOW_API_VERSION))),
        ("kind", Some(text(VIRTUAL_SERVER))),
        ("metadata", Some(with_labels(metadata, server.labels))),
        ("spec", Some(spec)),
    ]);
    all.push(MadeNode {
        node,
        name_at: None,
    });
    all
}
