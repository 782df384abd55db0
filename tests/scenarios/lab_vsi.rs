//! A VSI on a real host over SSH, from its creation to its deletion.

use std::time::SystemTime;

use vsiflow_tests::{Lab, Vsi, Vsiflow, history::assert_nothing_done_twice, lab::Deleted};

#[test]
fn lab_a_vsi_becomes_ready_and_leaves_only_its_base_image() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-ready.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-ready").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-ready");

    vsiflow
        .apply(&documents, &["--wait"])
        .exits(0)
        .says("vsi/t-ready is Running");
    let vsi = vsiflow.vsi("t-ready");
    let uid = vsi["metadata"]["uid"].as_str().unwrap();
    assert_eq!(vsi["status"]["conditions"][0]["status"], "True", "{vsi:#}");
    assert_eq!(vsi["status"]["host"], lab.host_id().as_str());
    assert!(
        !vsi["status"]["ipAddresses"].as_array().unwrap().is_empty(),
        "{vsi:#}"
    );
    assert_eq!(lab.domains("default/t-ready"), [uid]);
    assert_eq!(lab.virsh(&["domstate", uid]).trim(), "running");
    vsiflow.run(&["logs", "t-ready"]).exits(0).says("HPL10001I");
    assert_nothing_done_twice(&vsiflow.history("t-ready"));
    let made = [
        format!("boot-{uid}.qcow2"),
        format!("cidata-{uid}.iso"),
        format!("console-{uid}.log"),
    ];
    let volumes = lab.volumes("images");
    assert!(
        made.iter().all(|name| volumes.contains(name)),
        "{volumes:?}"
    );

    vsiflow
        .apply(&documents, &["--wait"])
        .exits(0)
        .says("vsi/t-ready unchanged");
    vsiflow
        .run(&["delete", "t-ready", "--wait"])
        .exits(0)
        .says("deleted");
    assert!(lab.domains("default/t-ready").is_empty());
    let volumes_left = lab.volumes("images");
    assert!(
        !made.iter().any(|name| volumes_left.contains(name)),
        "{volumes_left:?}"
    );
    assert_eq!(image.bases().len(), 1, "{volumes_left:?}");
}

#[test]
fn lab_what_vsiflow_did_not_make_is_untouched() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-strangers.qcow2"), Vsiflow::of_documents());
    let uid = "7a0de1a6-5c42-4f0e-9f64-0b5f6b1d2c3e";
    let (volume, domain) = (format!("boot-{uid}.qcow2"), "t-strangers-domain");
    let stranger = Stranger::arrive(&lab, &volume, domain);
    let before = stranger.look();
    let vsi = Vsi::named("t-strangers").uid(uid).image(image.url());
    let _gone = Deleted(&vsiflow, "t-strangers");

    // A foreign volume has the name that the boot disk would get.
    vsiflow
        .apply(format!("{}{vsi}", lab.host()), &["--wait"])
        .exits(4)
        .says("error[VSI0207]")
        .says(&volume)
        .says(&lab.host_id());
    assert!(stranger.look() == before, "the stranger's were touched");
    vsiflow.run(&["delete", "t-strangers", "--wait"]).exits(0);
    assert!(stranger.look() == before, "the stranger's were touched");
    assert!(lab.domains("default/t-strangers").is_empty());
}

/// A foreign volume and a foreign domain.
struct Stranger<'a> {
    lab: &'a Lab,
    volume: String,
    domain: &'a str,
}

impl<'a> Stranger<'a> {
    fn arrive(lab: &'a Lab, volume: &str, domain: &'a str) -> Self {
        lab.virsh(&["vol-create-as", "images", volume, "1M", "--format", "qcow2"]);
        let folder = tempfile::tempdir().unwrap();
        let xml = folder.path().join("domain.xml");
        let text = format!(
            "<domain type='qemu'><name>{domain}</name><memory unit='MiB'>64</memory>\
             <os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os></domain>"
        );
        std::fs::write(&xml, text).unwrap();
        lab.virsh(&["define", &xml.to_string_lossy()]);
        Self {
            lab,
            volume: volume.to_owned(),
            domain,
        }
    }

    /// The bytes and modification time of the volume, and the domain's definition.
    fn look(&self) -> (Vec<u8>, SystemTime, String) {
        let path = format!("/var/lib/libvirt/images/{}", self.volume);
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        let domain = self.lab.virsh(&["dumpxml", self.domain]);
        (std::fs::read(path).unwrap(), written, domain)
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        self.lab.virsh(&["undefine", self.domain]);
        self.lab
            .virsh(&["vol-delete", "--pool", "images", &self.volume]);
    }
}
