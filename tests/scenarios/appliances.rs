//! OVAs as images: the disk inside arrives whole, or nothing of it stays.

use sha2::{Digest as _, Sha256};
use vsiflow_tests::{Answer, Server, Vsi, Vsiflow, registry, server, until};

const LENGTH: usize = 700_000;

const DESCRIPTION: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:href="disk.qcow2" ovf:id="a"/></References>
<DiskSection><Disk ovf:diskId="d" ovf:fileRef="a"/></DiskSection></Envelope>"#;

/// An OVA with this disk, whose manifest says that of this one.
fn ova(disk: &[u8], said: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(said);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let of_description = Sha256::digest(DESCRIPTION);
    let of_description: String = of_description.iter().map(|b| format!("{b:02x}")).collect();
    let manifest = format!("SHA256(box.ovf)= {of_description}\nSHA256(disk.qcow2)= {digits}\n");
    let files = [
        registry::layer("box.ovf", DESCRIPTION.as_bytes()),
        registry::layer("disk.qcow2", disk),
        registry::layer("box.mf", manifest.as_bytes()),
    ];
    // Each ends as an archive does; only the last one may.
    let files = files.map(|file| file[..file.len() - 1_024].to_vec());
    [files.concat(), vec![0; 1_024]].concat()
}

#[test]
fn a_vsi_boots_from_an_ova_whose_upload_was_killed() {
    let (vsiflow, server, image) = (Vsiflow::simulated(), Server::new(), server::image(LENGTH));
    let url = server.answers("box.ova", Answer::Tagged(ova(&image, &image), "\"1\""));
    let running = vsiflow.start(&["image", "upload", &url, "--upload-limit", "300Ki"]);
    until("the upload", 30, || {
        let listed = vsiflow.run(&["image", "list"]);
        listed.stdout.contains("Uploading").then_some(())
    });
    running.kill();
    vsiflow
        .run(&["image", "upload", &url])
        .exits(0)
        .says("image/box is whole");
    assert!(vsiflow.sim().content("box") == image);
    vsiflow
        .apply(Vsi::named("web").image(&url), &["--wait"])
        .exits(0);
    assert_eq!(vsiflow.image_phases(), ["Ready"]);
}

#[test]
fn of_an_ova_with_a_wrong_manifest_nothing_stays() {
    let (vsiflow, server, image) = (Vsiflow::simulated(), Server::new(), server::image(LENGTH));
    let url = server.answers("box.ova", Answer::Image(ova(&image, b"another disk")));
    let upload = vsiflow.run(&["image", "upload", &url]);
    upload.exits(4).says("VSI0320").says("disk.qcow2");
    assert!(vsiflow.sim().volumes().is_empty());
    server.answers("box.ova", Answer::Image(ova(&image, &image)));
    vsiflow.run(&["image", "upload", &url]).exits(0);
    assert!(vsiflow.sim().content("box") == image);
}
