//! Users with read-only access.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use vsiflow_tests::{Vsi, Vsiflow, http};

/// Sends a command to a socket as the command line does; returns the whole response.
fn ask(socket: &Path, arguments: &[&str]) -> String {
    let ask = serde_json::json!({"args": arguments, "files": []});
    http::post(socket, "/v1/commands", &ask).text()
}

#[test]
fn whoever_may_look_sees_everything_and_changes_nothing() {
    let (vsiflow, folder) = (Vsiflow::simulated(), tempfile::tempdir().unwrap());
    let socket = folder.path().join("look.sock");
    let path = socket.to_str().unwrap();
    let daemon = vsiflow.serve(&["--read-only", path]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let recorded = vsiflow.history("web").len();

    // A user with an empty state directory of their own.
    let other = Vsiflow::of_documents();
    let look = |arguments: &[&str]| other.run(&[arguments, &["--read-only", path]].concat());
    look(&["get"]).exits(0).says("web");
    look(&["describe", "web"]).exits(0).says("Running");
    look(&["history", "web"]).exits(0).says("start_domain");
    look(&["logs", "web"]).exits(0).says("HPL10001I");
    look(&["audit", "head"]).exits(0);
    look(&["audit", "verify"])
        .exits(0)
        .says("nothing was changed");
    look(&["replay", "--verify"])
        .exits(0)
        .says("are what the engine decides");
    look(&["diff", "web", "--at", "1"])
        .exits(0)
        .says("as of offset 1");
    // A command that only reads is a request; as words it is not even read.
    let as_words = ask(&socket, &["vsiflow", "audit", "head"]);
    assert!(as_words.contains("VSI0020"), "{as_words}");
    look(&["get", "nobody"]).exits(3);
    let document = vsiflow.write("web.yaml", &Vsi::named("more").to_string());
    let document = document.to_str().unwrap();
    let backup = folder.path().join("backup");
    for refused in [
        &["delete", "web"][..],
        &["stop", "web"],
        &["apply", "-f", document],
        &["plan", "-f", document],
        &["host", "accept", "sim:"],
        &["backup", backup.to_str().unwrap()],
    ] {
        look(refused).exits(4).says("VSI0020");
        // The daemon refuses too, not only the client.
        let words = [&["vsiflow"], refused].concat();
        let answer = ask(&socket, &words);
        assert!(answer.contains("VSI0020"), "{words:?}: {answer}");
    }
    look(&["get", "--refresh"]).exits(4).says("VSI0020");
    look(&["get", "networks"]).exits(4).says("VSI0020");
    let networks = serde_json::json!({"kind": "network"});
    for (operation, request) in [
        ("/v1/refresh", serde_json::json!({})),
        ("/v1/table", networks),
    ] {
        let answer = http::post(&socket, operation, &request).text();
        assert!(answer.contains("VSI0020"), "{operation}: {answer}");
    }
    assert!(!backup.exists());
    assert_eq!(vsiflow.history("web").len(), recorded);
    daemon.terminate();
    daemon.end(30).exits(0);
    assert!(!socket.exists());
    look(&["get"]).exits(1).says("VSI0021");
}

#[test]
fn the_socket_for_looking_is_of_its_folders_group_and_takes_no_files_place() {
    let (vsiflow, folder) = (Vsiflow::simulated(), tempfile::tempdir().unwrap());
    let file = folder.path().join("file");
    std::fs::write(&file, "somebody's").unwrap();
    let taken = ["serve", "--read-only", file.to_str().unwrap()];
    vsiflow.run(&taken).exits(1).says("VSI0021");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's");

    std::os::unix::fs::chown(folder.path(), None, Some(12)).unwrap();
    let socket = folder.path().join("look.sock");
    let _daemon = vsiflow.serve(&["--read-only", socket.to_str().unwrap()]);
    let found = std::fs::metadata(&socket).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&found), 12);
    let own = std::fs::metadata(vsiflow.state().join("vsiflow.sock")).unwrap();
    assert_eq!(own.permissions().mode() & 0o777, 0o600);
}
