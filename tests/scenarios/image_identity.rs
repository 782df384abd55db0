//! The identity of base images: partial uploads, equal names and contents, and when an image is deleted.

use vsiflow_tests::{Answer, Server, Vsi, Vsiflow, server, until};

const LENGTH: usize = 700_000;

/// A rate at which an upload takes seconds.
const SLOWLY: [&str; 2] = ["--upload-limit", "100Ki"];

#[test]
fn defect_09_a_part_of_an_image_is_never_taken_for_whole() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let image = server::image(LENGTH);
    let url = server.answers("guest.qcow2", Answer::Ranged(image.clone(), "\"one\""));
    let web = Vsi::named("web").image(&url);
    let running = vsiflow.start_apply(&web, &[&SLOWLY[..], &["--wait"]].concat());
    until("a part on the host", 30, || {
        let ran = vsiflow.run(&["get", "vsi", "web", "-o", "json"]);
        let upload = serde_json::from_str::<serde_json::Value>(&ran.stdout).ok()?;
        let bytes = upload["status"]["progress"]["upload"]["bytes"].as_u64()?;
        (bytes > 0).then_some(())
    });
    running.kill();
    let part = vsiflow.sim().content("guest.qcow2");
    assert!(part.len() < LENGTH && image.starts_with(&part[..part.len().min(1000)]));
    assert_eq!(vsiflow.image_phases(), ["Uploading"]);
    assert!(vsiflow.sim().domains().is_empty());
    // Another VSI that finds the partial image waits for the rest, like the first.
    let second = Vsi::named("db").image(&url);
    vsiflow
        .apply(format!("{web}---\n{second}"), &["--wait"])
        .exits(0);
    assert!(vsiflow.sim().content("guest.qcow2") == image);
    vsiflow.sim().assert_vsis(&["default/db", "default/web"]);
}

#[test]
fn defect_09_two_urls_with_one_file_name_are_two_images() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let (one, two) = (server::image(LENGTH), server::image(LENGTH / 2));
    let first = server.answers("one/guest.qcow2", Answer::Image(one.clone()));
    let second = server.answers("two/guest.qcow2", Answer::Image(two.clone()));
    let documents = format!(
        "{}---\n{}",
        Vsi::named("a").image(first),
        Vsi::named("b").image(second)
    );
    vsiflow.apply(documents, &["--wait"]).exits(0);
    let boot = |name: &str| {
        let uid = vsiflow.vsi(name)["metadata"]["uid"].clone();
        let volume = format!("boot-{}", uid.as_str().unwrap());
        vsiflow.sim().content(&volume)
    };
    assert!(boot("a") == one && boot("b") == two, "mixed up");
}

#[test]
fn defect_10_an_image_stays_when_its_server_does_not_answer_any_more() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let image = server::image(LENGTH);
    let url = server.answers("guest.qcow2", Answer::Image(image.clone()));
    vsiflow.apply(Vsi::named("first").image(&url), &[]).exits(0);
    for refusal in [
        "500 Internal Server Error",
        "404 Not Found",
        "403 Forbidden",
    ] {
        server.answers("guest.qcow2", Answer::Status(refusal));
        let requests = server.requests("guest.qcow2");
        let second = Vsi::named("second").image(&url);
        vsiflow.apply(second, &["--wait", "--timeout", "3s"]);
        assert!(server.requests("guest.qcow2") > requests, "nobody asked");
        assert!(vsiflow.sim().content("guest.qcow2") == image, "{refusal}");
        assert_eq!(vsiflow.phase("first"), "Running");
    }
    server.answers("guest.qcow2", Answer::Image(image));
    vsiflow.run(&["retry", "second", "--wait"]).exits(0);
    vsiflow
        .sim()
        .assert_vsis(&["default/first", "default/second"]);
    let history = vsiflow.history("second");
    let sent = history.iter().filter(|e| e.step() == "upload_chunks");
    let sent: Vec<_> = sent.map(|e| e.text("outcome")).collect();
    assert!(!sent.contains(&"created"), "sent again: {sent:?}");
}

#[test]
fn defect_13_an_older_content_of_a_url_is_listed_until_it_is_pruned() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let url = server.answers("guest.qcow2", Answer::Image(server::image(LENGTH)));
    let list = |expected: &[&str]| {
        let ran = vsiflow.run(&["image", "list"]).exits(0);
        let lines = ran.stdout.lines().skip(1).map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[0].to_owned(), words[1].to_owned())
        });
        let mut found: Vec<_> = lines
            .map(|(name, state)| format!("{name} {state}"))
            .collect();
        found.sort();
        assert_eq!(found.len(), expected.len(), "{ran:#?}");
        let fits = |(line, pattern): (&String, &&str)| match pattern.split_once('*') {
            Some((begin, end)) => line.starts_with(begin) && line.ends_with(end),
            None => line == pattern,
        };
        assert!(found.iter().zip(expected).all(fits), "{ran:#?}");
    };
    let upload = || vsiflow.run(&["image", "upload", &url]).exits(0);
    upload();
    list(&["guest.qcow2 Ready"]);
    server.answers("guest.qcow2", Answer::Image(server::image(LENGTH / 2)));
    upload();
    list(&["guest-*.qcow2 Ready", "guest.qcow2 Superseded"]);
    let dry = vsiflow.run(&["image", "prune", "--dry-run", "--keep-last", "1"]);
    dry.exits(0)
        .says("image/guest.qcow2 on")
        .keeps_quiet_about("guest-");
    list(&["guest-*.qcow2 Ready", "guest.qcow2 Superseded"]);
    let pruned = vsiflow.run(&["image", "prune", "--keep-last", "1"]);
    pruned
        .exits(0)
        .says("image/guest.qcow2 on sim in pool images removed");
    list(&["guest-*.qcow2 Ready"]);
    vsiflow.run(&["image", "prune"]).exits(0).says("removed");
    assert!(vsiflow.run(&["image", "list"]).exits(0).stdout.is_empty());
    assert!(vsiflow.sim().volumes().is_empty());
}

#[test]
fn defect_24_another_content_of_an_image_is_a_change_by_its_checksum() {
    let (server, vsiflow) = (Server::new(), Vsiflow::simulated());
    let (old, new) = (server::image(LENGTH), server::image(LENGTH / 2));
    let url = server.answers("guest.qcow2", Answer::Image(old.clone()));
    let vsi = |image: &[u8]| {
        let vsi = Vsi::named("web").image(&url);
        vsi.checksum(&server::checksum(image))
    };
    let plan = |planned: &Vsi, code: i32| {
        let path = vsiflow.write("plan.yaml", &planned.to_string());
        let plan = vsiflow.run(&["plan", "-f", path.to_str().unwrap(), "-o", "json"]);
        plan.exits(code).json()["items"][0].clone()
    };
    vsiflow.apply(vsi(&old), &[]).exits(0);
    server.answers("guest.qcow2", Answer::Image(new.clone()));
    // The server's new image does not change the desired state.
    assert_eq!(plan(&vsi(&old), 0)["action"], "none");
    let planned = plan(&vsi(&new), 1);
    assert_eq!(planned["action"], "rebuild", "{planned:#}");
    assert_eq!(planned["changes"][0]["path"], "imageChecksum");
    vsiflow.apply(vsi(&new), &[]).exits(0);
    let boot = vsiflow.sim().content("boot-");
    assert!(boot == new, "it boots from the old image");
}
