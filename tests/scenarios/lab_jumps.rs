//! A real host that can only be reached through jump hosts.

use std::{net::TcpStream, time::Duration};

use vsiflow_tests::{
    HostBehind, Lab, TestUpload, Vsi, Vsiflow,
    history::{self, Failure},
    lab::Deleted,
    until,
    upload::{self, INTERVAL, position},
};

/// A public key that no host here has.
const OTHER_HOST: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// Provisions a VSI, checks the connection's path, and deletes the VSI.
fn provisions(name: &str, behind: impl FnOnce(&Lab) -> HostBehind) {
    let Some(lab) = Lab::enter() else { return };
    let host = behind(&lab);
    let direct = (&*host.host.hostname, host.host.port);
    let direct = std::net::ToSocketAddrs::to_socket_addrs(&direct).unwrap();
    let within = Duration::from_secs(5);
    for address in direct {
        assert!(TcpStream::connect_timeout(&address, within).is_err());
    }
    let (image, vsiflow) = (lab.image(&format!("{name}.qcow2")), Vsiflow::of_documents());
    let documents = format!("{host}{}", Vsi::named(name).image(image.url()));
    let _gone = Deleted(&vsiflow, name);
    vsiflow.apply(documents, &["--wait"]).exits(0);
    let status = vsiflow.vsi(name)["status"].take();
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["host"], host.id());
    let jumps: Vec<_> = host
        .jumps
        .iter()
        .map(|jump| jump.address.as_str())
        .collect();
    assert_eq!(status["hostJumps"], serde_json::json!(jumps));
    let jump_line = format!("ProxyJump {},{}\n", host.proxy_jump(), host.id());
    let config = vsiflow.run(&["ssh-config"]).exits(0);
    assert!(config.stdout.contains(&jump_line), "{config:#?}");
    // Another process knows the jump hosts from the state directory alone.
    let mut checked = vsiflow.run(&["host", "check", &host.id()]);
    for jump in jumps {
        checked = checked.says(&format!("{jump} lets one through"));
    }
    vsiflow.run(&["delete", name, "--wait"]).exits(0);
    assert!(lab.domains(&format!("default/{name}")).is_empty());
}

#[test]
fn lab_a_vsi_comes_up_on_a_host_behind_a_jump_host() {
    provisions("t-jump", Lab::behind_one);
}

#[test]
fn lab_a_vsi_comes_up_behind_two_jump_hosts_with_keys_of_their_own() {
    provisions("t-jumps", Lab::behind_two);
}

/// The failure in the history of an attempt that does not reach the host.
#[track_caller]
fn fails(name: &str, host: &HostBehind, (code, exit): (&str, i32)) -> Failure {
    let vsiflow = Vsiflow::of_documents();
    let patience = [
        "--wait",
        "--timeout",
        if exit == 5 { "45s" } else { "120s" },
    ];
    let documents = format!("{host}{}", Vsi::named(name));
    vsiflow
        .apply(documents, &patience)
        .exits(exit)
        .says(&format!("error[{code}]"));
    let failure = history::failure(&vsiflow.history(name), code);
    assert_eq!(failure.host, host.id());
    failure
}

#[test]
fn lab_the_jump_host_that_fails_is_named() {
    let Some(lab) = Lab::enter() else { return };
    let (first, second) = (
        "jump host 1 of 2, root@10.98.1.2:2222: ",
        "jump host 2 of 2, root@10.98.3.2:2222: ",
    );
    let case = |name: &str, change: &dyn Fn(&mut HostBehind), code, words: &str| {
        let mut host = lab.behind_two();
        change(&mut host);
        let failure = fails(name, &host, code);
        assert!(failure.message.contains(words), "{words}: {failure:?}");
    };
    let blocked = |code| (code, 4);
    // A jump host does not accept the key of the other one.
    case(
        "t-hop-key",
        &|host| host.jumps[0].key = host.jumps[1].key.clone(),
        blocked("VSI0107"),
        &format!("{first}10.98.1.2 accepts no key for user root"),
    );
    case(
        "t-hop-key2",
        &|host| host.jumps[1].key = host.host.key.clone(),
        blocked("VSI0107"),
        &format!("{second}10.98.3.2 accepts no key for user root"),
    );
    let line = |address: &str| format!("[{address}]:2222 {OTHER_HOST}\n");
    case(
        "t-hop-other",
        &|host| host.known_hosts = line("10.98.1.2"),
        blocked("VSI0106"),
        &format!("{first}the host key of [10.98.1.2]:2222 has changed"),
    );
    case(
        "t-hop-unknown",
        &|host| {
            let mut lines: Vec<_> = host.known_hosts.lines().collect();
            lines.retain(|of| of.contains("10.98.1.2"));
            host.known_hosts = lines.join("\n");
        },
        blocked("VSI0105"),
        &format!("{second}the host key of [10.98.3.2]:2222 is not known"),
    );
    // A jump host's key is not the host's own key.
    case(
        "t-behind-other",
        &|host| host.host.known_hosts = line("10.98.4.2"),
        blocked("VSI0106"),
        "the host key of [10.98.4.2]:2222 has changed",
    );
    // The first jump host has no route to this address.
    case(
        "t-hop-nowhere",
        &|host| host.jumps[1].address = "root@10.98.4.2:2222".to_owned(),
        ("VSI0101", 5),
        "jump host 2 of 2, root@10.98.4.2:2222: 10.98.4.2:2222 cannot be reached: its jump host 10.98.1.2",
    );
}

#[test]
fn lab_a_jump_host_that_is_silent_is_named_within_its_time() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let host = lab.behind_two();
    lab.daemon("jump2", "freeze");
    let failed = std::panic::catch_unwind(|| fails("t-hop-silent", &host, ("VSI0102", 5)));
    lab.daemon("jump2", "thaw");
    let failure = failed.unwrap();
    let words = "jump host 2 of 2, root@10.98.3.2:2222: no answer from 10.98.3.2:2222 within 20s";
    assert!(failure.message.contains(words), "{failure:?}");
}

#[test]
fn lab_an_upload_survives_a_jump_host_that_dies() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    for daemon in ["jump1", "jump2"] {
        let upload = TestUpload::of(&lab, &format!("lab-hop-{daemon}"), 11);
        let upload = upload.on(&lab.behind_two());
        let mut running = upload.start_at("20Mi");
        upload.reaches(upload::SIZE / 2);
        // On a busy machine the kill comes seconds after it was requested.
        running.stop();
        lab.daemon(daemon, "kill");
        running.go_on();
        let cut = running.reaches("again in", 60);
        lab.daemon(daemon, "start");
        assert!(cut, "{daemon}: it ended");
        let ran = running.end(90).exits(0);
        upload.is_whole();
        let position = position(&ran.stderr).unwrap_or_else(|| panic!("sent from 0: {ran:#?}"));
        let least = upload::SIZE / 2 - INTERVAL;
        assert!(position >= least, "{daemon}: from {position}");
        println!("measured: {daemon} killed, resumed at {position}");
    }
}

/// What `host check` prints for these documents.
fn check(vsiflow: &Vsiflow, host: &HostBehind) -> vsiflow_tests::Ran {
    let file = vsiflow.write("host.yaml", &host.to_string());
    let mut check = vsiflow.command(&["host", "check", "-f", file.to_str().unwrap()]);
    check.env("SSH_AUTH_SOCK", vsiflow.folder().join("agent"));
    vsiflow_tests::Running::start(&mut check).end(120)
}

#[test]
fn lab_a_jump_host_is_known_by_the_authority_of_its_certificate() {
    let Some(lab) = Lab::enter() else { return };
    let (vsiflow, mut host) = (Vsiflow::of_documents(), lab.behind_two());
    let first = host.known_hosts.lines().next().unwrap().to_owned();
    assert!(first.contains("10.98.1.2"));
    let mut check = |line: &str| {
        host.known_hosts = format!("{first}\n{line}\n");
        check(&vsiflow, &host)
    };
    check(&lab.jump_authority("10.98.3.*"))
        .exits(0)
        .says("root@10.98.3.2:2222 lets one through");
    let second = "jump host 2 of 2, root@10.98.3.2:2222: ";
    check(&format!("@cert-authority 10.98.3.* {OTHER_HOST}"))
        .exits(1)
        .says(second)
        .says("no known authority signed it");
    check(&lab.jump_authority("10.98.4.*"))
        .exits(1)
        .says(second)
        .says("is not known");
}

/// An SSH agent with keys; it ends when this is dropped.
struct SshAgent(std::process::Child);

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn lab_an_agent_has_the_keys_of_host_and_jump_hosts() {
    let Some(lab) = Lab::enter() else { return };
    let (vsiflow, mut host) = (Vsiflow::of_documents(), lab.behind_one());
    let socket = vsiflow.folder().join("agent");
    let mut agent = std::process::Command::new("ssh-agent");
    let agent = agent.arg("-D").arg("-a").arg(&socket);
    let _agent = SshAgent(agent.stdout(std::process::Stdio::null()).spawn().unwrap());
    until("the agent", 10, || socket.exists().then_some(()));
    let add = |name: &str, key: &str| {
        let file = vsiflow.write(name, key);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, mode).unwrap();
        let mut add = std::process::Command::new("ssh-add");
        let add = add.arg("-q").arg(&file).env("SSH_AUTH_SOCK", &socket);
        assert!(add.status().unwrap().success());
    };
    let key = std::mem::take(&mut host.host.key);
    let jump_key = std::mem::take(&mut host.jumps[0].key);
    add("one", &jump_key);
    // The agent does not have the host's own key yet.
    check(&vsiflow, &host)
        .exits(1)
        .says("10.98.2.2 accepts no key for user root")
        .keeps_quiet_about("jump host 1 of 1");
    add("two", &key);
    check(&vsiflow, &host).exits(0).says("lets one through");
}
