//! `doctor`: reports what is in order and what is not.

use std::{fs, os::unix::fs::PermissionsExt as _};

use vsiflow_tests::{Ran, Vsi, Vsiflow};

fn grade(ran: &Ran, what: &str) -> String {
    let checks = ran.json()["status"]["checks"].clone();
    let checks = checks.as_array().unwrap();
    let found = checks.iter().find(|check| check["what"] == what);
    found.unwrap()["grade"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_in_order_and_what_is_not_stands_on_one_page() {
    let vsiflow = Vsiflow::simulated();
    let doctor = || vsiflow.run(&["doctor", "-o", "json"]);
    doctor().exits(0).says("not there yet");
    assert!(!vsiflow.state().exists(), "a look made a state directory");
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let found = doctor().exits(0);
    assert_eq!(grade(&found, "daemon"), "warning");
    assert_eq!(grade(&found, "vsis"), "ok");
    let daemon = vsiflow.serve(&[]);
    assert_eq!(grade(&doctor().exits(0), "daemon"), "ok");
    daemon.terminate();
    daemon.end(60).exits(0);

    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(vsiflow.state(), mode).unwrap();
    let open_state = vsiflow.run(&["doctor"]).exits(0);
    open_state.says("open to other users").says("chmod 700");
    vsiflow.apply(Vsi::named("bad").doing("panic"), &[]);
    fs::remove_dir_all(vsiflow.state().join("log")).unwrap();
    let damaged = doctor().exits(1);
    assert_eq!(grade(&damaged, "journal"), "bad");
    fs::remove_file(vsiflow.state().join("FORMAT")).unwrap();
    doctor().exits(1).says("not a state directory");
}
