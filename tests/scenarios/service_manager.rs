//! A daemon under a service manager: sd_notify(3), its watchdog, and sockets passed to it.

use std::{
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    process::{Command, Stdio},
    time::Duration,
};

use vsiflow_tests::{Running, Vsi, Vsiflow, until};

#[test]
fn a_service_manager_is_told_when_the_daemon_is_ready_that_it_gets_on_and_when_it_ends() {
    let vsiflow = Vsiflow::simulated();
    let path = vsiflow.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let next = || {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    let mut command = vsiflow.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "600000");
    let daemon = Running::start(&mut command);
    assert_eq!(next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    daemon.terminate();
    until("it says that it ends", 30, || {
        (next() == "STOPPING=1").then_some(())
    });
    daemon.end(30).exits(0);
}

#[test]
fn a_socket_that_a_service_manager_opened_answers_and_is_there_after_the_daemon() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("a"), &["--wait"]).exits(0);
    let path = vsiflow.state().join("vsiflow.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let served = vsiflow.command(&["serve"]);
    // Without unsafe code, standard input is the only way to pass a socket to a child process.
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    command
        .args(["-c", script])
        .arg(served.get_program())
        .args(served.get_args())
        .current_dir(vsiflow.folder())
        .stdin(Stdio::from(OwnedFd::from(socket)));
    let mut daemon = Running::start_as_is(&mut command);
    assert!(daemon.reaches("serving", 30));
    let server = format!("unix://{}", path.display());
    let served_by = Command::new(served.get_program())
        .args(["--server", &server, "get", "vsi", "a"])
        .output()
        .unwrap();
    assert!(served_by.status.success(), "{served_by:?}");
    daemon.terminate();
    daemon.end(30).exits(0);
    assert!(path.exists(), "the service manager's socket");
}
