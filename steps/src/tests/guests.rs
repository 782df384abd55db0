//! Guests of each type, and the probes that show that they are ready.

use super::*;
use crate::{
    cidata,
    guest::{GuestType, Probe, Seed, no_cloud::Instance},
    ports::Platform,
    vsi::{await_ready, define_domain},
};

const USER_DATA: &str = "#cloud-config\n";

/// A world whose VSI is a guest of that type, up to its start.
async fn started(user_data: &str, guest: GuestType, arch: &str) -> World {
    let world = World::with_contract(user_data).await;
    let hosts = world.hosts.clone();
    let host = vsi::resolve_host::Params {
        arch: arch.to_owned(),
        ..world.resolve_host()
    };
    world
        .drive(&vsi::ResolveHost::new(hosts.clone()), &host)
        .await
        .unwrap();
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    let clone = vsi::CloneBootDisk::new(hosts.clone());
    world.drive(&clone, &world.clone_boot_disk()).await.unwrap();
    let seed = guest.seed(arch);
    if let Some(volume) = names::seed(POOL, world.uuid, seed) {
        let params = vsi::write_cidata::Params {
            volume,
            seed,
            instance: (guest == GuestType::CloudInit).then(|| Instance {
                hostname: "web".to_owned(),
                ..Instance::default()
            }),
            ..world.write_cidata()
        };
        let write = vsi::WriteCidata::new(hosts.clone(), world.secrets.clone());
        world.drive(&write, &params).await.unwrap();
    }
    let log = vsi::CreateConsoleLog::new(hosts.clone());
    world
        .drive(&log, &world.create_console_log())
        .await
        .unwrap();
    let disks = vsi::AttachDataDisks::new(hosts.clone());
    world
        .drive(&disks, &world.attach_data_disks())
        .await
        .unwrap();
    let networks = vsi::ResolveNetworks::new(hosts.clone());
    world
        .drive(&networks, &world.resolve_networks())
        .await
        .unwrap();
    let define = define_domain::Params {
        platform: Some(define_domain::MachinePlatform {
            guest,
            ..define_domain::MachinePlatform::default()
        }),
        ..world.define_domain()
    };
    world
        .drive(&vsi::DefineDomain::new(hosts.clone()), &define)
        .await
        .unwrap();
    let start = vsi::StartDomain::new(hosts);
    world.drive(&start, &world.start_domain()).await.unwrap();
    world
}

async fn ready(
    world: &World,
    guest: GuestType,
    probes: Vec<Probe>,
) -> Result<await_ready::Output, Failure> {
    let params = await_ready::Params {
        guest,
        probes,
        deadline_s: 20,
        cards: vec![vsi::Card {
            network: "default".to_owned(),
            mac: names::mac(world.uuid, 0),
        }],
        ..world.monitor_console()
    };
    let step = vsi::AwaitReady::new(world.hosts.clone());
    Ok(world.attempt(&step, &params).await?.output)
}

#[tokio::test(start_paused = true)]
async fn each_probe_is_met_by_what_it_names() {
    let world = started(USER_DATA, GuestType::CloudInit, "x86_64").await;
    for (probe, by) in [
        (Probe::CloudInit {}, "Cloud-init v."),
        (Probe::Console("login: ?$".to_owned()), "login:"),
        (Probe::Agent {}, "agent"),
        (Probe::Tcp(22), "tcp 22"),
        (
            Probe::Http {
                port: 80,
                path: "/healthz".to_owned(),
            },
            "answers 200",
        ),
        (Probe::Address {}, "192.168.122."),
        (Probe::Started {}, "runs"),
    ] {
        let output = ready(&world, GuestType::CloudInit, vec![probe.clone()])
            .await
            .unwrap();
        assert!(
            output.ready_line.contains(by),
            "{probe}: {}",
            output.ready_line
        );
    }
}

/// Each question starts a program in the guest while it boots.
#[tokio::test(start_paused = true)]
async fn a_guest_is_seldom_asked_for_the_status_of_cloud_init() {
    let world = started(
        "#cloud-config\n# lab-hang\n",
        GuestType::CloudInit,
        "x86_64",
    )
    .await;
    let failure = ready(&world, GuestType::CloudInit, vec![Probe::CloudInit {}])
        .await
        .unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0502");
    let calls = world.sim().await.count("agent").await;
    assert!(calls <= 6, "in 20 s it was asked {calls} times");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_boot_disk_is_made_anew_unless_its_guest_runs() {
    let world = started(USER_DATA, GuestType::CloudInit, "x86_64").await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let params = vsi::clone_boot_disk::Params {
        mode: vsi::clone_boot_disk::Mode::Overlay,
        for_start: true,
        ..world.clone_boot_disk()
    };
    let sim = world.sim().await;
    let before = sim.count("create").await;
    world.drive(&clone, &params).await.unwrap();
    assert_eq!(sim.count("create").await, before, "its guest runs");
    world.power_off().await;
    world.drive(&clone, &params).await.unwrap();
    assert_eq!(sim.count("create").await, before + 1);
}

#[tokio::test(start_paused = true)]
async fn each_probe_that_is_not_met_says_why() {
    let silent = "#cloud-config\n# lab-closed lab-silent lab-hang\n";
    let world = started(silent, GuestType::CloudInit, "x86_64").await;
    for (probe, why) in [
        (Probe::CloudInit {}, "cloudInit"),
        (Probe::Console("never".to_owned()), "/never/"),
        (Probe::Agent {}, "not connected"),
        (Probe::Tcp(22), "Connection refused"),
        (
            Probe::Http {
                port: 80,
                path: "/".to_owned(),
            },
            "Connection refused",
        ),
    ] {
        let both = vec![Probe::Started {}, probe.clone()];
        let failure = ready(&world, GuestType::CloudInit, both).await.unwrap_err();
        assert_eq!(failure.code.as_str(), "VSI0502");
        assert!(failure.message.as_str().contains(why), "{probe}: {failure}");
        assert!(!failure.message.as_str().contains("started"), "{failure}");
    }
    let unhealthy = started(
        "#cloud-config\n# lab-unhealthy\n",
        GuestType::CloudInit,
        "x86_64",
    )
    .await;
    let http = Probe::Http {
        port: 80,
        path: "/".to_owned(),
    };
    let failure = ready(&unhealthy, GuestType::CloudInit, vec![http])
        .await
        .unwrap_err();
    assert!(
        failure.message.as_str().contains("answers 503"),
        "{failure}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_set_up_that_failed_ends_the_boot_with_its_line() {
    let world = started(
        "#cloud-config\n# lab-fail\n",
        GuestType::CloudInit,
        "x86_64",
    )
    .await;
    let failure = ready(&world, GuestType::CloudInit, vec![Probe::CloudInit {}])
        .await
        .unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0506");
    assert!(
        failure.message.as_str().contains("scripts-user"),
        "{failure}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_boot_of_any_guest_and_codes_those_of_hyper_protect_alone() {
    let panics = started(
        "#cloud-config\n# lab-panic\n",
        GuestType::CloudInit,
        "x86_64",
    )
    .await;
    let never = Probe::Console("never".to_owned());
    let failure = ready(&panics, GuestType::CloudInit, vec![never])
        .await
        .unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0501");
    assert!(failure.message.as_str().contains("panic"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_hyper_protect_guest_says_that_it_is_ready_and_its_probes_come_on_top() {
    let world = started(CONTRACT, GuestType::HyperProtect, "s390x").await;
    let output = ready(&world, GuestType::HyperProtect, Vec::new())
        .await
        .unwrap();
    assert!(output.ready_line.contains("VSI has started successfully"));
    let addressed = ready(&world, GuestType::HyperProtect, vec![Probe::Address {}])
        .await
        .unwrap();
    assert!(
        addressed
            .ready_line
            .contains("started successfully.; address 192."),
        "{addressed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn ignition_comes_by_the_firmware_or_by_a_disk() {
    let config = r#"{"ignition":{"version":"3.4.0"}}"#;
    for (arch, seed) in [
        ("x86_64", Seed::IgnitionFwCfg),
        ("s390x", Seed::IgnitionDisk),
    ] {
        let world = started(config, GuestType::Ignition, arch).await;
        assert_eq!(GuestType::Ignition.seed(arch), seed);
        let ignition = Probe::Console("Ignition finished".to_owned());
        ready(&world, GuestType::Ignition, vec![ignition])
            .await
            .unwrap();
        let domain = world
            .ports()
            .await
            .domains
            .domain(world.uuid)
            .await
            .unwrap()
            .unwrap();
        let serials: Vec<_> = domain
            .stored
            .disks
            .iter()
            .map(|d| d.serial.as_str())
            .collect();
        assert_eq!(
            serials.contains(&"ignition"),
            seed == Seed::IgnitionDisk,
            "{serials:?}"
        );
        let spec = world
            .sim()
            .await
            .with(|state| state.domains[&world.uuid].spec.clone())
            .await;
        let Some(Platform {
            ignition: reported,
            agent: true,
            ..
        }) = spec.machine.platform
        else {
            panic!("it has a platform");
        };
        assert_eq!(reported.is_some(), seed == Seed::IgnitionFwCfg);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_without_configuration_has_no_volume_for_it() {
    let world = started("", GuestType::None, "x86_64").await;
    ready(&world, GuestType::None, vec![Probe::Started {}])
        .await
        .unwrap();
    let domain = world
        .ports()
        .await
        .domains
        .domain(world.uuid)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        domain.stored.disks.len(),
        2,
        "boot and data disk: {:?}",
        domain.stored.disks
    );
    let volumes = world.ports().await.storage;
    assert_eq!(volumes.volume(&world.cidata()).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn the_same_user_data_is_written_once_and_byte_for_byte() {
    let multipart = "Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n\n--x--\n";
    let world = started(multipart, GuestType::CloudInit, "x86_64").await;
    let ports = world.ports().await;
    let volume = ports
        .storage
        .volume(&world.cidata())
        .await
        .unwrap()
        .unwrap();
    let bytes = ports
        .storage
        .read(&world.cidata(), 0, volume.physical)
        .await
        .unwrap();
    let found = cidata::read(&bytes).unwrap();
    assert_eq!(found.user_data, multipart.as_bytes());
    assert_eq!(found.hostname, "web");
}
