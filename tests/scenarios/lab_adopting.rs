//! Taking over a running domain on a real host.

use vsiflow_tests::{DiskDocument, Lab, Vsi, Vsiflow, lab::Deleted};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cd2";
const DISK: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cd3";

#[test]
fn lab_a_running_domain_is_adopted_and_its_document_changes_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let image = lab.image("t-adopt.qcow2");
    let (maker, vsiflow) = (Vsiflow::of_documents(), Vsiflow::of_documents());
    let vsi = Vsi::named("t-adopt")
        .uid(UID)
        .image(image.url())
        .choosing_disks();
    let disk = DiskDocument::named("t-adopt-data")
        .uid(DISK)
        .of_vsi("t-adopt")
        .size("16Mi");
    let disk = disk.with("deletionPolicy: Delete");
    let documents = format!("{}{vsi}{disk}", lab.host());
    let host = vsiflow.write("host.yaml", &lab.host().to_string());
    let host = host.to_str().unwrap();
    let _gone = Deleted(&maker, "t-adopt");
    maker.apply(&documents, &[]).exits(0);
    let domid = || lab.virsh(&["domid", UID]);
    let (running, before) = (domid(), lab.virsh(&["dumpxml", UID]));

    let listed = vsiflow.run(&["host", "inventory", "-f", host]).exits(0);
    listed.says(UID).says("OtherJournal");
    vsiflow
        .run(&["adopt", UID, "-f", host])
        .exits(4)
        .says("VSI0207");
    // As if the old operator had made it.
    lab.virsh(&[
        "metadata",
        UID,
        "--uri",
        "https://vsiflow.io/domain/v1",
        "--remove",
        "--live",
        "--config",
    ]);
    let _adopted_gone = Deleted(&vsiflow, "t-adopt");
    vsiflow
        .run(&["adopt", UID, "-f", host, "--as", "t-adopt", "--wait"])
        .exits(0)
        .says("vsi/t-adopt is adopted without changes");
    let marked = lab.virsh(&["dumpxml", UID]);
    assert!(marked.contains("vsiflow:vsi"), "{marked}");
    let plain = |xml: &str| {
        let lines = xml.lines().filter(|line| !line.contains("vsiflow"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(plain(&marked), plain(&before));
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let shown = vsiflow.vsi("t-adopt");
    assert_eq!(shown["status"]["phase"], "Running", "{shown:#}");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let path = vsiflow.write("all.yaml", &documents);
    vsiflow
        .run(&["plan", "-f", path.to_str().unwrap()])
        .exits(0);
    assert_eq!(domid(), running, "the guest was never restarted");
    vsiflow
        .run(&["delete", "-f", path.to_str().unwrap(), "--wait"])
        .exits(0);
    let left = lab.volumes("images");
    assert!(
        !left.iter().any(|name| name.contains(UID) || name == DISK),
        "{left:?}"
    );
}
