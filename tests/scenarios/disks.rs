//! Data disks on the simulated host: made, grown, referred to, retained and deleted.

use serde_json::{Value, json};
use vsiflow_tests::{DiskDocument, Vsi, Vsiflow};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c0d";

fn disk(vsiflow: &Vsiflow, name: &str) -> Value {
    let ran = vsiflow.run(&["get", "disk", name, "--deleted", "-o", "json"]);
    ran.exits(0).json()
}

/// Makes a foreign volume on the host by hand.
fn volume_by_hand(vsiflow: &Vsiflow, name: &str, format: &str) {
    vsiflow.change_sim(|state| {
        state["pools"]["images"]["volumes"][name] = json!({
            "format": format, "capacity": 1 << 20, "content": {"Inline": ""}, "backing": null,
            "modified": 0, "synced": true, "busy_until": 0,
        });
    });
}

/// The data disks of the one domain with this title: name, path and serial.
fn attached(vsiflow: &Vsiflow, title: &str) -> Vec<(String, String, String)> {
    let sim = vsiflow.sim();
    let disks = sim.domain(title)["spec"]["disks"].as_array().unwrap();
    let text = |disk: &Value, key: &str| disk[key].as_str().unwrap().to_owned();
    let disks = disks.iter().skip(2);
    disks
        .map(|disk| {
            (
                text(disk, "target"),
                text(disk, "path"),
                text(disk, "serial"),
            )
        })
        .collect()
}

#[test]
fn a_data_disk_is_made_grown_and_never_shrunk_whether_a_vsi_uses_it_or_not() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(DiskDocument::named("data").uid(UID), &[])
        .exits(0)
        .says("disk/data created");
    let made = disk(&vsiflow, "data");
    assert_eq!(made["status"]["phase"], "Ready", "{made:#}");
    assert_eq!(made["status"]["volume"], format!("images/{UID}"));
    assert_eq!(made["status"]["conditions"][0]["status"], "True");
    vsiflow
        .apply(DiskDocument::named("data"), &[])
        .exits(0)
        .says("disk/data unchanged");
    vsiflow
        .apply(DiskDocument::named("data").size("3Gi"), &[])
        .exits(0)
        .says("disk/data configured: size");
    assert_eq!(vsiflow.sim().volume(UID)["capacity"], 3_u64 << 30);
    vsiflow
        .apply(DiskDocument::named("data").size("2Gi"), &[])
        .exits(4)
        .says("VSI0701")
        .says("never shrinks");
    vsiflow
        .apply(
            DiskDocument::named("data")
                .size("3Gi")
                .with("storagePool: other"),
            &[],
        )
        .exits(4);
    vsiflow
        .run(&["get", "disk"])
        .exits(0)
        .says("data")
        .says("3072 MiB");
    let history = vsiflow.run(&["history", "disk/data"]).exits(0);
    history.says("create_volume").says("grow_volume");
}

#[test]
fn a_vsi_waits_for_its_data_disk_and_says_why() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(DiskDocument::named("other"), &[]).exits(0);
    volume_by_hand(&vsiflow, UID, "raw");
    let both = format!(
        "{}{}",
        Vsi::named("web").choosing_disks(),
        DiskDocument::named("data").uid(UID)
    );
    vsiflow
        .apply(&both, &[])
        .exits(4)
        .says("VSI0213")
        .says("VSI0207");
    assert_eq!(disk(&vsiflow, "data")["status"]["phase"], "Blocked");
    // The foreign volume is not used as the disk. Once it is deleted, the disk and the VSI continue.
    vsiflow.change_sim(|state| {
        let volumes = state["pools"]["images"]["volumes"].as_object_mut().unwrap();
        volumes.remove(UID).unwrap();
    });
    vsiflow.run(&["retry", "web"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
    assert_eq!(disk(&vsiflow, "data")["status"]["usedBy"], json!(["web"]));
}

#[test]
fn a_deleted_data_disk_stays_on_its_host_unless_its_policy_is_to_delete() {
    let vsiflow = Vsiflow::simulated();
    let keep = DiskDocument::named("keep").uid(UID);
    vsiflow
        .apply(
            format!(
                "{keep}{}",
                DiskDocument::named("go").with("deletionPolicy: Delete")
            ),
            &[],
        )
        .exits(0);
    assert_eq!(vsiflow.sim().volumes().len(), 2);
    vsiflow
        .run(&["delete", "disk/keep", "disk/go"])
        .exits(0)
        .says("stays on host sim")
        .says("disk/go deleted");
    assert_eq!(vsiflow.sim().volumes(), [UID]);
    vsiflow
        .run(&["get", "disk", "-o", "name"])
        .exits(0)
        .keeps_quiet_about("disk/");
    // A document with the same UID: the existing volume belongs to it.
    vsiflow.apply(&keep, &[]).exits(0).says("disk/keep created");
    assert_eq!(disk(&vsiflow, "keep")["status"]["phase"], "Ready");
    // Without a UID it is another disk.
    vsiflow.run(&["delete", "disk", "keep"]).exits(0);
    vsiflow.apply(DiskDocument::named("keep"), &[]).exits(0);
    assert_eq!(vsiflow.sim().volumes().len(), 2);
}

#[test]
fn what_waits_is_not_called_nothing_when_it_is_cancelled_and_a_deletion_ends() {
    let vsiflow = Vsiflow::simulated();
    let disk = DiskDocument::named("data")
        .uid(UID)
        .with("deletionPolicy: Delete");
    vsiflow.apply(&disk, &[]).exits(0);
    let cancel = ["cancel", "disk/data"];
    vsiflow.run(&cancel).exits(0).says("no run is open\n");
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .apply(disk.size("3Gi"), &["--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
    vsiflow
        .run(&cancel)
        .exits(4)
        .says("what needs no order is still done");
    vsiflow
        .run(&["delete", "disk/data", "--wait", "--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
    vsiflow.run(&cancel).exits(0).says("is not done any more");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(4).says("VSI0041");
    assert_eq!(vsiflow.sim().volumes(), [UID]);
    vsiflow.run(&["delete", "disk/data", "--wait"]).exits(0);
    assert!(vsiflow.sim().volumes().is_empty());
}

#[test]
fn a_file_that_took_the_place_of_a_data_disk_is_deleted_only_once_a_guest_was_started_on_it() {
    let vsiflow = Vsiflow::simulated();
    let data = DiskDocument::named("data").uid(UID);
    let data = data.with("deletionPolicy: Delete");
    let web = Vsi::named("web").choosing_disks();
    vsiflow.apply(format!("{web}{data}"), &[]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow.change_sim(|state| {
        state["pools"]["images"]["volumes"][UID]["born"] = json!(1_000_000);
    });
    vsiflow.run(&["delete", "web", "--orphan"]).exits(0);
    vsiflow.change_sim(|state| state["domains"] = json!({}));
    vsiflow
        .run(&["delete", "disk/data"])
        .exits(4)
        .says("VSI0236")
        .says(UID);
    assert!(vsiflow.sim().volumes().contains(&UID));
    vsiflow.run(&["delete", "disk/data", "--orphan"]).exits(0);
    vsiflow.apply(format!("{web}{data}"), &[]).exits(0);
    vsiflow
        .run(&["delete", "web", "disk/data", "--wait"])
        .exits(0)
        .says("disk/data deleted");
    assert!(!vsiflow.sim().volumes().contains(&UID));
}

#[test]
fn a_vsi_keeps_the_volume_that_it_has_whichever_disk_bears_its_name_by_now() {
    let vsiflow = Vsiflow::simulated();
    let documents = |cpus| {
        let web = Vsi::named("web").cpus(cpus).choosing_disks();
        format!("{web}{}", DiskDocument::named("data"))
    };
    vsiflow.apply(documents(1), &[]).exits(0);
    let before = attached(&vsiflow, "default/web");
    vsiflow.run(&["delete", "disk/data", "--orphan"]).exits(0);
    let text = "no document of the data disk data that it has (another one has its name now)";
    vsiflow.apply(documents(1), &[]).exits(0).says(text);
    let path = vsiflow.write("more.yaml", &documents(2));
    let plan = vsiflow.run(&["plan", "-f", path.to_str().unwrap()]);
    plan.exits(1).says(text);
    vsiflow.apply(documents(2), &[]).exits(0);
    assert_eq!(attached(&vsiflow, "default/web"), before);
    assert_eq!(disk(&vsiflow, "data")["status"]["usedBy"], Value::Null);
    let conditions = vsiflow.vsi("web")["status"]["conditions"].to_string();
    assert!(conditions.contains(text), "{conditions}");
    // Deselect the disk and select it again, in two steps.
    let without = Vsi::named("web").cpus(2).to_string();
    vsiflow.apply(without, &[]).exits(0);
    assert_eq!(attached(&vsiflow, "default/web"), []);
    vsiflow
        .apply(documents(2), &[])
        .exits(0)
        .keeps_quiet_about(text);
    let after = attached(&vsiflow, "default/web");
    assert_ne!(after[0].1, before[0].1);
    assert_eq!(
        vsiflow
            .sim()
            .volumes()
            .iter()
            .filter(|v| v.len() == 36)
            .count(),
        2
    );
}

#[test]
fn a_data_disk_that_is_to_stay_is_not_forgotten_while_a_vsi_has_it() {
    let vsiflow = Vsiflow::simulated();
    let both = Vsi::named("web").disk("data", "1Gi");
    vsiflow.apply(&both, &[]).exits(0);
    let refused = vsiflow.run(&["delete", "disk/data"]).exits(4);
    refused.says("VSI0210").says("in use by web");
    assert_eq!(disk(&vsiflow, "data")["status"]["phase"], "Ready");
    // One command may delete both, in any order.
    vsiflow
        .run(&["delete", "disk/data", "vsi/web"])
        .exits(0)
        .says("vsi/web deleted")
        .says("disk/data deleted");
    vsiflow.apply(&both, &[]).exits(0);
    vsiflow
        .run(&["delete", "disk/data", "--orphan"])
        .exits(0)
        .says("is forgotten");
}

#[test]
fn defect_08_a_data_disk_that_a_domain_uses_is_not_deleted() {
    let vsiflow = Vsiflow::simulated();
    let data = DiskDocument::named("data")
        .uid(UID)
        .with("deletionPolicy: Delete");
    let web = Vsi::named("web").choosing_disks();
    vsiflow.apply(format!("{web}{data}"), &[]).exits(0);
    vsiflow
        .run(&["delete", "disk/data"])
        .exits(4)
        .says("VSI0210")
        .says("the volume is in use: VSI default/web (domain ");
    assert_eq!(disk(&vsiflow, "data")["status"]["phase"], "Deleting");
    assert_eq!(vsiflow.phase("web"), "Running");
    vsiflow.run(&["stop", "web"]).exits(0);
    // The domain's definition still names the disk.
    vsiflow
        .run(&["retry", "disk/data"])
        .exits(4)
        .says("VSI0210");
    vsiflow.run(&["delete", "web"]).exits(0);
    vsiflow.run(&["retry", "disk/data"]).exits(0);
    assert!(!vsiflow.sim().volumes().contains(&UID));
}

#[test]
fn a_vsi_and_its_disk_are_deleted_together_in_order() {
    let vsiflow = Vsiflow::simulated();
    let data = DiskDocument::named("data").with("deletionPolicy: Delete");
    let both = format!("{}{data}", Vsi::named("web").choosing_disks());
    vsiflow.apply(&both, &[]).exits(0);
    let path = vsiflow.write("both.yaml", &both);
    vsiflow
        .run(&["delete", "-f", path.to_str().unwrap()])
        .exits(0)
        .says("vsi/web deleted")
        .says("disk/data deleted");
    let sim = vsiflow.sim();
    assert_eq!(
        (sim.domains().len(), sim.volumes().len()),
        (0, 1),
        "only the image may remain"
    );
}

#[test]
fn defect_23_a_reference_is_attached_in_its_true_format_and_stays_whoever_goes() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(DiskDocument::named("other"), &[]).exits(0);
    volume_by_hand(&vsiflow, "mine", "raw");
    let web = Vsi::named("web").choosing_disks();
    let both = format!("{web}{}", DiskDocument::existing("mine", "mine"));
    vsiflow.apply(&both, &[]).exits(0);
    let format = vsiflow.sim().domain("default/web")["spec"]["disks"][2]["format"].clone();
    assert_eq!(format, "raw");
    let listed = vsiflow.run(&["get", "disk"]).exits(0);
    listed.says("Referenced").says("Reference");
    vsiflow.run(&["delete", "web"]).exits(0);
    assert!(vsiflow.sim().volumes().contains(&"mine"));
    vsiflow.run(&["delete", "disk/mine"]).exits(3);
    // A referenced volume that does not exist is never made.
    let nowhere = format!("{web}{}", DiskDocument::existing("nowhere", "nowhere"));
    vsiflow.apply(&nowhere, &[]).exits(4).says("VSI0206");
    assert!(!vsiflow.sim().volumes().contains(&"nowhere"));
}

#[test]
fn a_reference_goes_to_one_vsi_at_a_time() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(DiskDocument::named("other"), &[]).exits(0);
    volume_by_hand(&vsiflow, "shared", "qcow2");
    let vsi = |name: &str| {
        let vsi = Vsi::named(name).choosing_disks();
        let disk = DiskDocument::existing(&format!("of-{name}"), "shared").of_vsi(name);
        format!("{vsi}{disk}")
    };
    vsiflow.apply(vsi("first"), &[]).exits(0);
    vsiflow.run(&["stop", "first"]).exits(0);
    vsiflow
        .apply(vsi("second"), &[])
        .exits(4)
        .says("VSI0210")
        .says("the volume is in use: VSI default/first (domain ");
    assert_eq!(vsiflow.phase("second"), "Blocked");
    let ready = &vsiflow.vsi("second")["status"]["conditions"][0];
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("VSI0210"))
    );
    vsiflow.run(&["delete", "first"]).exits(0);
    vsiflow.run(&["retry", "second"]).exits(0);
    assert_eq!(vsiflow.phase("second"), "Running");
}

#[test]
fn defect_21_disks_keep_their_order_and_count_on_after_vdz() {
    let vsiflow = Vsiflow::simulated();
    let documents = |cpus: u32| {
        let disks = (0..26).map(|n| DiskDocument::named(&format!("disk-{n:02}")).to_string());
        let web = Vsi::named("web").choosing_disks().cpus(cpus);
        format!("{web}{}", disks.rev().collect::<String>())
    };
    vsiflow.apply(documents(1), &[]).exits(0);
    let before = attached(&vsiflow, "default/web");
    let targets: Vec<_> = before
        .iter()
        .map(|(target, _, _)| target.as_str())
        .collect();
    assert_eq!(
        (targets[0], targets[23], targets[24], targets[25]),
        ("vdc", "vdz", "vdaa", "vdab")
    );
    let serials: Vec<_> = before.iter().map(|(_, _, serial)| serial.clone()).collect();
    let expected: Vec<_> = (0..26).map(|n| format!("disk-{n:02}")).collect();
    assert_eq!(serials, expected);
    vsiflow.apply(documents(2), &[]).exits(0);
    assert_eq!(attached(&vsiflow, "default/web"), before);
}

#[test]
fn defect_20_a_disk_that_comes_later_comes_last_whatever_its_name() {
    let vsiflow = Vsiflow::simulated();
    let of = |names: &[&str]| {
        let disks = names
            .iter()
            .map(|name| DiskDocument::named(name).to_string());
        let disks = disks.collect::<String>();
        format!("{}{disks}", Vsi::named("web").choosing_disks())
    };
    vsiflow.apply(of(&["m", "z"]), &[]).exits(0);
    let before = attached(&vsiflow, "default/web");
    let all = of(&["a", "m", "z"]);
    vsiflow.apply(&all, &[]).exits(0);
    let after = attached(&vsiflow, "default/web");
    assert_eq!(after[..2], before);
    assert_eq!((after[2].0.as_str(), after[2].2.as_str()), ("vde", "a"));
    vsiflow.apply(all, &[]).exits(0).says("unchanged");
    assert_eq!(attached(&vsiflow, "default/web"), after);
}

#[test]
fn a_data_disk_is_described_with_its_users_and_newest_events() {
    let vsiflow = Vsiflow::simulated();
    let data = DiskDocument::named("data").uid(UID).size("2Gi");
    let web = Vsi::named("web").choosing_disks();
    vsiflow.apply(format!("{web}{data}"), &[]).exits(0);
    for words in [
        &["describe", "disk/data"][..],
        &["describe", "disk", "data"],
    ] {
        let text = vsiflow.run(words).exits(0);
        let lines = text.stdout.lines().map(|line| line.split_whitespace());
        let lines: Vec<String> = lines
            .map(|columns| columns.collect::<Vec<_>>().join(" "))
            .collect();
        let volume = format!("Volume: images/{UID}");
        for line in [
            &volume,
            "Capacity: 2Gi",
            "Used by: web",
            "size: 2Gi",
            "Phase: Ready",
        ] {
            assert!(
                lines.iter().any(|printed| printed == line),
                "no {line}: {text:#?}"
            );
        }
        text.says("Conditions:").says("create_volume");
    }
    let described = vsiflow.run(&["describe", "disk/data", "-o", "json"]);
    assert_eq!(described.exits(0).json(), disk(&vsiflow, "data"));
    vsiflow.run(&["describe", "disk/none"]).exits(3);
    // An unknown kind is an error, not a name without a kind.
    vsiflow.run(&["describe", "disc", "web"]).exits(3);
}

#[test]
fn a_reference_is_described_by_those_who_refer_to_it() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(DiskDocument::named("other"), &[]).exits(0);
    volume_by_hand(&vsiflow, "shared", "qcow2");
    let web = Vsi::named("web").choosing_disks();
    let disk = DiskDocument::existing("there", "shared");
    vsiflow.apply(format!("{web}{disk}"), &[]).exits(0);
    vsiflow
        .run(&["describe", "disk/there"])
        .exits(0)
        .says("Referenced")
        .says("images/shared")
        .says("web");
}

#[test]
fn a_disk_is_not_taken_over_by_its_uid_and_a_name_has_one_disk() {
    let vsiflow = Vsiflow::simulated();
    let known = DiskDocument::named("data").with("deletionPolicy: Delete");
    vsiflow.apply(known, &["--wait"]).exits(0);
    let before = disk(&vsiflow, "data");
    let own = before["metadata"]["uid"].as_str().unwrap();
    let with_uid = |name: &str, uid: &str| {
        let document = DiskDocument::named(name).uid(uid);
        document.with("deletionPolicy: Delete").to_string()
    };
    let impostor = with_uid("impostor", own);
    let elsewhere = impostor.replacen("name: impostor\n", "name: impostor\n  namespace: b\n", 1);
    for document in [&impostor, &elsewhere] {
        vsiflow
            .apply(document, &["--wait"])
            .exits(4)
            .says("VSI0757")
            .says("disk/default/data");
        let file = vsiflow.write("impostor.yaml", document);
        let plan = ["plan", "-f", file.to_str().unwrap()];
        vsiflow.run(&plan).exits(4).says("VSI0757");
    }
    vsiflow
        .apply(with_uid("data", UID), &["--wait"])
        .exits(4)
        .says("VSI0726");
    assert_eq!(disk(&vsiflow, "data"), before);
    assert_eq!(vsiflow.sim().volumes(), [own]);
}

#[test]
fn one_volume_is_not_two_disks_of_a_server() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(DiskDocument::named("other"), &[]).exits(0);
    volume_by_hand(&vsiflow, "by-hand", "raw");
    let reference = |name: &str| {
        format!(
            "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDiskRef\n\
             metadata: {{name: {name}, labels: {{disks: web}}}}\n\
             spec: {{volumeName: by-hand, storagePool: images}}\n---\n"
        )
    };
    let web = Vsi::named("web").choosing_disks();
    let documents = format!("{web}---\n{}{}", reference("one"), reference("two"));
    vsiflow
        .apply(documents, &[])
        .exits(4)
        .says("VSI0219")
        .says("another disk of this VSI is the same volume");
    assert!(vsiflow.sim().domains().is_empty());
}
