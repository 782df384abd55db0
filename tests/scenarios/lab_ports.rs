//! The real host passes the conformance tests of the ports, by its socket and over SSH.

use std::time::Duration;

use vsiflow_engine::secret::Secret;
use vsiflow_libvirt::{
    Endpoint, host_ports,
    session::SOCKET,
    ssh::{HostKeys, Identity, SshConfig},
};
use vsiflow_steps::ports::conformance::{self, CheckPlace};
use vsiflow_tests::{Lab, lab::SSH_PORT};

async fn conforms(lab: &Lab, name: &str, endpoint: Endpoint) {
    let guest = lab.guest_volume(name);
    let place = CheckPlace {
        ports: host_ports("lab", endpoint),
        pool: "images".to_owned(),
        network: "default".to_owned(),
        arch: "s390x".to_owned(),
        start_domains: true,
        bootable: Some(guest.path()),
    };
    conformance::all(&place).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_the_ports_keep_their_contract_by_the_socket() {
    let Some(lab) = Lab::enter() else { return };
    conforms(&lab, "t-socket", Endpoint::Unix(SOCKET.into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_the_ports_keep_their_contract_over_ssh() {
    let Some(lab) = Lab::enter() else { return };
    let host = lab.host();
    let config = SshConfig {
        host: host.hostname,
        port: SSH_PORT,
        user: "root".to_owned(),
        identity: Identity::Key {
            text: Secret::new(host.key),
            passphrase: None,
        },
        host_keys: HostKeys::Known(host.known_hosts),
        owner: "host/lab".into(),
        connect_timeout: Duration::from_secs(20),
        jumps: Vec::new(),
    };
    let socket = SOCKET.to_owned();
    conforms(&lab, "t-ssh", Endpoint::Ssh { config, socket }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_a_guest_without_a_definition_that_stays_is_told_apart() {
    let Some(lab) = Lab::enter() else { return };
    let xml = "<domain type='qemu'><name>t-transient</name><memory unit='MiB'>64</memory>\
               <os><type arch='s390x'>hvm</type></os></domain>";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), xml).unwrap();
    lab.virsh(&["create", "--paused", file.path().to_str().unwrap()]);
    let ports = host_ports("lab", Endpoint::Unix(SOCKET.into()));
    let domains = ports.domains.domains().await;
    lab.virsh(&["destroy", "t-transient"]);
    let domains = domains.unwrap();
    let transient = domains.iter().find(|domain| domain.name == "t-transient");
    assert!(!transient.unwrap().persistent);
}
