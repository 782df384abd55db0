//! The `image` commands, and images whose upload was interrupted.

use std::time::{Duration, Instant};

use vsiflow_tests::{Answer, Server, Vsi, Vsiflow, server, until};

const LENGTH: usize = 1_000_000;
const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A limit, and the least time that an upload takes with it: the last of its three pieces waits for the two
/// before it.
const LIMIT: &str = "300Ki";
const LIMITED: Duration = Duration::from_millis(2_500);

fn served() -> (Vsiflow, Server, String) {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let url = server.answers("guest.qcow2", Answer::Image(server::image(LENGTH)));
    (vsiflow, server, url)
}

#[test]
fn an_upload_limit_holds_for_uploads_and_for_apply() {
    let (vsiflow, _server, url) = served();
    let limit = ["--upload-limit", LIMIT];
    let begun = Instant::now();
    let upload = ["image", "upload", &url];
    vsiflow.run(&[&upload[..], &limit].concat()).exits(0);
    assert!(begun.elapsed() >= LIMITED, "{:?}", begun.elapsed());
    vsiflow.run(&["image", "prune"]).exits(0);

    let vsi = Vsi::named("web").image(&url);
    vsiflow
        .apply(vsi, &["--wait", "--upload-limit", LIMIT])
        .exits(0);
    let history = vsiflow.history("web");
    let took = history
        .iter()
        .find(|event| event.step() == "upload_chunks" && event.kind() == "step_succeeded");
    let took = took.unwrap().0["durationMs"].as_u64().unwrap();
    assert!(Duration::from_millis(took) >= LIMITED, "{took} ms");
}

#[test]
fn a_limit_that_is_no_rate_is_a_mistake_of_usage() {
    let (vsiflow, _server, url) = served();
    for wrong in ["fast", "-1", "20MiB/s", ""] {
        let limit = format!("--upload-limit={wrong}");
        let upload = vsiflow.run(&["image", "upload", &url, &limit]);
        upload.exits(2).says("--upload-limit");
        let apply = vsiflow.apply(Vsi::named("web").image(&url), &[&limit]);
        apply.exits(2).says("--upload-limit");
    }
}

#[test]
fn resume_goes_on_with_an_upload_that_was_killed() {
    for resume in [&["resume", "--all"][..], &["resume", "image/guest.qcow2"]] {
        let (vsiflow, _server, url) = served();
        let limit = ["image", "upload", &url, "--upload-limit", LIMIT];
        let running = vsiflow.start(&limit);
        until("the upload", 30, || {
            let ran = vsiflow.run(&["image", "list"]);
            ran.stdout.contains("Uploading").then_some(())
        });
        running.kill();
        assert_eq!(vsiflow.image_phases(), ["Uploading"]);
        vsiflow
            .run(resume)
            .exits(0)
            .says("image/guest.qcow2 is settled");
        assert_eq!(vsiflow.image_phases(), ["Ready"]);
        assert!(vsiflow.sim().content("guest.qcow2") == server::image(LENGTH));
        vsiflow.run(resume).exits(0).says("nothing to resume");
    }
    let vsiflow = Vsiflow::simulated();
    let unknown = vsiflow.run(&["resume", "image/unknown"]);
    unknown.exits(3).says("image unknown is not known here");
}

#[test]
fn prune_takes_away_what_a_blocked_upload_left_unless_a_vsi_waits_for_it() {
    let (vsiflow, _server, url) = served();
    let upload = ["image", "upload", &url, "--checksum", OTHER];
    vsiflow.run(&upload).exits(4).says("VSI0305");
    assert_eq!(vsiflow.image_phases(), ["Blocked"]);
    let waiting = Vsi::named("web").image(&url).checksum(OTHER);
    vsiflow.apply(waiting, &["--wait"]).exits(4).says("VSI0305");
    let prune = vsiflow.run(&["image", "prune"]).exits(0);
    assert!(prune.stdout.is_empty(), "{prune:#?}");
    assert_eq!(vsiflow.image_phases(), ["Blocked"]);

    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    let dry = vsiflow.run(&["image", "prune", "--dry-run"]);
    dry.exits(0).says("image/guest.qcow2");
    vsiflow.run(&["image", "prune"]).exits(0).says("removed");
    assert!(vsiflow.image_phases().is_empty());
    assert!(vsiflow.sim().volumes().is_empty());
}

#[test]
fn prune_gives_up_an_upload_that_never_began_and_it_can_be_begun_again() {
    let (vsiflow, server, url) = served();
    server.answers("guest.qcow2", Answer::Status("404 Not Found"));
    let upload = ["image", "upload", &url];
    vsiflow.run(&upload).exits(4).says("VSI0302");
    let dry = vsiflow.run(&["image", "prune", "--dry-run"]);
    dry.exits(0).says("would be abandoned");
    assert_eq!(vsiflow.image_phases(), ["Blocked"]);
    vsiflow.run(&["image", "prune"]).exits(0).says("abandoned");
    assert!(vsiflow.image_phases().is_empty());
    vsiflow.run(&["resume"]).exits(0).says("nothing to resume");
    server.answers("guest.qcow2", Answer::Image(server::image(LENGTH)));
    vsiflow.run(&upload).exits(0);
    assert_eq!(vsiflow.image_phases(), ["Ready"]);
}

#[test]
fn a_layer_whose_name_is_no_text_keeps_the_image_below_it() {
    let (vsiflow, _server, url) = served();
    vsiflow.run(&["image", "upload", &url]).exits(0);
    // The simulated host stores the byte 0xe9 like this.
    for (name, shown) in [
        ("caf\u{10fee9}.qcow2", "images/caf\\xe9.qcow2"),
        ("two\nlines", "images/two\\nlines"),
    ] {
        vsiflow.change_sim(|state| {
            let pool = &mut state["pools"]["images"];
            let below = format!("{}/guest.qcow2", pool["path"].as_str().unwrap());
            let mut layer = pool["volumes"]["guest.qcow2"].clone();
            layer["backing"] = below.into();
            pool["volumes"][name] = layer;
        });
        let inventory = vsiflow.run(&["host", "inventory"]).exits(0);
        let lines = inventory.stdout.lines();
        assert_eq!(
            lines.filter(|line| line.contains(shown)).count(),
            1,
            "{inventory:#?}"
        );
        let dry = vsiflow.run(&["image", "prune", "--dry-run"]).exits(4);
        dry.says("would not be removed").says("VSI0210").says(shown);
        let prune = vsiflow.run(&["image", "prune"]).exits(4);
        prune.says("VSI0210").says(shown);
        assert!(vsiflow.sim().volumes().contains(&"guest.qcow2"));
        vsiflow.change_sim(|state| {
            let volumes = state["pools"]["images"]["volumes"].as_object_mut();
            volumes.unwrap().remove(name);
        });
    }
    let dry = vsiflow.run(&["image", "prune", "--dry-run"]).exits(0);
    dry.says("would be removed");
    vsiflow.run(&["image", "prune"]).exits(0).says("removed");
}

#[test]
fn the_history_of_an_image_outlives_it() {
    let (vsiflow, _server, url) = served();
    vsiflow.run(&["image", "upload", &url]).exits(0);
    vsiflow.run(&["image", "prune"]).exits(0);
    let history = vsiflow.history("image/guest.qcow2");
    let done = |step: &str| {
        let mut all = history.iter();
        all.any(|event| event.step() == step && event.kind() == "step_succeeded")
    };
    assert!(
        done("upload_chunks") && done("remove_image"),
        "{history:#?}"
    );
    let unknown = vsiflow.run(&["history", "image/other.qcow2"]);
    unknown.exits(3).says("image other.qcow2 is not known here");
}

#[test]
fn an_upload_needs_a_host() {
    let (vsiflow, url) = (Vsiflow::of_documents(), "http://images.test/a.qcow2");
    let ran = vsiflow.run(&["image", "upload", url]);
    ran.exits(2).says("no host is named").says("--host");
}

#[test]
fn several_images_go_in_one_command_and_to_hosts_that_are_chosen_by_labels() {
    let (vsiflow, server, url) = served();
    let other = server.answers("other.qcow2", Answer::Image(server::image(LENGTH)));
    vsiflow
        .run(&["image", "upload", &url, &other])
        .exits(0)
        .says("image/guest.qcow2 is whole")
        .says("image/other.qcow2 is whole");
    assert_eq!(vsiflow.image_phases(), ["Ready", "Ready"]);
    vsiflow
        .run(&["image", "upload", &url, "-l", "role=test"])
        .exits(3)
        .says("role in (test)");
    vsiflow
        .run(&["image", "upload", &url, &other, "--checksum", OTHER])
        .exits(2)
        .says("one image only");
    // The journal knows the host by now, without labels.
    vsiflow
        .run(&["image", "upload", &other, "-l", "!role"])
        .exits(0);
}

#[test]
fn hosts_that_an_upload_met_first_are_found_by_the_labels_of_their_documents() {
    let (vsiflow, server) = (Vsiflow::of_documents(), Server::new());
    let [url, other] = ["guest.qcow2", "other.qcow2"]
        .map(|name| server.answers(name, Answer::Image(server::image(LENGTH))));
    for host in ["one", "two"] {
        let document = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {host}, labels: {{role: test}}}}\n\
             data: {{HOSTNAME: 'sim:{host}'}}\n"
        );
        let file = vsiflow.write(&format!("{host}.yaml"), &document);
        let described = ["-f", file.to_str().unwrap()];
        vsiflow
            .run(&[&["image", "upload", &url][..], &described].concat())
            .exits(0);
    }
    let selected = vsiflow.run(&["image", "upload", &other, "-l", "role=test"]);
    selected
        .exits(0)
        .says("image/other.qcow2 is whole on sim:one")
        .says("image/other.qcow2 is whole on sim:two");
}

#[test]
fn what_is_sent_to_several_hosts_is_told_by_host() {
    let vsiflow = Vsiflow::of_documents();
    let host = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{role: test, config: {name}}}}}\n\
             data: {{HOSTNAME: 'sim:{name}'}}\n---\n"
        )
    };
    let anchor = |name: &str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: on-{name}}}\nspec: {{imageURL: \
             'http://images.test/one.qcow2', guest: {{type: none}}, targetSelector: {{matchLabels: {{config: {name}}}}}}}\n---\n"
        )
    };
    let documents = ["a", "b"].map(host).concat() + &["a", "b"].map(anchor).concat();
    vsiflow.apply(documents, &["--wait"]).exits(0);
    let upload = [
        "image",
        "upload",
        "http://images.test/other.qcow2",
        "-l",
        "role=test",
    ];
    let printed = vsiflow.run(&upload).exits(0);
    printed
        .says("other.qcow2 on sim:a: upload_chunks")
        .says("other.qcow2 on sim:b: upload_chunks");
    let one = [
        "image",
        "upload",
        "http://images.test/third.qcow2",
        "--host",
        "sim:a",
    ];
    vsiflow
        .run(&one)
        .exits(0)
        .says("third.qcow2: upload_chunks");
}
