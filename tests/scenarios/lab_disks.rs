//! Data disks on a real host.

use std::io::Write as _;

use serde_json::Value;
use vsiflow_tests::{DiskDocument, Lab, Vsi, Vsiflow, lab::Deleted};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cd1";

fn disk(vsiflow: &Vsiflow, name: &str) -> Value {
    let ran = vsiflow.run(&["get", "disk", name, "--deleted", "-o", "json"]);
    ran.exits(0).json()
}

/// Defines a foreign domain that uses this volume; it is off.
fn foreign(lab: &Lab, vsiflow: &Vsiflow, volume: &str) {
    let path = lab.virsh(&["vol-path", "--pool", "images", volume]);
    let xml = format!(
        "<domain type='qemu'><name>t-foreign</name><memory unit='MiB'>64</memory>\
         <os><type arch='s390x'>hvm</type></os><devices><disk type='file' device='disk'>\
         <source file='{}'/><target dev='vda' bus='virtio'/></disk></devices></domain>",
        path.trim()
    );
    let file = vsiflow.write("foreign.xml", &xml);
    lab.virsh(&["define", file.to_str().unwrap()]);
}

#[test]
fn lab_a_data_disk_is_made_grows_and_goes_only_once_nobody_uses_it() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-disk.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-disk");
    let documents = |size: &str| {
        let vsi = Vsi::named("t-disk").image(image.url()).choosing_disks();
        let disk = DiskDocument::named("t-data")
            .uid(UID)
            .of_vsi("t-disk")
            .size(size);
        let disk = disk.with("deletionPolicy: Delete");
        format!("{}{vsi}{disk}", lab.host())
    };
    vsiflow.apply(documents("64Mi"), &[]).exits(0);
    let domain = lab.domains("default/t-disk").remove(0);
    let block = || lab.virsh(&["domblkinfo", &domain, "vdc"]);
    assert!(block().contains("67108864"), "{}", block());
    vsiflow.apply(documents("128Mi"), &[]).exits(0);
    assert!(block().contains("134217728"), "{}", block());
    assert_eq!(disk(&vsiflow, "t-data")["status"]["capacity"], 128 << 20);
    vsiflow
        .apply(documents("64Mi"), &[])
        .exits(4)
        .says("never shrinks");

    vsiflow
        .run(&["delete", "disk/t-data"])
        .exits(4)
        .says("VSI0210");
    foreign(&lab, &vsiflow, UID);
    vsiflow.run(&["delete", "t-disk", "--wait"]).exits(0);
    // A foreign domain protects the disk even while it is off.
    vsiflow
        .run(&["retry", "disk/t-data"])
        .exits(4)
        .says("t-foreign names it");
    assert!(lab.volumes("images").contains(&UID.to_owned()));
    lab.virsh(&["undefine", "t-foreign"]);
    vsiflow.run(&["retry", "disk/t-data"]).exits(0);
    assert!(!lab.volumes("images").contains(&UID.to_owned()));
}

#[test]
fn lab_defect_23_a_reference_keeps_its_format_and_goes_to_one_vsi_at_a_time() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-refs.qcow2"), Vsiflow::of_documents());
    let _gone = (Deleted(&vsiflow, "t-ref-a"), Deleted(&vsiflow, "t-ref-b"));
    let volume = "t-existing.img";
    lab.virsh(&["vol-create-as", "images", volume, "16M", "--format", "raw"]);
    let documents = |name: &str| {
        let vsi = Vsi::named(name).image(image.url()).choosing_disks();
        let disk = DiskDocument::existing(&format!("of-{name}"), volume).of_vsi(name);
        format!("{}{vsi}{disk}", lab.host())
    };
    vsiflow.apply(documents("t-ref-a"), &[]).exits(0);
    let domain = lab.domains("default/t-ref-a").remove(0);
    let xml = lab.virsh(&["dumpxml", &domain]);
    let at = xml.find(volume).unwrap();
    let start = xml[..at].rfind("<disk").unwrap();
    assert!(xml[start..at].contains("type='raw'"), "{}", &xml[start..at]);
    vsiflow
        .apply(documents("t-ref-b"), &[])
        .exits(4)
        .says("VSI0210");
    vsiflow.run(&["delete", "t-ref-a", "--wait"]).exits(0);
    vsiflow.run(&["retry", "t-ref-b"]).exits(0);
    assert_eq!(vsiflow.phase("t-ref-b"), "Running");
    vsiflow.run(&["delete", "t-ref-b", "--wait"]).exits(0);
    assert!(lab.volumes("images").contains(&volume.to_owned()));
    lab.virsh(&["vol-delete", "--pool", "images", volume]);
}

/// A header as a guest may write it to its disk: it claims to be a qcow2 with this backing file.
fn reaching(path: &str) -> Vec<u8> {
    let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
    header.extend(112_u64.to_be_bytes());
    header.extend(u32::try_from(path.len()).unwrap().to_be_bytes());
    header.extend(16_u32.to_be_bytes());
    header.extend((16_u64 << 20).to_be_bytes());
    header.resize(96, 0);
    header.extend(4_u32.to_be_bytes());
    header.extend(104_u32.to_be_bytes());
    header.resize(112, 0);
    header.extend(path.as_bytes());
    header
}

#[test]
fn lab_defect_23_a_guest_that_writes_a_qcow2_header_into_its_raw_disk_reaches_no_other_file() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-reach.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-reach");
    let volume = "t-reach.img";
    lab.virsh(&["vol-create-as", "images", volume, "16M", "--format", "raw"]);
    let documents = |cpus| {
        let vsi = Vsi::named("t-reach").image(image.url()).choosing_disks();
        let disk = DiskDocument::existing("of-t-reach", volume).of_vsi("t-reach");
        format!("{}{}{disk}", lab.host(), vsi.cpus(cpus))
    };
    vsiflow.apply(documents(1), &[]).exits(0);
    let domain = lab.domains("default/t-reach").remove(0);
    let driver = || {
        let xml = lab.virsh(&["dumpxml", "--inactive", &domain]);
        let start = xml[..xml.find(volume).unwrap()].rfind("<disk").unwrap();
        xml[start..].split("</disk>").next().unwrap().to_owned()
    };
    assert!(driver().contains("type='raw'"), "{}", driver());
    let path = lab.virsh(&["vol-path", "--pool", "images", volume]);
    let write = |bytes: &[u8]| {
        let mut file = std::fs::File::options()
            .write(true)
            .open(path.trim())
            .unwrap();
        file.write_all(bytes).unwrap();
        lab.volumes("images");
    };
    write(&reaching("/etc/hostname"));
    let seen = lab.virsh(&["vol-dumpxml", "--pool", "images", volume]);
    assert!(seen.contains("type='qcow2'"), "libvirt believes it: {seen}");
    vsiflow.apply(documents(2), &[]).exits(4).says("VSI0218");
    assert!(driver().contains("type='raw'"), "{}", driver());
    assert_eq!(lab.virsh(&["domstate", &domain]).trim(), "running");
    // libvirt and QEMU do not probe the disk either when the domain starts from its definition.
    lab.virsh(&["destroy", &domain]);
    lab.virsh(&["start", &domain]);
    assert!(!lab.virsh(&["dumpxml", &domain]).contains("/etc/hostname"));
    write(&[0; 256]);
    vsiflow.run(&["retry", "t-reach"]).exits(0);
    assert!(driver().contains("type='raw'"), "{}", driver());
    vsiflow.run(&["delete", "t-reach", "--wait"]).exits(0);
    lab.virsh(&["vol-delete", "--pool", "images", volume]);
}

#[test]
fn lab_a_volume_is_kept_for_whoever_names_it_by_a_link_or_a_layer_outside_of_pools() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let uid = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cd7";
    let disk = DiskDocument::named("t-linked").uid(uid).size("16Mi");
    let disk = disk.with("deletionPolicy: Delete");
    vsiflow.apply(format!("{}{disk}", lab.host()), &[]).exits(0);
    let path = lab.virsh(&["vol-path", "--pool", "images", uid]);
    let path = path.trim();
    let link = vsiflow.folder().join("link");
    std::os::unix::fs::symlink(std::path::Path::new(path).parent().unwrap(), &link).unwrap();
    let linked = link.join(uid).display().to_string();
    let over = vsiflow.folder().join("over.qcow2");
    std::fs::write(&over, reaching(path)).unwrap();
    for (name, file) in [
        ("t-by-link", linked),
        ("t-by-layer", over.display().to_string()),
    ] {
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>\
             <os><type arch='s390x'>hvm</type></os><devices><disk type='file' device='disk'>\
             <driver name='qemu' type='qcow2'/><source file='{file}'/>\
             <target dev='vda' bus='virtio'/></disk></devices></domain>"
        );
        let written = vsiflow.write("user.xml", &xml);
        lab.virsh(&["define", written.to_str().unwrap()]);
        let refused = vsiflow.run(&["delete", "disk/t-linked"]).exits(4);
        lab.virsh(&["undefine", name]);
        refused.says("VSI0210").says(&format!("domain {name} "));
        assert!(lab.volumes("images").contains(&uid.to_owned()));
    }
    // The same for a volume in an inactive pool, which libvirt does not list.
    let folder = vsiflow.folder().join("off");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("over.qcow2"), reaching(path)).unwrap();
    let xml = format!(
        "<pool type='dir'><name>t-off</name><target><path>{}</path></target></pool>",
        folder.display()
    );
    let written = vsiflow.write("off.xml", &xml);
    lab.virsh(&["pool-define", written.to_str().unwrap()]);
    let refused = vsiflow.run(&["delete", "disk/t-linked"]).exits(4);
    lab.virsh(&["pool-undefine", "t-off"]);
    refused
        .says("VSI0210")
        .says("over.qcow2 in the inactive pool t-off is a layer over it");
    assert!(lab.volumes("images").contains(&uid.to_owned()));
    vsiflow.run(&["retry", "disk/t-linked"]).exits(0);
    assert!(!lab.volumes("images").contains(&uid.to_owned()));
}
