//! Parses capabilities of a host and of domains: <https://libvirt.org/formatcaps.html> and
//! <https://libvirt.org/formatdomaincaps.html>.

use vsiflow_steps::ports::GuestSupport;

use super::{XmlDocument, XmlError};

/// The machine type to use for an architecture; the host has the canonical name.
fn machine_of(arch: &str) -> Option<&'static str> {
    match arch {
        "s390x" => Some("s390-ccw-virtio"),
        "x86_64" => Some("q35"),
        "ppc64le" | "ppc64" => Some("pseries"),
        "aarch64" => Some("virt"),
        _ => None,
    }
}

/// The host's UUID from libvirt: that of the hardware, or a generated one.
pub(crate) fn host_uuid(xml: &str) -> Result<Option<uuid::Uuid>, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let text = root.text_at(&["host", "uuid"]);
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// What the host offers a guest of `arch`, except for secure execution: KVM if the host has it for the
/// architecture, otherwise emulation.
pub(crate) fn guest_support(xml: &str, arch: &str) -> Result<Option<GuestSupport>, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let guests = root
        .all("guest")
        .filter(|guest| guest.text_at(&["os_type"]) == Some("hvm"));
    let archs = guests.filter_map(|guest| guest.child("arch"));
    let Some(arch_element) = archs
        .into_iter()
        .find(|element| element.attribute("name") == Some(arch))
    else {
        return Ok(None);
    };
    let mut types: Vec<_> = arch_element
        .all("domain")
        .filter_map(|d| d.attribute("type"))
        .collect();
    types.sort_by_key(|kind| *kind != "kvm");
    let Some(domain_type) = types.first() else {
        return Ok(None);
    };
    let kvm = arch_element
        .all("domain")
        .find(|d| d.attribute("type") == Some(*domain_type));
    let machines = kvm
        .into_iter()
        .chain([arch_element])
        .flat_map(|element| element.all("machine"));
    let machine = machines.into_iter().find_map(|machine| {
        let is_listed = machine_of(arch).is_none_or(|name| machine.text() == name);
        is_listed.then(|| {
            machine
                .attribute("canonical")
                .unwrap_or(machine.text())
                .to_owned()
        })
    });
    let Some(machine) = machine.or_else(|| machine_of(arch).map(str::to_owned)) else {
        return Ok(None);
    };
    Ok(Some(GuestSupport {
        arch: arch.to_owned(),
        domain_type: (*domain_type).to_owned(),
        machine,
        secure_execution: false,
    }))
}

/// Whether the domain capabilities permit `<launchSecurity type='s390-pv'/>`.
pub(crate) fn has_secure_execution(xml: &str) -> Result<bool, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let old = root
        .at(&["features", "s390-pv"])
        .is_some_and(|pv| pv.attribute("supported") == Some("yes"));
    let security = root.at(&["features", "launchSecurity"]);
    let listed = security.is_some_and(|security| {
        let mut values = security.descendants().filter(|e| e.name() == "value");
        values.any(|value| value.text() == "s390-pv")
    });
    Ok(old || listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: &str = "<capabilities><guest><os_type>hvm</os_type><arch name='s390x'>
        <wordsize>64</wordsize><emulator>/usr/bin/qemu-system-s390x</emulator>
        <machine maxCpus='248'>s390-ccw-virtio-9.2</machine>
        <machine canonical='s390-ccw-virtio-10.0' maxCpus='248'>s390-ccw-virtio</machine>
        <domain type='qemu'/></arch></guest><guest><os_type>hvm</os_type><arch name='x86_64'>
        <machine canonical='pc-q35-9.2'>q35</machine><domain type='qemu'/><domain type='kvm'/>
        </arch></guest></capabilities>";

    #[test]
    fn the_uuid_of_the_host_is_none_where_it_is_none() {
        let of = |inside: &str| {
            let xml = format!("<capabilities><host>{inside}</host></capabilities>");
            host_uuid(&xml).unwrap().map(|uuid| uuid.to_string())
        };
        let uuid = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c0d";
        assert_eq!(of(&format!("<uuid>{uuid}</uuid>")).as_deref(), Some(uuid));
        assert_eq!((of(""), of("<uuid>?</uuid>")), (None, None));
    }

    #[test]
    fn the_canonical_machine_and_kvm_where_it_is_offered() {
        let s390x = guest_support(CAPABILITIES, "s390x").unwrap().unwrap();
        assert_eq!(
            (s390x.domain_type.as_str(), s390x.machine.as_str()),
            ("qemu", "s390-ccw-virtio-10.0")
        );
        let x86 = guest_support(CAPABILITIES, "x86_64").unwrap().unwrap();
        assert_eq!(
            (x86.domain_type.as_str(), x86.machine.as_str()),
            ("kvm", "pc-q35-9.2")
        );
        assert_eq!(guest_support(CAPABILITIES, "ppc64le"), Ok(None));
    }

    #[test]
    fn secure_execution_is_found_in_both_forms() {
        let wrap = |inside: &str| {
            format!("<domainCapabilities><features>{inside}</features></domainCapabilities>")
        };
        assert_eq!(
            has_secure_execution(&wrap("<s390-pv supported='yes'/>")),
            Ok(true)
        );
        assert_eq!(
            has_secure_execution(&wrap("<s390-pv supported='no'/>")),
            Ok(false)
        );
        let listed = "<launchSecurity supported='yes'><enum name='sectype'><value>s390-pv</value></enum></launchSecurity>";
        assert_eq!(has_secure_execution(&wrap(listed)), Ok(true));
        assert_eq!(has_secure_execution(&wrap("")), Ok(false));
    }
}
