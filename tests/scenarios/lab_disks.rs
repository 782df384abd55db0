//! Data disks on a real host.

use serde_json::Value;
use vsiflow_tests::{Disk, Lab, Vsi, Vsiflow, lab::Deleted};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cd1";

fn disk(vsiflow: &Vsiflow, name: &str) -> Value {
    let ran = vsiflow.run(&["get", "disk", name, "--deleted", "-o", "json"]);
    ran.exits(0).json()
}

/// A domain of somebody else that names this volume, off.
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
        let disk = Disk::named("t-data").uid(UID).of_vsi("t-disk").size(size);
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
    // Somebody else's definition, that is off, keeps it as well.
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
        let disk = Disk::existing(&format!("of-{name}"), volume).of_vsi(name);
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
