//! The parts of a definition that depend on the architecture. Definitions of Hyper Protect guests without a
//! platform have none of them.

use vsiflow_steps::ports::{DomainSpec, Firmware, MachineSpec, Platform};

use super::{super::write::Tag, log};

/// The name by which the agent in a guest finds its channel.
const AGENT: &str = "org.qemu.guest_agent.0";
/// The key in the firmware's configuration that Ignition reads.
const IGNITION: &str = "opt/com.coreos/config";

fn arch(machine: &MachineSpec) -> Option<(&str, &Platform)> {
    let platform = machine.platform.as_ref()?;
    Some((machine.arch.as_str(), platform))
}

pub(super) fn os(machine: &MachineSpec, os_type: Tag) -> Tag {
    let efi = match arch(machine) {
        Some(("aarch64", platform)) => platform.firmware != Firmware::Bios,
        Some(("x86_64", platform)) => platform.firmware == Firmware::Uefi,
        _ => false,
    };
    if !efi {
        return Tag::new("os").child(os_type);
    }
    // Unsigned images must boot as well.
    let unsigned = Tag::new("feature")
        .with("enabled", "no")
        .with("name", "secure-boot");
    Tag::new("os")
        .with("firmware", "efi")
        .child(os_type)
        .child(Tag::new("firmware").child(unsigned))
}

/// Passes the Ignition file through the firmware configuration device.
pub(super) fn sysinfo(machine: &MachineSpec) -> Option<Tag> {
    let (_, platform) = arch(machine)?;
    let file = platform.ignition.as_ref()?;
    let entry = Tag::new("entry").with("name", IGNITION).with("file", file);
    Some(Tag::new("sysinfo").with("type", "fwcfg").child(entry))
}

pub(super) fn features(machine: &MachineSpec) -> Option<Tag> {
    let names: &[&'static str] = match arch(machine)?.0 {
        "x86_64" => &["acpi", "apic"],
        "aarch64" => &["acpi"],
        _ => return None,
    };
    let features = names.iter().map(|name| Tag::new(name));
    Some(Tag::new("features").children(features))
}

/// The CPU model: with KVM the host's own. With emulation it is `maximum` on architectures whose default
/// model of QEMU is outdated.
pub(super) fn cpu(machine: &MachineSpec) -> Option<Tag> {
    let (arch, platform) = arch(machine)?;
    let kvm = machine.domain_type == "kvm";
    let fitting = match arch {
        _ if kvm => Some("host-model"),
        "x86_64" | "aarch64" => Some("maximum"),
        _ => None,
    };
    let named = platform
        .cpu
        .as_deref()
        .filter(|cpu| kvm || !cpu.starts_with("host-"));
    let cpu = named.or(fitting)?;
    Some(match cpu {
        "host-model" | "host-passthrough" | "maximum" => Tag::new("cpu").with("mode", cpu),
        model => Tag::new("cpu")
            .with("mode", "custom")
            .with("match", "exact")
            .child(Tag::new("model").text(model)),
    })
}

/// Whether the console is a serial port of the machine.
pub(super) fn has_serial(machine: &MachineSpec) -> bool {
    arch(machine).is_some_and(|(arch, _)| arch != "s390x")
}

pub(super) fn serial(spec: &DomainSpec) -> Option<Tag> {
    has_serial(&spec.machine).then(|| {
        Tag::new("serial")
            .with("type", "pty")
            .child(log(spec))
            .child(Tag::new("target").with("port", 0))
    })
}

pub(super) fn console() -> Tag {
    let target = Tag::new("target").with("type", "serial").with("port", 0);
    Tag::new("console").with("type", "pty").child(target)
}

pub(super) fn agent(machine: &MachineSpec) -> Option<Tag> {
    let (_, platform) = arch(machine)?;
    let target = Tag::new("target")
        .with("type", "virtio")
        .with("name", AGENT);
    platform
        .agent
        .then(|| Tag::new("channel").with("type", "unix").child(target))
}

pub(super) fn random(machine: &MachineSpec) -> Option<Tag> {
    arch(machine)?;
    let backend = Tag::new("backend")
        .with("model", "random")
        .text("/dev/urandom");
    Some(Tag::new("rng").with("model", "virtio").child(backend))
}

#[cfg(test)]
mod tests {
    use super::super::{describe, tests::spec};
    use super::*;

    fn xml(arch: &str, domain_type: &str, platform: Platform) -> String {
        let mut spec = spec();
        let machine = &mut spec.machine;
        (machine.arch, machine.domain_type) = (arch.into(), domain_type.into());
        machine.secure_execution = false;
        machine.platform = Some(platform);
        describe(&spec)
    }

    fn with_agent() -> Platform {
        Platform {
            agent: true,
            ..Platform::default()
        }
    }

    #[test]
    fn a_pc_has_what_its_guests_expect() {
        let pc = xml("x86_64", "kvm", with_agent());
        for part in [
            "<features><acpi/><apic/></features>",
            "<cpu mode='host-model'/>",
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
            "name='org.qemu.guest_agent.0'",
            "<serial type='pty'><log file='/i/c.log' append='on'/><target port='0'/></serial>",
            "<console type='pty'><target type='serial' port='0'/></console>",
            "<panic model='isa'/>",
        ] {
            assert!(pc.contains(part), "{part} is not in {pc}");
        }
        assert!(!pc.contains("iommu") && !pc.contains("firmware"), "{pc}");
        let emulated = xml("x86_64", "qemu", with_agent());
        assert!(emulated.contains("<cpu mode='maximum'/>"), "{emulated}");
        let uefi = Platform {
            firmware: Firmware::Uefi,
            ..with_agent()
        };
        assert!(xml("x86_64", "kvm", uefi).contains("<os firmware='efi'>"));
    }

    #[test]
    fn each_architecture_has_its_own() {
        let arm = xml("aarch64", "qemu", with_agent());
        assert!(
            arm.contains("<os firmware='efi'>") && arm.contains("<features><acpi/></features>")
        );
        let power = xml("ppc64le", "qemu", with_agent());
        assert!(
            !power.contains("<features>") && !power.contains("<cpu"),
            "{power}"
        );
        assert!(power.contains("<serial type='pty'>"));
        let z = xml("s390x", "kvm", with_agent());
        assert!(z.contains("<target type='sclp' port='0'/>") && !z.contains("<serial type='pty'>"));
        assert!(z.contains("<panic model='s390'/>") && z.contains("<rng "));
        for text in [arm, power, z] {
            assert!(text.contains("org.qemu.guest_agent.0"), "{text}");
        }
    }

    #[test]
    fn a_processor_is_named_or_fits_the_host() {
        let named = |cpu: &str| Platform {
            cpu: Some(cpu.to_owned()),
            ..with_agent()
        };
        let model = xml("x86_64", "kvm", named("Skylake-Server"));
        assert!(
            model.contains("<cpu mode='custom' match='exact'><model>Skylake-Server</model></cpu>")
        );
        let none = xml("x86_64", "qemu", named("host-model"));
        assert!(none.contains("<cpu mode='maximum'/>"), "{none}");
    }

    #[test]
    fn ignition_is_found_by_the_firmware_and_its_file_counts_as_used() {
        let platform = Platform {
            ignition: Some("/i/a.ign".to_owned()),
            ..with_agent()
        };
        let text = xml("x86_64", "kvm", platform);
        let entry =
            "<sysinfo type='fwcfg'><entry name='opt/com.coreos/config' file='/i/a.ign'/></sysinfo>";
        assert!(text.contains(entry), "{text}");
        let files = crate::xml::domain_info::read(&text).unwrap().files;
        let file = vsiflow_steps::ports::DiskSource::Path("/i/a.ign".to_owned());
        assert!(files.contains(&file), "{files:?}");
    }

    #[test]
    fn a_hyper_protect_guest_of_its_own_kind_is_defined_as_ever() {
        let text = describe(&spec());
        assert_eq!(text, include_str!("hyper-protect.xml").trim_end());
    }
}
