//! Access to guests, as far as a simulated host has any.

use std::{fs, process::Command};

use vsiflow_tests::{Running, Vsi, Vsiflow};

#[test]
fn there_is_no_way_into_a_simulated_guest_and_that_is_said() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow
        .run(&["ssh", "web", "--", "true"])
        .exits(4)
        .says("VSI0813");
    vsiflow.run(&["ssh", "nobody"]).exits(3).says("VSI0703");
    let daemon = vsiflow.serve(&[]);
    vsiflow.run(&["ssh", "nobody"]).exits(3).says("VSI0703");
    let missing = ["get", "vsi/nobody", "-w"];
    vsiflow.run(&missing).exits(3).says("VSI0703");
    vsiflow
        .run(&["ssh", "vsi/web", "-l", "root"])
        .exits(4)
        .says("VSI0813");
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn a_configuration_that_was_written_once_is_there_for_ssh_to_include() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let file = vsiflow.state().join("ssh_config");
    vsiflow
        .run(&["ssh-config"])
        .exits(0)
        .says("Written by vsiflow");
    assert!(!file.exists());
    vsiflow
        .run(&["ssh-config", "--write"])
        .exits(0)
        .says("ssh_config");
    let whole = std::fs::read_to_string(&file).unwrap();
    // Manual changes of that file do not remain.
    std::fs::write(&file, "Host *\n").unwrap();
    vsiflow.apply(Vsi::named("db"), &["--wait"]).exits(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
}

#[test]
fn host_settings_are_made_of_what_ssh_knows() {
    let vsiflow = Vsiflow::simulated();
    let home = vsiflow.folder().join("home");
    let ssh = home.join(".ssh");
    fs::create_dir_all(&ssh).unwrap();
    let key = ssh.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let public = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let known = ssh.join("known");
    fs::write(
        &known,
        format!("[10.9.8.7]:2222 {public} wrong\nother {public}\nalias {public} right\n"),
    )
    .unwrap();
    // OpenSSH takes its home from the system, not from the environment, so the files are named in
    // full.
    let config = ssh.join("config");
    let text = format!(
        "Host lpar1\n  HostName 10.9.8.7\n  Port 2222\n  User admin\n\
         Host inner\n  HostName 10.1.1.1\n  ProxyJump lpar1,me@lpar1:22\n\
         Host aliased\n  HostName 10.9.8.7\n  Port 2222\n  HostKeyAlias alias\n\
         Host far\n  HostName 10.2.2.2\n  ProxyJump inner\n\
         Host named\n  HostName 10.3.3.3\n  ProxyJump jump-%h\n\
         Host proxied\n  ProxyCommand nc %h %p\n\
         Host public\n  IdentityFile {0}.pub\n\
         Host narrow\n  HostKeyAlgorithms -ssh-ed25519\n\
         Host wide\n  HostKeyAlgorithms +ssh-dss\n\
         Host signed\n  CASignatureAlgorithms ssh-ed25519\n\
         Host token\n  SecurityKeyProvider /usr/lib/sk.so\n\
         Host rooted\n  IdentityFile ~root/.ssh/key\n\
         Host *\n  IdentityFile {0}\n  UserKnownHostsFile {1}\n",
        key.display(),
        known.display()
    );
    fs::write(&config, text).unwrap();
    // An `ssh` that reads that configuration.
    let bin = vsiflow.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    let real = which("ssh");
    let script = format!("#!/bin/sh\nexec {real} -F {} \"$@\"\n", config.display());
    fs::write(bin.join("ssh"), script).unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(bin.join("ssh"), mode).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = |arguments: &[&str]| {
        let mut command = vsiflow.command(arguments);
        command.env("PATH", &path);
        Running::start(&mut command).end(60)
    };
    let printed = run(&["ssh-config", "import", "lpar1", "--label", "role=test"]).exits(0);
    for words in [
        "kind: ConfigMap",
        "HOSTNAME: \"10.9.8.7\"",
        "admin",
        "role: test",
        "kind: Secret",
        "OPENSSH PRIVATE KEY",
    ] {
        assert!(printed.stdout.contains(words), "{words}: {printed:?}");
    }
    assert!(
        printed
            .stdout
            .contains(&format!("[10.9.8.7]:2222 {public}")),
        "{printed:?}"
    );
    assert!(!printed.stdout.contains("other ssh"), "{printed:?}");
    let behind = run(&["ssh-config", "import", "inner", "--label", "role=test"]).exits(0);
    for words in [
        "PROXY_JUMP: admin@10.9.8.7:2222,me@10.9.8.7:22",
        "PROXY_JUMP_KNOWN_HOSTS:",
        &format!("[10.9.8.7]:2222 {public}"),
        "PROXY_JUMP_1_KEY:",
        "PROXY_JUMP_2_KEY:",
    ] {
        assert!(behind.stdout.contains(words), "{words}: {behind:?}");
    }
    // What `ssh` trusts under an alias is trusted under the host's name and port, and nothing else.
    let aliased = run(&["ssh-config", "import", "aliased", "--label", "role=test"]).exits(0);
    assert!(
        aliased
            .stdout
            .contains(&format!("[10.9.8.7]:2222 {public} right\n")),
        "{aliased:?}"
    );
    assert!(!aliased.stdout.contains("wrong"), "{aliased:?}");
    // A jump host's own jump hosts are on the way.
    let far = run(&["ssh-config", "import", "far", "--label", "role=test"]).exits(0);
    assert!(
        far.stdout
            .contains("PROXY_JUMP: admin@10.9.8.7:2222,me@10.9.8.7:22,"),
        "{far:?}"
    );
    for (host, option) in [
        ("proxied", "ProxyCommand"),
        ("named", "the tokens in ProxyJump"),
        ("public", "an IdentityFile with a public key"),
        ("narrow", "HostKeyAlgorithms"),
        ("signed", "CASignatureAlgorithms"),
        ("token", "SecurityKeyProvider"),
        ("rooted", "a path in the home of a user"),
    ] {
        run(&["ssh-config", "import", host, "--label", "role=test"])
            .exits(1)
            .says("VSI0814")
            .says(option);
    }
    run(&["ssh-config", "import", "wide", "--label", "role=test"])
        .exits(0)
        .says("HostKeyAlgorithms of wide is not carried over");
    run(&["ssh-config", "import", "lpar1"])
        .exits(2)
        .says("--label");
    run(&[
        "ssh-config",
        "import",
        "-oProxyCommand=touch x",
        "--label",
        "a=b",
    ])
    .exits(2);
    fs::remove_file(&key).unwrap();
    run(&["ssh-config", "import", "unknown", "--label", "a=b"])
        .exits(3)
        .says("VSI0814");
}

fn which(program: &str) -> String {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    String::from_utf8(found.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned()
}
