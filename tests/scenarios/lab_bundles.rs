//! A bundle on a real host.

use std::process::Command;

use vsiflow_tests::{Answer, Lab, Server, Vsi, Vsiflow, lab::Deleted};

#[test]
fn lab_a_guest_boots_from_a_bundle_where_no_image_server_is() {
    let Some(lab) = Lab::enter() else { return };
    let (image, server) = (lab.image("t-bundle.qcow2"), Server::new());
    let (desk, site) = (Vsiflow::of_documents(), Vsiflow::of_documents());
    let file = desk.folder().join("guest");
    let mut fetch = Command::new("curl");
    let fetched = fetch
        .args(["-sSf", "-o"])
        .arg(&file)
        .arg(image.url())
        .status();
    assert!(fetched.unwrap().success());
    let bytes = std::fs::read(&file).unwrap();
    let url = server.answers("t-bundle.qcow2", Answer::Image(bytes));
    let key = desk.folder().join("release");
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key);
    assert!(keygen.status().unwrap().success());
    let (key, public) = (key.display().to_string(), format!("{}.pub", key.display()));
    let documents = format!("{}{}", lab.host(), Vsi::named("t-bundle").image(url));
    let documents = desk.write("site.yaml", &documents).display().to_string();
    let bundle = desk.folder().join("site.vsiflow").display().to_string();
    desk.run(&[
        "bundle",
        "create",
        "-f",
        &documents,
        "-o",
        &bundle,
        "--sign-key",
        &key,
    ])
    .exits(0)
    .says("is not packed, since it holds secrets");
    // From here on, the image server is not available.
    server.answers("t-bundle.qcow2", Answer::Status("503 Service Unavailable"));
    let requests = server.requests("t-bundle.qcow2");
    let own = site
        .write("own.yaml", &lab.host().secret())
        .display()
        .to_string();
    let _gone = Deleted(&site, "t-bundle");
    let words = [
        "bundle",
        "apply",
        &bundle,
        "--verify-key",
        &public,
        "-f",
        &own,
        "--wait",
    ];
    site.run(&words).exits(0).says("vsi/t-bundle is Running");
    site.run(&["logs", "t-bundle"]).exits(0).says("HPL10001I");
    assert_eq!(
        server.requests("t-bundle.qcow2"),
        requests,
        "the server was asked"
    );
    assert_eq!(image.bases(), ["t-bundle.qcow2"]);
}
