//! Image policies: a daemon deletes unused images by the policies of their hosts.

use vsiflow_tests::{Answer, Server, Vsi, Vsiflow, server, until};

const LENGTH: usize = 700_000;

/// A host with this policy, and an uploaded image with each of these names.
fn uploaded(names: &[&str], policy: &str) -> (Vsiflow, Server, Vec<String>) {
    let (vsiflow, server) = (
        Vsiflow::on(&format!("sim:?image_policy={policy}")),
        Server::new(),
    );
    let image = || Answer::Image(server::image(LENGTH));
    let urls: Vec<_> = names
        .iter()
        .map(|name| server.answers(name, image()))
        .collect();
    for url in &urls {
        vsiflow.run(&["image", "upload", url]).exits(0);
    }
    (vsiflow, server, urls)
}

const SOON: [&str; 2] = ["--prune-images-every", "1s"];

fn left(vsiflow: &Vsiflow) -> Vec<String> {
    let volumes = vsiflow.sim();
    volumes.volumes().into_iter().map(str::to_owned).collect()
}

#[test]
fn the_oldest_unused_images_go_and_the_newest_stay() {
    let names = ["a.qcow2", "b.qcow2", "c.qcow2"];
    let (vsiflow, _server, urls) = uploaded(&names, "keep=1");
    vsiflow
        .apply(Vsi::named("web").image(&urls[0]), &["--wait"])
        .exits(0);
    let wide = vsiflow.run(&["get", "image", "-o", "wide"]).exits(0);
    wide.says("stays: one of the newest 1")
        .says("goes at the next look");

    let mut daemon = vsiflow.serve(&SOON);
    assert!(daemon.prints(
        "image/b.qcow2 on sim in pool images removed by the image policy",
        30
    ));
    until("the removal", 30, || {
        let left = left(&vsiflow);
        let boots = left.iter().filter(|name| name.starts_with("boot-")).count();
        (boots == 1 && !left.iter().any(|name| name == "b.qcow2")).then_some(())
    });
    let described = vsiflow.run(&["describe", "host/sim"]).exits(0);
    described
        .says("Image policy")
        .says("keep=1")
        .says("images/c.qcow2 Ready: stays");
    assert!(left(&vsiflow).contains(&"a.qcow2".to_owned()));
    assert!(left(&vsiflow).contains(&"c.qcow2".to_owned()));
    let history = vsiflow
        .run(&["history", "image/b.qcow2", "-o", "json"])
        .exits(0);
    history.says("image policy of the host (keep=1)");
    daemon.kill();
}

#[test]
fn a_host_without_a_policy_loses_nothing() {
    let (vsiflow, server) = (Vsiflow::of_documents(), Server::new());
    let url = server.answers("a.qcow2", Answer::Image(server::image(LENGTH)));
    for host in ["sim:?image_policy=keep=0", "sim:other"] {
        vsiflow
            .run(&["image", "upload", &url, "--host", host])
            .exits(0);
    }
    assert_eq!(vsiflow.image_phases(), ["Ready", "Ready"]);
    let mut daemon = vsiflow.serve(&SOON);
    assert!(daemon.prints("image/a.qcow2 on sim in pool images removed", 30));
    let images = vsiflow.run(&["get", "image", "-o", "wide"]).exits(0);
    images
        .says("sim:other")
        .says("Ready")
        .keeps_quiet_about("next look");
    daemon.kill();
}

#[test]
fn an_image_that_somebody_elses_volume_needs_stays_and_is_not_tried_again_at_once() {
    let (vsiflow, server, _) = uploaded(&["a.qcow2"], "keep=0");
    vsiflow.change_sim(|state| {
        let volumes = &mut state["pools"]["images"]["volumes"];
        let mut over = volumes["a.qcow2"].clone();
        over["backing"] = "/var/lib/libvirt/images/a.qcow2".into();
        volumes["foreign.qcow2"] = over;
    });
    let mut daemon = vsiflow.serve(&SOON);
    assert!(daemon.reaches("stays", 30));
    let wide = vsiflow.run(&["get", "image", "-o", "wide"]).exits(0);
    wide.says("could not be removed").says("Ready");
    // Later checks delete newer images, and do not try this one again.
    let later = server.answers("b.qcow2", Answer::Image(server::image(LENGTH)));
    vsiflow.run(&["image", "upload", &later]).exits(0);
    assert!(daemon.prints("image/b.qcow2 on sim in pool images removed", 30));
    let history = vsiflow
        .run(&["history", "image/a.qcow2", "-o", "json"])
        .exits(0);
    let begun = history.stdout.matches("\"run_opened\"").count();
    assert_eq!(begun, 2, "{}", history.stdout);
    assert!(left(&vsiflow).contains(&"a.qcow2".to_owned()));
    daemon.kill();
}

#[test]
fn a_policy_that_is_none_is_refused_before_anything_is_done() {
    for wrong in ["age=1d", "keep=x", "keep=1,watermark=80"] {
        let vsiflow = Vsiflow::on(&format!("sim:?image_policy={wrong}"));
        let ran = vsiflow.run(&["image", "upload", "http://images.test/a.qcow2"]);
        ran.exits(2).says("image_policy");
    }
}
