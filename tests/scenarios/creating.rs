//! VSIs made by a command line, without a document.

use vsiflow_tests::Vsiflow;

const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

fn key(vsiflow: &Vsiflow) -> String {
    let path = vsiflow.write("id.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQ2kyE3vIuZ0lVn8YkO4cG3qkKkWl0m8yG2mJv4xKQz me@desk\n");
    path.to_str().unwrap().to_owned()
}

#[test]
fn one_line_makes_several_machines_and_says_what_they_are() {
    let vsiflow = Vsiflow::simulated();
    let key = key(&vsiflow);
    let words = [
        "create",
        "a",
        "b",
        "--image",
        IMAGE,
        "--type",
        "medium",
        "--memory",
        "3Gi",
        "--ssh-key",
        &key,
        "--label",
        "app=web",
        "--wait",
    ];
    vsiflow
        .run(&words)
        .exits(0)
        .says("vsi/a created")
        .says("vsi/b created");
    let vsi = vsiflow.vsi("a");
    assert_eq!(vsi["kind"], "VirtualServer");
    assert_eq!(vsi["spec"]["guest"]["type"], "cloudInit");
    assert_eq!(vsi["spec"]["machine"]["cpus"], 2);
    assert_eq!(vsi["metadata"]["labels"]["app"], "web");
    assert_eq!(
        vsiflow.run(&["get", "-l", "app=web", "-o", "name"]).stdout,
        "vsi/a\nvsi/b\n"
    );
    // The image is known by now, and so is the host.
    let image = vsiflow.run(&["get", "image", "-o", "name"]).exits(0).stdout;
    let image = format!("image/{}", image.lines().next().unwrap());
    vsiflow
        .run(&["create", "c", "--image", &image, "--on", "sim", "--wait"])
        .exits(0);
    assert_eq!(vsiflow.vsi("c")["spec"]["guest"]["type"], "none");
    vsiflow.run(&["delete", "a", "--wait"]).exits(0);
    vsiflow
        .run(&["create", "a", "--image", IMAGE, "--wait"])
        .exits(0);
}

#[test]
fn the_documents_that_it_would_apply_can_be_printed_and_applied() {
    let vsiflow = Vsiflow::simulated();
    let data = vsiflow.write("data.yaml", "#cloud-config\nhostname: x\n");
    let words = [
        "create",
        "web",
        "--image",
        IMAGE,
        "--user-data",
        data.to_str().unwrap(),
        "--network",
        "default",
        "--disk",
        "12Gi",
        "--dry-run",
        "-o",
        "yaml",
    ];
    let printed = vsiflow.run(&words).exits(0).stdout;
    assert!(printed.contains("kind: VirtualServer"), "{printed}");
    assert!(printed.contains("networkName: default"), "{printed}");
    assert!(
        !vsiflow.state().exists(),
        "a dry run made a state directory"
    );
    vsiflow.apply(&printed, &["--wait"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn what_is_there_or_wrong_is_refused_and_nothing_is_made() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .run(&["create", "a", "--image", IMAGE, "--wait"])
        .exits(0);
    let refused = |words: &[&str], code: i32, says: &str| {
        let words = [&["create"][..], words].concat();
        vsiflow.run(&words).exits(code).says(says);
    };
    refused(&["b", "a", "--image", IMAGE], 4, "VSI0812");
    refused(&["b", "--image", "image/none"], 3, "VSI0703");
    refused(&["b", "--image", IMAGE, "--on", "nowhere"], 3, "nowhere");
    refused(
        &["b", "--image", IMAGE, "--type", "huge"],
        2,
        "small, medium, large",
    );
    refused(&["b", "--image", IMAGE, "--memory", "lots"], 2, "memory");
    refused(&["b", "--image", IMAGE, "--cpus", "0"], 2, "cpus");
    refused(&["B_", "--image", IMAGE], 2, "B_");
    refused(
        &["b", "--image", IMAGE, "--ssh-key", "/nowhere"],
        2,
        "VSI0908",
    );
    refused(&["b", "--image", IMAGE, "--label", "x"], 2, "key=value");
    refused(
        &["b", "--image", IMAGE, "--contract", "c", "--user-data", "d"],
        2,
        "cannot be used",
    );
    assert_eq!(vsiflow.run(&["get", "-o", "name"]).stdout, "vsi/a\n");
}

#[test]
fn a_daemon_makes_them_too_of_files_of_the_caller() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    let key = key(&vsiflow);
    vsiflow
        .run(&[
            "create",
            "web",
            "--image",
            IMAGE,
            "--ssh-key",
            &key,
            "--wait",
        ])
        .exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
    daemon.terminate();
    daemon.end(60).exits(0);
}
