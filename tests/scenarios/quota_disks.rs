//! Quotas of disks: a data disk counts as long as it exists, also without its member, its pool and its name in the template.

use vsiflow_tests::Vsiflow;

/// An image of 2Gi.
const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

fn quota(gib: u32) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {{name: team}}\nspec: {{hard: {{disk: {gib}Gi}}}}\n"
    )
}

/// The template of members with 2Gi for the boot disk and 1Gi for a data disk of this name, which stays.
fn template(disk: &str) -> String {
    format!(
        "template: {{spec: {{imageURL: '{IMAGE}', guest: {{type: none}}, bootDisk: {{size: 2Gi}}, \
         machine: {{cpus: 1, memory: 512Mi}}}}}}, diskTemplates: [{{metadata: {{name: {disk}}}, spec: {{size: 1Gi, \
         deletionPolicy: Retain}}}}]"
    )
}

fn pool(name: &str, replicas: u32, disk: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: {name}}}\n\
         spec: {{replicas: {replicas}, {}}}\n",
        template(disk)
    )
}

fn used(vsiflow: &Vsiflow) -> String {
    let shown = vsiflow.run(&["get", "quota", "team", "-o", "json"]);
    let used = shown.exits(0).json()["status"]["used"]["disk"].clone();
    used.as_str().unwrap().to_owned()
}

#[test]
fn disks_of_a_name_that_left_the_template_count() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(pool("db", 5, "data"), &["--wait"]).exits(0);
    vsiflow.apply(pool("db", 1, "data"), &["--wait"]).exits(0);
    vsiflow.apply(pool("db", 1, "store"), &["--wait"]).exits(0);
    vsiflow.apply(quota(11), &[]).exits(0);
    assert_eq!(
        used(&vsiflow),
        "8Gi",
        "a boot disk, five of one name and one of another"
    );
    for options in [&["--dry-run"][..], &[]] {
        vsiflow
            .apply(pool("db", 3, "store"), options)
            .exits(4)
            .says("disk: 8Gi used, 6Gi more asked for, 11Gi allowed");
    }
    vsiflow.apply(pool("db", 2, "store"), &["--wait"]).exits(0);
    assert_eq!(used(&vsiflow), "11Gi");
}

#[test]
fn a_member_promises_its_disk_unless_that_was_retained() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(quota(15), &[]).exits(0);
    vsiflow.apply(pool("db", 5, "data"), &["--wait"]).exits(0);
    vsiflow.apply(pool("db", 1, "data"), &["--wait"]).exits(0);
    assert_eq!(used(&vsiflow), "7Gi");
    // What is there already costs no more.
    vsiflow.apply(quota(11), &[]).exits(0);
    let scale = |replicas| vsiflow.run(&["scale", "pool/db", "--replicas", replicas, "--wait"]);
    scale("3").exits(0);
    scale("1").exits(0);
    for number in 1..5 {
        let disk = format!("disk/data-db-{number}");
        vsiflow.run(&["delete", &disk, "--wait"]).exits(0);
    }
    assert_eq!(used(&vsiflow), "3Gi");
    vsiflow
        .run(&["scale", "pool/db", "--replicas", "5"])
        .exits(4)
        .says("disk: 3Gi used, 12Gi more asked for, 11Gi allowed");
    scale("3").exits(0);
    assert_eq!(used(&vsiflow), "9Gi");
}

#[test]
fn disks_that_a_deleted_pool_left_count_once_in_the_next_one() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(quota(9), &[]).exits(0);
    vsiflow.apply(pool("db", 3, "data"), &["--wait"]).exits(0);
    vsiflow.run(&["delete", "pool/db", "--wait"]).exits(0);
    assert_eq!(used(&vsiflow), "3Gi");
    vsiflow
        .apply(pool("other", 3, "data"), &[])
        .exits(4)
        .says("disk: 3Gi used, 9Gi more asked for, 9Gi allowed");
    vsiflow
        .apply(pool("db", 3, "store"), &[])
        .exits(4)
        .says("disk: 3Gi used, 9Gi more asked for, 9Gi allowed");
    vsiflow.apply(pool("db", 3, "data"), &["--wait"]).exits(0);
    assert_eq!(used(&vsiflow), "9Gi");
}

#[test]
fn disks_of_what_a_group_removed_count_beside_a_pool_of_its_name() {
    let vsiflow = Vsiflow::simulated();
    let group = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: g}}\nspec:\n  waves:\n  \
         - name: first\n    pools:\n    - {{name: a, replicas: 2, removeAfter: second, {}}}\n  \
         - name: second\n    pools:\n    - {{name: b, replicas: 1, {}}}\n",
        template("data"),
        template("data")
    );
    vsiflow.apply(quota(9), &[]).exits(0);
    vsiflow.apply(&group, &["--wait"]).exits(0);
    assert_eq!(
        used(&vsiflow),
        "5Gi",
        "two disks stay, and a member has two"
    );
    vsiflow
        .apply(pool("g-a", 2, "store"), &[])
        .exits(4)
        .says("disk: 5Gi used, 6Gi more asked for, 9Gi allowed");
    vsiflow.apply(pool("g-a", 2, "data"), &["--wait"]).exits(0);
    assert_eq!(used(&vsiflow), "9Gi");
    vsiflow.apply(&group, &[]).exits(0).says("unchanged");
}
