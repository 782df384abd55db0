//! Attacks and mix-ups: documents, machines and processes that try to reach objects of others.

use std::{
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use serde_json::json;
use vsiflow_tests::{DiskDocument, Vsi, Vsiflow, until, vsiflow::binary};

#[test]
fn another_machine_under_a_hosts_name_stops_all_work_there_until_it_is_accepted() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    vsiflow.change_sim(|sim| sim["machine"] = json!("machine-id 1"));
    vsiflow.apply(Vsi::named("web").cpus(3), &[]).exits(0);
    // The address now belongs to another machine, which has none of our objects.
    vsiflow.change_sim(|sim| sim["machine"] = json!("machine-id 2"));
    let before = vsiflow.sim().domains().len();
    vsiflow
        .apply(Vsi::named("web").cpus(4), &[])
        .exits(4)
        .says("VSI0220")
        .says("vsiflow host accept");
    vsiflow.run(&["delete", "web"]).exits(4).says("VSI0220");
    assert_eq!(vsiflow.sim().domains().len(), before, "nothing was done");
    vsiflow
        .run(&["host", "accept", "sim", "--reason", "it was replaced"])
        .exits(0)
        .says("accepted: machine-id 2")
        .says("vsi/web is Deleted");
    assert_eq!(vsiflow.sim().domains().len(), 0);
}

#[test]
fn libvirts_host_uuid_stops_work_only_where_it_stayed_equal_over_a_restart_of_libvirt() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    let says = |uuid: u32, starts: u32| {
        vsiflow.change_sim(|sim| {
            sim["uuid"] = json!(format!("00000000-0000-4000-8000-{uuid:012}"));
            sim["daemon_starts"] = json!(starts);
        });
    };
    let warnings = || {
        let hosts = vsiflow.run(&["get", "host", "-o", "json"]).exits(0).json();
        hosts["items"][0]["status"]["warnings"]
            .as_array()
            .map_or(0, Vec::len)
    };
    // The ID is new at each start: that gives a warning, and does not stop any work.
    for start in 1..=3 {
        says(start, start);
        vsiflow.run(&["get", "vsi", "--refresh"]).exits(0);
        assert_eq!(warnings(), usize::from(start > 1), "start {start}");
    }
    vsiflow.apply(Vsi::named("web").cpus(3), &[]).exits(0);
    // Now the machine reports a stable ID.
    says(3, 4);
    vsiflow.run(&["get", "vsi", "--refresh"]).exits(0);
    assert_eq!(warnings(), 0);
    says(4, 5);
    let other = Vsi::named("web").cpus(4);
    vsiflow.apply(other, &[]).exits(4).says("VSI0220");
    let accept = [
        "host",
        "accept",
        "sim",
        "--reason",
        "its board was replaced",
    ];
    vsiflow.run(&accept).exits(0).says("libvirt's host UUID");
    assert_eq!(warnings(), 0);
}

#[test]
fn a_document_that_names_a_volume_of_vsiflows_own_is_refused_before_anything_is_recorded() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    let sim = vsiflow.sim();
    let boot = sim
        .volumes()
        .into_iter()
        .find(|name| name.starts_with("boot-"));
    for volume in [boot.unwrap(), ".hpcr.qcow2.vsiflow"] {
        let disk = DiskDocument::existing("theirs", volume).of_vsi("thief");
        let documents = format!("{}{disk}", Vsi::named("thief").choosing_disks());
        vsiflow.apply(documents, &[]).exits(4).says("VSI0219");
    }
    vsiflow.run(&["get", "vsi", "thief"]).exits(3);
}

#[test]
fn nobody_else_reads_the_memory_of_a_process_that_holds_keys() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can act as somebody else");
        return;
    }
    let vsiflow = Vsiflow::simulated();
    let (nobody, folder) = (65_534, vsiflow.folder());
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let copy = folder.join("vsiflow");
    std::fs::copy(binary(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["apply", "--host", "sim:", "-f", "-", "--state"]);
    command
        .arg(folder.join("of-nobody"))
        .uid(nobody)
        .gid(nobody);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = format!("/proc/{}", child.id());
    // Linux makes root the owner of the `/proc` files of a process that cannot be dumped, such as its memory.
    until("it is closed", 20, || {
        let runs = std::fs::read_to_string(format!("{process}/comm"));
        let closed = std::fs::metadata(format!("{process}/mem")).unwrap().uid() == 0;
        (closed && runs.unwrap().trim() == "vsiflow").then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}
