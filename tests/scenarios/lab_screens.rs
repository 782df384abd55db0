//! The screens of guests on a real host.

use vsiflow_tests::{
    Lab, Vsiflow,
    lab::Deleted,
    viewer::{Viewer, screen},
};

/// A server with a screen. It is emulated, and shows its firmware whatever its disk contains.
fn server(name: &str, arch: &str, image: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{arch: {arch}, cpus: 1, memory: 256Mi, graphics: vnc}}\n"
    )
}

#[test]
fn lab_the_screens_of_guests_are_reached_through_their_host() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-screen.qcow2"), Vsiflow::of_documents());
    let servers = [("t-screen-z", "s390x"), ("t-screen-x", "x86_64")];
    let documents = servers.map(|(name, arch)| server(name, arch, &image.url()));
    let documents = format!("{}{}", lab.host(), documents.concat());
    let _gone = servers.map(|(name, _)| Deleted(&vsiflow, name));
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    for (name, _) in servers {
        let (mut console, address) = screen(&vsiflow, name);
        let mut first = Viewer::greeted(address);
        Viewer::greeted(address);
        console.signal("INT");
        assert_eq!(console.end(), 0);
        first.is_left();
        vsiflow
            .run(&["history", name, "--events"])
            .exits(0)
            .says("vnc_opened")
            .says("vnc_closed");
    }
    // The host's definition matches what was written, also for the running guest.
    vsiflow.run(&["get", "--refresh"]).exits(0);
    // The other guest shuts down, because it finds no contract.
    let name = servers[1].0;
    let drift = vsiflow.vsi(name)["status"]["conditions"].to_string();
    assert!(!drift.contains("screen"), "{drift}");

    let daemon = vsiflow.serve(&[]);
    let (mut console, address) = screen(&vsiflow, name);
    Viewer::greeted(address);
    // After a restart the host may use another port for the screen; the local address stays the
    // same.
    vsiflow
        .run(&["restart", name, "--force", "--wait"])
        .exits(0);
    Viewer::greeted(address);
    console.signal("INT");
    assert_eq!(console.end(), 0);
    vsiflow.run(&["stop", name, "--force", "--wait"]).exits(0);
    let off = vsiflow.run(&["vnc", name, "--listen-only"]).exits(4);
    off.says("VSI0741");
    daemon.terminate();
    daemon.end(60).exits(0);
    for (server, _) in servers {
        vsiflow.run(&["delete", server, "--wait"]).exits(0);
    }
}
