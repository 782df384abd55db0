//! Logging in to a real sshd, and being refused by it.

use std::process::Child;

use super::*;
use crate::ConnectError;
use crate::ssh::ExecError;

async fn refused(config: SshConfig) -> ConnectError {
    let session = ssh_session(config);
    let error = session.control().await.unwrap_err();
    session.close().await;
    error
}

/// Ends a process of this test.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another sshd with the lab's keys and one more line of configuration.
pub(super) async fn sshd(lab: &Lab, port: u16, line: &str) -> Running {
    let config = std::fs::read_to_string(lab.ssh_file("sshd_config")).unwrap();
    let config: String = config
        .lines()
        .filter(|entry| !entry.starts_with("Port ") && !entry.starts_with("PidFile "))
        .map(|entry| format!("{entry}\n"))
        .collect();
    let dir = tempfile::tempdir().unwrap().keep();
    let file = dir.join("sshd_config");
    std::fs::write(
        &file,
        format!("Port {port}\nPidFile none\n{line}\n{config}"),
    )
    .unwrap();
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-f", file.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir_all(dir).unwrap();
    running
}

#[tokio::test]
async fn lab_every_kind_of_key_logs_in_and_every_host_key_is_checked() {
    let Some(lab) = Lab::enter() else { return };
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let mut config = lab.ssh_config(&format!("id_{kind}"));
        // Only one of the host's keys is known: the server must be asked for that one.
        let signature = if kind == "ecdsa" { "ecdsa-sha2" } else { kind };
        let known: Vec<_> = config_lines(&lab)
            .into_iter()
            .filter(|l| l.contains(signature))
            .collect();
        assert_eq!(known.len(), 1);
        config.host_keys = HostKeys::Known(known.concat());
        let session = ssh_session(config);
        assert!(
            !control(&session)
                .await
                .connect_get_hostname()
                .await
                .unwrap()
                .is_empty(),
            "{kind}"
        );
        session.close().await;
    }
}

fn config_lines(lab: &Lab) -> Vec<String> {
    lab.known_hosts().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn lab_an_agent_logs_in() {
    let Some(lab) = Lab::enter() else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent");
    let mut agent = Command::new("ssh-agent");
    agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
    let _agent = Running(agent.spawn().unwrap());
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut config = lab.ssh_config("id_ed25519");
    config.identity = Identity::Agent {
        socket: socket.clone(),
    };
    let empty = refused(config.clone()).await;
    assert!(matches!(empty, ConnectError::Key(_)), "{empty}");
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(lab.ssh_file("id_rsa"))
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .unwrap();
    assert!(added.success());
    let session = ssh_session(config);
    control(&session).await;
    session.close().await;
}

#[tokio::test]
async fn lab_refusals_are_told_apart() {
    let Some(lab) = Lab::enter() else { return };
    let good = lab.ssh_config("id_ed25519");

    let unknown = SshConfig {
        host_keys: HostKeys::Known(String::new()),
        ..good.clone()
    };
    let error = refused(unknown).await;
    assert!(
        matches!(error, ConnectError::HostKeyUnknown { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("SHA256:"));

    let other = "[127.0.0.1]:2222 ssh-ed25519 \
                 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let changed = SshConfig {
        host_keys: HostKeys::Known(other.to_owned()),
        ..good.clone()
    };
    let changed_error = refused(changed).await;
    assert!(
        matches!(changed_error, ConnectError::HostKeyChanged { .. }),
        "{changed_error}"
    );

    let dir = tempfile::tempdir().unwrap();
    let stranger = dir.path().join("stranger");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&stranger)
        .status()
        .unwrap();
    assert!(made.success());
    let identity = Identity::KeyFile {
        path: stranger,
        passphrase: None,
    };
    let identity_error = refused(SshConfig {
        identity,
        ..good.clone()
    })
    .await;
    assert!(
        matches!(&identity_error, ConnectError::AuthRefused { tried, .. } if tried.len() == 1),
        "{identity_error}"
    );

    let missing_key = Identity::KeyFile {
        path: "/nowhere".into(),
        passphrase: None,
    };
    let key_error = refused(SshConfig {
        identity: missing_key,
        ..good.clone()
    })
    .await;
    assert!(matches!(key_error, ConnectError::Key(_)), "{key_error}");

    let port_error = refused(SshConfig {
        port: 1,
        ..good.clone()
    })
    .await;
    assert!(
        matches!(port_error, ConnectError::Unreachable { .. }),
        "{port_error}"
    );

    let name_error = refused(SshConfig {
        host: "nowhere.invalid".to_owned(),
        ..good.clone()
    })
    .await;
    assert!(
        matches!(name_error, ConnectError::UnknownHost { .. }),
        "{name_error}"
    );

    let socket = "/run/libvirt/nowhere".to_owned();
    let session = HostSession::new(
        Endpoint::Ssh {
            config: good,
            socket,
        },
        SessionOptions::default(),
    );
    let socket_error = session.control().await.unwrap_err();
    assert!(
        matches!(socket_error, ConnectError::SocketAbsent { .. }),
        "{socket_error}"
    );
    session.close().await;
}

#[tokio::test]
async fn lab_a_server_that_forbids_forwarding_or_commands_is_recognised() {
    let Some(lab) = Lab::enter() else { return };
    let _sshd = sshd(&lab, 2301, "AllowStreamLocalForwarding no").await;
    let known = lab.known_hosts().replace(":2222 ", ":2301 ");
    let host_keys = HostKeys::Known(known);
    let config = SshConfig {
        port: 2301,
        host_keys,
        ..lab.ssh_config("id_ed25519")
    };
    let error = refused(config).await;
    assert!(
        matches!(error, ConnectError::ForwardingProhibited { .. }),
        "{error}"
    );

    let _commandless = sshd(&lab, 2302, "ForceCommand exit 77").await;
    let any_keys = HostKeys::InsecureAcceptAny;
    let commandless = SshConfig {
        port: 2302,
        host_keys: any_keys,
        ..lab.ssh_config("id_ed25519")
    };
    let session = ssh_session(commandless);
    control(&session).await;
    assert_eq!(
        session.exec("true", 10, SHORT).await.unwrap().status,
        Some(77)
    );
    session.close().await;
}

#[tokio::test]
async fn lab_what_runs_beside_an_upload_gives_way_where_one_command_is_permitted_at_a_time() {
    let Some(lab) = Lab::enter() else { return };
    let _sshd = sshd(&lab, 2304, "MaxSessions 1").await;
    let config = SshConfig {
        port: 2304,
        host_keys: HostKeys::InsecureAcceptAny,
        ..lab.ssh_config("id_ed25519")
    };
    let session = ssh_session(config);
    let reading = "while read -r n; do echo \"read $n\"; done";
    let mut beside = None;
    for _ in 0..100 {
        // The channel of the previous command is not free immediately.
        match session.start(reading, SHORT).await {
            Ok(started) => {
                beside = started;
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let mut beside = beside.unwrap();
    beside.write_line("1").await.unwrap();
    assert_eq!(beside.read_line().await.as_deref(), Some("read 1"));
    let ends = tokio::spawn(async move { beside.read_line().await });
    let output = session.exec("echo ran", 10, SHORT).await.unwrap();
    assert_eq!(output.stdout, b"ran\n");
    assert_eq!(ends.await.unwrap(), None);
    assert!(session.start(reading, SHORT).await.unwrap().is_none());
    session.close().await;
}

#[tokio::test]
async fn lab_a_server_that_says_nothing_is_given_up_in_time() {
    let Some(lab) = Lab::enter() else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect_timeout = Duration::from_millis(300);
    let config = SshConfig {
        port,
        connect_timeout,
        ..lab.ssh_config("id_ed25519")
    };
    let error = refused(config).await;
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn lab_commands_run_with_bounds() {
    let Some(lab) = Lab::enter() else { return };
    for (way, session) in lab.both() {
        let output = session
            .exec("echo out; echo err >&2; exit 3", 100, SHORT)
            .await
            .unwrap();
        assert_eq!(output.status, Some(3), "{way}");
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
        let killed = session
            .exec("head -c 1000000 /dev/zero; kill -9 $$", 10, SHORT)
            .await
            .unwrap();
        assert_eq!(
            (killed.status, killed.stdout.len(), killed.truncated),
            (None, 10, true)
        );
        let within = Duration::from_millis(200);
        assert_eq!(
            session.exec("sleep 5", 10, within).await,
            Err(ExecError::TimedOut(within))
        );
        assert_eq!(
            session.exec("cat", 10, SHORT).await.unwrap().status,
            Some(0),
            "{way}"
        );
        session.close().await;
        assert!(session.exec("true", 10, SHORT).await.is_err());
        assert!(matches!(
            session.control().await,
            Err(ConnectError::Closed { .. })
        ));
    }
}

#[tokio::test]
async fn lab_one_ssh_session_carries_everything() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.ssh();
    let (a, b, c, d) = tokio::join!(
        session.control(),
        session.long(),
        session.bulk(SHORT),
        session.bulk(SHORT)
    );
    let all = [a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()];
    let calls = all.iter().map(|connection| async {
        connection
            .within(SHORT)
            .connect_get_hostname()
            .await
            .unwrap();
    });
    futures::future::join_all(calls).await;
    assert!(session.exec("true", 10, SHORT).await.unwrap().success());
    let rest = [
        session.bulk(SHORT).await.unwrap(),
        session.bulk(SHORT).await.unwrap(),
    ];
    let fifth = session.bulk(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(fifth, ConnectError::TimedOut { .. }), "{fifth}");
    drop(rest);
    assert!(session.bulk(SHORT).await.is_ok());
    session.close().await;
}

#[tokio::test]
async fn lab_another_machine_with_the_same_keys_is_not_spoken_to() {
    let Some(lab) = Lab::enter() else { return };
    let _sshd = sshd(&lab, 2303, "ForceCommand echo machine-id of-another").await;
    let config = SshConfig {
        port: 2303,
        host_keys: HostKeys::InsecureAcceptAny,
        ..lab.ssh_config("id_ed25519")
    };
    let session = ssh_session(config);
    control(&session).await;
    let machine = session.machine().await.unwrap();
    assert_eq!(machine.as_deref(), Some("machine-id of-another"));
    session.pin(Some("machine-id of-the-first"));
    session.leave().await;
    for error in [
        session.control().await.unwrap_err(),
        session.long().await.unwrap_err(),
        session.bulk(SHORT).await.unwrap_err(),
    ] {
        assert!(
            matches!(error, ConnectError::OtherMachine { .. }),
            "{error}"
        );
    }
    session.pin(machine.as_deref());
    assert!(session.control().await.is_ok());
    session.close().await;
}

#[tokio::test]
async fn lab_a_restarted_libvirtd_is_on_the_same_machine() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let session = lab.ssh();
    control(&session).await;
    let before = session.machine().await.unwrap();
    println!("measured: the lab says that it is {before:?}");
    session.pin(before.as_deref());
    lab.daemon("libvirtd", "kill");
    lab.daemon("libvirtd", "start");
    session.leave().await;
    assert!(control(&session).await.connect_get_hostname().await.is_ok());
    assert_eq!(session.machine().await.unwrap(), before);
    session.close().await;
}
