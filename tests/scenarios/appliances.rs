//! OVA files as images: the disk in the file is uploaded whole, or nothing of it remains.

use sha2::{Digest as _, Sha256};
use vsiflow_tests::{Answer, Server, Vsi, Vsiflow, registry, server, until};

const LENGTH: usize = 700_000;

const DESCRIPTION: &str = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:href="disk.qcow2" ovf:id="a"/></References>
<DiskSection><Disk ovf:diskId="d" ovf:fileRef="a"/></DiskSection></Envelope>"#;

/// An OVA with this disk, whose manifest has the checksum of `declared`.
fn ova(disk: &[u8], declared: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(declared);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let of_description = Sha256::digest(DESCRIPTION);
    let of_description: String = of_description.iter().map(|b| format!("{b:02x}")).collect();
    let manifest = format!("SHA256(box.ovf)= {of_description}\nSHA256(disk.qcow2)= {digits}\n");
    let files = [
        registry::layer("box.ovf", DESCRIPTION.as_bytes()),
        registry::layer("disk.qcow2", disk),
        registry::layer("box.mf", manifest.as_bytes()),
    ];
    // Each layer ends with an end-of-archive mark, of which a tar archive may have only one.
    let files = files.map(|file| file[..file.len() - 1_024].to_vec());
    [files.concat(), vec![0; 1_024]].concat()
}

/// Kills an upload in the middle, and uploads the image again.
fn upload_killed_once(vsiflow: &Vsiflow, url: &str) {
    let running = vsiflow.start(&["image", "upload", url, "--upload-limit", "300Ki"]);
    until("the upload", 30, || {
        let listed = vsiflow.run(&["image", "list"]);
        listed.stdout.contains("Uploading").then_some(())
    });
    running.kill();
    let whole = vsiflow.run(&["image", "upload", url]).exits(0);
    whole.says("image/box is whole");
}

#[test]
fn a_vsi_boots_from_an_ova_whose_upload_was_killed() {
    let (vsiflow, server, image) = (Vsiflow::simulated(), Server::new(), server::image(LENGTH));
    let url = server.answers("box.ova", Answer::Tagged(ova(&image, &image), "\"1\""));
    upload_killed_once(&vsiflow, &url);
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

/// A sparse VMDK whose grains are stored in the reverse order of the disk.
fn sparse_vmdk(disk: &[u8]) -> Vec<u8> {
    const GRAIN: usize = 64 * 1024;
    let grains = disk.len().div_ceil(GRAIN);
    let description = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
         createType=\"monolithicSparse\"\nRW {} SPARSE \"disk.vmdk\"\n",
        disk.len() / 512
    );
    let mut file = vec![0_u8; GRAIN];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"KDMV\x01\0\0\0\x01\0\0\0");
    put(12, &(disk.len() as u64 / 512).to_le_bytes());
    put(20, &128_u64.to_le_bytes());
    put(28, &1_u64.to_le_bytes());
    put(36, &2_u64.to_le_bytes());
    put(44, &512_u32.to_le_bytes());
    put(56, &3_u64.to_le_bytes());
    put(64, &128_u64.to_le_bytes());
    put(73, b"\n \r\n");
    put(512, description.as_bytes());
    put(3 * 512, &4_u32.to_le_bytes());
    for grain in 0..grains {
        let sector = 128 * (grains - grain) as u32;
        put(4 * 512 + 4 * grain, &sector.to_le_bytes());
    }
    for grain in disk.chunks(GRAIN).rev() {
        file.extend_from_slice(grain);
        file.resize(file.len().next_multiple_of(GRAIN), 0);
    }
    file
}

#[test]
fn a_sparse_vmdk_whose_upload_was_killed_becomes_its_disk() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let disk: Vec<u8> = (0_u32..)
        .flat_map(u32::to_le_bytes)
        .take(512 * 1_500)
        .collect();
    let vmdk = sparse_vmdk(&disk);
    let url = server.answers("box.vmdk", Answer::Ranged(vmdk.clone(), "\"1\""));
    upload_killed_once(&vsiflow, &url);
    assert!(vsiflow.sim().content("box") == disk);
    assert_eq!(vsiflow.image_phases(), ["Ready"]);
}

#[test]
fn of_a_sparse_vmdk_that_cannot_be_entered_or_does_not_stand_alone_nothing_is_sent() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let vmdk = sparse_vmdk(&vec![7; 512 * 1_500]);
    let url = server.answers("box.vmdk", Answer::Tagged(vmdk.clone(), "\"1\""));
    let upload = vsiflow.run(&["image", "upload", &url]);
    upload.exits(4).says("VSI0320").says("in its middle");
    let mut over = vmdk.clone();
    let parent = over.windows(8).position(|bytes| bytes == b"ffffffff");
    over[parent.unwrap()] = b'0';
    server.answers("box.vmdk", Answer::Ranged(over, "\"2\""));
    let second_upload = vsiflow.run(&["image", "upload", &url]);
    second_upload
        .exits(4)
        .says("VSI0320")
        .says("needs another file");
    assert!(vsiflow.sim().volumes().is_empty());
    server.answers("box.vmdk", Answer::Ranged(vmdk, "\"3\""));
    vsiflow.run(&["image", "upload", &url]).exits(0);
}
