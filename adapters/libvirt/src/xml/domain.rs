//! Writes the definition of a domain: <https://libvirt.org/formatdomain.html>, with what IBM documents for
//! secure guests.

mod platform;
mod screen;

use vsiflow_steps::ports::{DiskSpec, DomainSpec, MachineSpec, NicSpec, OwnerMark};

use super::write::Tag;

/// The namespace of vsiflow's own metadata.
pub(crate) const MARK_URI: &str = "https://vsiflow.io/domain/v1";

/// The prefix of that namespace.
pub(crate) const MARK_PREFIX: &str = "vsiflow";

/// The definition of a domain.
pub(crate) fn describe(spec: &DomainSpec) -> String {
    let machine = &spec.machine;
    let os_type = Tag::new("type")
        .with("arch", &machine.arch)
        .with("machine", &machine.machine)
        .text("hvm");
    let action = |name, action: &str| Tag::new(name).text(action);
    let secure = machine
        .secure_execution
        .then(|| Tag::new("launchSecurity").with("type", "s390-pv"));
    Tag::new("domain")
        .with("type", &machine.domain_type)
        .child(Tag::new("name").text(&spec.name))
        .child(Tag::new("uuid").text(spec.uuid))
        .child(Tag::new("title").text(&spec.title))
        .child(Tag::new("metadata").child(mark(&spec.mark)))
        .child(
            Tag::new("memory")
                .with("unit", "MiB")
                .text(machine.memory_mib),
        )
        .child(
            Tag::new("vcpu")
                .with("placement", "static")
                .text(machine.cpus),
        )
        .children(platform::sysinfo(machine))
        .child(platform::os(machine, os_type))
        .children(platform::features(machine))
        .children(platform::cpu(machine))
        .child(Tag::new("clock").with("offset", "utc"))
        .child(action("on_poweroff", "destroy"))
        .child(action("on_reboot", "restart"))
        // A crashed guest stays off, because its disks and its log are evidence.
        .child(action("on_crash", "destroy"))
        .child(devices(spec))
        .children(secure)
        .build()
}

fn mark(mark: &OwnerMark) -> Tag {
    let tag = Tag::new("vsiflow:vsi").with("xmlns:vsiflow", MARK_URI);
    marked(tag, mark)
}

/// The mark without its namespace, which libvirt declares itself.
pub(crate) fn bare_mark(mark: &OwnerMark) -> String {
    marked(Tag::new("vsi"), mark).build()
}

fn marked(tag: Tag, mark: &OwnerMark) -> Tag {
    let mut marked = tag
        .with("journal", &mark.journal)
        .with("uid", &mark.uid)
        .with("generation", mark.generation)
        .with("sequence", mark.sequence);
    if let Some(run) = mark.run {
        marked = marked.with("run", run);
    }
    match mark.snapshot {
        Some(uid) => marked.with("snapshot", uid),
        None => marked,
    }
}

fn devices(spec: &DomainSpec) -> Tag {
    let iommu = needs_iommu(&spec.machine);
    Tag::new("devices")
        .children(spec.disks.iter().map(|spec| disk(spec, iommu)))
        .children(spec.nics.iter().map(|spec| nic(spec, iommu)))
        .children(platform::serial(spec))
        .child(console(spec))
        .children(platform::agent(&spec.machine))
        .children(screen::devices(&spec.machine, iommu))
        .child(Tag::new("memballoon").with("model", "none"))
        .children(platform::random(&spec.machine))
        .children(panic(spec))
}

/// Whether virtio devices get an IOMMU. A secure guest needs it for each of them, and definitions of Hyper
/// Protect guests without a platform have always had it.
fn needs_iommu(machine: &MachineSpec) -> bool {
    machine.platform.is_none() || machine.secure_execution
}

/// `cache='none' io='native'` makes the guest's own flushes effective. `iommu` is required for each virtio
/// device of a secure guest, and harmless for others. The format and the empty backing store are always
/// explicit, because libvirt and QEMU would otherwise trust the disk's own header.
fn disk(disk: &DiskSpec, iommu: bool) -> Tag {
    let mut driver = Tag::new("driver")
        .with("name", "qemu")
        .with("type", disk.format.as_str())
        .with("cache", "none")
        .with("io", "native");
    if iommu {
        driver = driver.with("iommu", "on");
    }
    let boot = disk
        .boot_order
        .map(|order| Tag::new("boot").with("order", order));
    Tag::new("disk")
        .with("type", "file")
        .with("device", "disk")
        .child(driver)
        .child(Tag::new("source").with("file", &disk.path))
        .children((!disk.overlay).then(|| Tag::new("backingStore")))
        .child(
            Tag::new("target")
                .with("dev", &disk.target)
                .with("bus", "virtio"),
        )
        .children(disk.readonly.then(|| Tag::new("readonly")))
        .child(Tag::new("serial").text(&disk.serial))
        .children(boot)
}

fn nic(nic: &NicSpec, iommu: bool) -> Tag {
    Tag::new("interface")
        .with("type", "network")
        .child(Tag::new("mac").with("address", &nic.mac))
        .child(Tag::new("source").with("network", &nic.network))
        .child(Tag::new("model").with("type", "virtio"))
        .children(iommu.then(|| Tag::new("driver").with("name", "vhost").with("iommu", "on")))
}

/// The log is appended across starts: a boot is read from the position recorded before its start, and the
/// output of an earlier boot stays as evidence.
fn console(spec: &DomainSpec) -> Tag {
    if platform::has_serial(&spec.machine) {
        return platform::console();
    }
    let log = log(spec);
    let target = if is_s390(spec) { "sclp" } else { "serial" };
    Tag::new("console")
        .with("type", "pty")
        .child(log)
        .child(Tag::new("target").with("type", target).with("port", 0))
}

fn log(spec: &DomainSpec) -> Tag {
    Tag::new("log")
        .with("file", &spec.console_log)
        .with("append", "on")
}

fn panic(spec: &DomainSpec) -> Option<Tag> {
    let model = match spec.machine.arch.as_str() {
        "s390x" => "s390",
        "x86_64" if spec.machine.platform.is_some() => "isa",
        _ => return None,
    };
    Some(Tag::new("panic").with("model", model))
}

fn is_s390(spec: &DomainSpec) -> bool {
    spec.machine.arch == "s390x"
}

#[cfg(test)]
mod tests {
    use super::*;
    use vsiflow_steps::ports::{MachineSpec, VolumeFormat};

    pub(crate) fn spec() -> DomainSpec {
        let disk = |target: &str, boot_order: Option<u32>, readonly| DiskSpec {
            target: target.into(),
            serial: format!("s-{target}"),
            path: format!("/i/{target}"),
            format: if readonly {
                VolumeFormat::Raw
            } else {
                VolumeFormat::Qcow2
            },
            overlay: boot_order.is_some(),
            readonly,
            boot_order,
        };
        DomainSpec {
            uuid: "6d997109-6b44-40eb-8d88-8bf7fc90bfb5".parse().unwrap(),
            name: "6d997109-6b44-40eb-8d88-8bf7fc90bfb5".into(),
            title: "default/a & b".into(),
            machine: MachineSpec {
                arch: "s390x".into(),
                domain_type: "kvm".into(),
                machine: "s390-ccw-virtio-9.2".into(),
                cpus: 2,
                memory_mib: 4096,
                secure_execution: true,
                platform: None,
            },
            disks: vec![disk("vda", Some(1), false), disk("vdb", None, true)],
            nics: vec![NicSpec {
                network: "default".into(),
                mac: "02:00:00:00:00:01".into(),
            }],
            console_log: "/i/c.log".into(),
            autostart: true,
            mark: OwnerMark {
                journal: "j".into(),
                uid: "u".into(),
                generation: 3,
                sequence: 17,
                run: Some("01M7WDX6TDH791275W3WXRBP1K".parse().unwrap()),
                snapshot: None,
            },
        }
    }

    #[test]
    fn a_secure_guest_looks_as_documented() {
        let xml = describe(&spec());
        for part in [
            "<title>default/a &amp; b</title>",
            "<launchSecurity type='s390-pv'/>",
            "<panic model='s390'/>",
            "<target type='sclp' port='0'/>",
            "<log file='/i/c.log' append='on'/>",
            "<serial>s-vdb</serial>",
            "<readonly/>",
            "<boot order='1'/>",
            "<memballoon model='none'/>",
            "<source file='/i/vda'/><target",
            "<source file='/i/vdb'/><backingStore/><target",
        ] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
        assert_eq!(xml.matches("iommu='on'").count(), 3);
    }

    #[test]
    fn the_mark_reads_back() {
        let xml = describe(&spec());
        let info = super::super::domain_info::read(&xml).unwrap();
        assert_eq!(info.mark, Some(spec().mark));
        assert_eq!(info.files.len(), 3, "two disks and a log");
        assert_eq!((info.shape.cpus, info.shape.memory_mib), (2, 4096));
        let disks = info.shape.disks.iter();
        let disks: Vec<_> = disks.map(|d| (d.target.as_str(), d.readonly)).collect();
        assert_eq!(disks, [("vda", false), ("vdb", true)]);
        assert_eq!(info.shape.disks[1].serial, "s-vdb");
        assert_eq!(info.shape.nics, spec().nics);
    }
}
