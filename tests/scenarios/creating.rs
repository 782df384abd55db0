//! `create`: makes VSIs from the command line, without a document.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use vsiflow_tests::{Host, Vsi, Vsiflow, http};

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
    // The journal knows the image and the host by now.
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
    for dry in [&[][..], &["--dry-run"]] {
        let refused_so =
            |words: &[&str], code: i32, says: &str| refused(&[words, dry].concat(), code, says);
        refused_so(&["b", "a", "--image", IMAGE], 4, "VSI0812");
        refused_so(&["b", "--image", "image/none"], 3, "VSI0703");
        refused_so(&["b", "--image", IMAGE, "--on", "nowhere"], 3, "nowhere");
    }
    let printed = vsiflow.run(&["create", "a", "--image", IMAGE, "--dry-run", "-o", "yaml"]);
    printed.exits(4).says("kind: VirtualServer").says("VSI0812");
    refused(&["b", "--image", IMAGE, "--type", "huge"], 3, "VSI0703");
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

    // A path names a file of the caller. The daemon reads none for it: it takes documents, and no words.
    let own = vsiflow.write("own.yaml", "#cloud-config\nhostname: daemons-own\n");
    let words = [
        "vsiflow",
        "create",
        "other",
        "--image",
        IMAGE,
        "--user-data",
    ];
    let mut words = words.map(str::to_owned).to_vec();
    words.push(own.to_str().unwrap().to_owned());
    let ask = json!({"args": words, "files": []});
    let socket = vsiflow.state().join("vsiflow.sock");
    let refused = http::post(&socket, "/v1/commands", &ask).text();
    assert!(refused.contains("VSI0022"), "{refused}");
    let document = "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {name: other}\nspec: \
                    {imageURL: 'http://images.lab.test:8080/debian-12.qcow2', guest: {type: none}}\n";
    let file = json!({"name": "other.yaml", "content": BASE64_STANDARD.encode(document)});
    let apply = |only_new: bool| {
        let documents = json!({"files": [file], "on": "sim"});
        let request = json!({"documents": documents, "onlyNew": only_new});
        http::post(&socket, "/v1/apply-documents", &request)
    };
    let made = apply(true).is(200).json();
    assert_eq!(
        made["objects"][0]["documented"]["change"], "created",
        "{made}"
    );
    assert_eq!(vsiflow.vsi("other")["spec"]["guest"]["type"], "none");
    apply(true).is(409).is_problem("VSI0812");
    let again = apply(false).is(200).json();
    assert_eq!(
        again["objects"][0]["documented"]["change"], "unchanged",
        "{again}"
    );
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn a_known_host_is_chosen_by_its_label_without_its_documents() {
    let vsiflow = Vsiflow::of_documents();
    let known_hosts =
        "x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let host = |label: &str, port| Host {
        label: label.to_owned(),
        hostname: "127.0.0.1".to_owned(),
        port,
        known_hosts: known_hosts.to_owned(),
        key: "none".to_owned(),
    };
    let first = Vsi::named("first").on("one");
    let apply = |documents: String| vsiflow.apply(documents, &["--timeout", "1s"]);
    apply(format!("{}\n{first}", host("one", 9)));
    let create_named = |name: &str, target: &str| {
        let image = ["--image", IMAGE, "--timeout", "1s"];
        vsiflow.run(&[&["create", name, "--target", target][..], &image].concat())
    };
    let create = |target: &str| create_named("web", target);
    create("config=two")
        .exits(3)
        .says("VSI0703")
        .says("config=two");
    let created = create("config=one");
    assert!(created.stdout.contains("vsi/web created"), "{created:?}");
    assert_eq!(vsiflow.vsi("web")["status"]["host"], "root@127.0.0.1:9");
    vsiflow.run(&["get", "host"]).exits(0).says("config=one");

    // A new label replaces the first one. A label that two hosts have does not select a host.
    let again = host("three", 9).to_string();
    apply(format!("{again}\n{}", first.clone().on("three")));
    create_named("x", "config=one").exits(3);
    let other = host("three", 10).to_string();
    apply(format!("{other}\n{}", Vsi::named("second").on("three")));
    create_named("x", "config=three")
        .exits(2)
        .says("VSI0607")
        .says("root@127.0.0.1:10");
}

const TYPE: &str = "apiVersion: vsiflow.io/v1\nkind: VirtualServerType\nmetadata: {name: tiny}\nspec:\n  \
    cpus: 3\n  memory: 768Mi\n  bootDisk: 7Gi\n  guest:\n    type: cloudInit\n    sshKeys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIWN1t5kgx4q2jFxXZy0O2OQFFiry5pOc60Y0u+PZsQw me@desk\"]\n";

#[test]
fn types_are_documents_whose_values_a_machine_keeps() {
    let vsiflow = Vsiflow::simulated();
    let create = |name: &str, more: &[&str]| {
        let words = ["create", name, "--image", IMAGE, "--type", "tiny"];
        vsiflow.run(&[&words[..], more].concat())
    };
    vsiflow.apply(TYPE, &[]).exits(0).says("type/tiny created");
    vsiflow
        .apply(TYPE, &[])
        .exits(0)
        .says("type/tiny unchanged");
    vsiflow
        .run(&["get", "types"])
        .exits(0)
        .says("large")
        .says("768Mi");
    vsiflow
        .run(&["describe", "type", "tiny"])
        .exits(0)
        .says("sshKeys");
    create("a", &["--wait"]).exits(0);
    let a = vsiflow.vsi("a");
    assert_eq!(a["spec"]["machine"]["cpus"], 3);
    assert_eq!(a["spec"]["guest"]["type"], "cloudInit");
    assert_eq!(
        a["spec"]["guest"]["sshKeys"][0],
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIWN1t5kgx4q2jFxXZy0O2OQFFiry5pOc60Y0u+PZsQw me@desk"
    );
    create("b", &["--cpus", "1", "--dry-run"])
        .exits(0)
        .says("memory: 768Mi")
        .says("cpus: 1")
        .says("size: 7Gi");

    // Changing or deleting the type does not change VSIs made from it.
    let file = vsiflow.write("type.yaml", &TYPE.replace("cpus: 3", "cpus: 4"));
    let file = file.to_str().unwrap();
    vsiflow
        .run(&["plan", "-f", file])
        .exits(1)
        .says("something is recorded");
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .run(&["apply", "-f", file])
        .exits(0)
        .says("type/tiny configured");
    create("c", &["--wait"]).exits(0);
    assert_eq!(vsiflow.vsi("c")["spec"]["machine"]["cpus"], 4);
    assert_eq!(vsiflow.vsi("a")["spec"]["machine"]["cpus"], 3);
    vsiflow
        .run(&["delete", "type/tiny"])
        .exits(0)
        .says("type/tiny deleted");
    create("d", &[]).exits(3).says("VSI0703");
    vsiflow
        .run(&["delete", "type", "tiny"])
        .exits(3)
        .says("VSI0703");
    daemon.terminate();
    daemon.end(60).exits(0);
    assert_eq!(vsiflow.phase("a"), "Running");
    vsiflow
        .run(&["apply", "-f", file])
        .exits(0)
        .says("type/tiny created");
    vsiflow
        .run(&["delete", "-f", file])
        .exits(0)
        .says("type/tiny deleted");
}

#[test]
fn what_is_no_type_is_refused_with_its_place() {
    let vsiflow = Vsiflow::simulated();
    for (from, to, says) in [
        ("name: tiny", "name: small", "built in"),
        ("name: tiny", "name: tiny, namespace: other", "no namespace"),
        ("cpus: 3", "cpus: 0", "CPUs"),
        ("memory: 768Mi", "memory: lots", "memory"),
        ("cloudInit", "hyperProtect", "Hyper Protect"),
        ("sshKeys:", "userData: x\n    sshKeys:", "userData"),
    ] {
        let wrong = TYPE.replace(from, to);
        vsiflow.apply(wrong, &[]).exits(2).says(says);
    }
    vsiflow
        .run(&["delete", "type", "small"])
        .exits(2)
        .says("built in");
    vsiflow
        .run(&["delete", "types", "--all", "--yes"])
        .exits(2)
        .says("by their names");
}
