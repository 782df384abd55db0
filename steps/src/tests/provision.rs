use super::*;
use crate::{
    ports::{DomainState, VolumeFormat},
    sim::{Fault, Faults},
};
use vsiflow_engine::model::Outcome;

use super::images::foreign;

#[tokio::test(start_paused = true)]
async fn a_vsi_boots_and_has_what_it_was_given() {
    let world = World::new().await;
    let output = world.provision().await.unwrap();
    assert!(output.ready_line.contains("VSI has started successfully"));
    let ports = world.ports().await;
    let domain = ports.domains.domain(world.uuid).await.unwrap().unwrap();
    assert_eq!(
        (domain.state, domain.autostart),
        (DomainState::Running, true)
    );
    let leases = ports.networks.leases("default").await.unwrap();
    assert_eq!(leases[0].hostname.as_deref(), Some("web-1"));
    assert_eq!(leases[0].mac, names::mac(world.uuid, 0));
    let spec = world
        .sim()
        .await
        .with(|s| s.domains[&world.uuid].spec.clone())
        .await;
    let disks: Vec<_> = spec
        .disks
        .iter()
        .map(|d| (d.target.as_str(), d.serial.as_str()))
        .collect();
    assert_eq!(disks, [("vda", "boot"), ("vdb", "cidata"), ("vdc", "data")]);
    assert_eq!(spec.mark.sequence, world.sequence);
}

#[tokio::test(start_paused = true)]
async fn every_step_repeated_changes_nothing() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let sim = world.sim().await;
    let before = sim
        .with(|state| serde_json::to_value(&state.domains).unwrap())
        .await;
    let hosts = world.hosts.clone();
    let cidata = vsi::WriteCidata::new(hosts.clone(), world.secrets.clone());
    let outcomes = [
        world
            .attempt(&cidata, &world.write_cidata())
            .await
            .unwrap()
            .outcome,
        world
            .attempt(
                &vsi::CreateConsoleLog::new(hosts.clone()),
                &world.create_console_log(),
            )
            .await
            .unwrap()
            .outcome,
        world
            .attempt(
                &vsi::AttachDataDisks::new(hosts.clone()),
                &world.attach_data_disks(),
            )
            .await
            .unwrap()
            .outcome,
        world
            .attempt(
                &vsi::DefineDomain::new(hosts.clone()),
                &world.define_domain(),
            )
            .await
            .unwrap()
            .outcome,
        world
            .attempt(&vsi::StartDomain::new(hosts.clone()), &world.start_domain())
            .await
            .unwrap()
            .outcome,
    ];
    assert_eq!(outcomes, [Outcome::AlreadyPresent; 5]);
    assert_eq!(
        sim.with(|state| serde_json::to_value(&state.domains).unwrap())
            .await,
        before
    );
    assert_eq!(sim.count("start").await, 1);
    // The boot disk may be half a copy, so the step would copy it again; but a guest uses it.
    let clone = vsi::CloneBootDisk::new(hosts);
    assert_eq!(
        code(world.attempt(&clone, &world.clone_boot_disk()).await),
        "VSI0210"
    );
}

#[tokio::test(start_paused = true)]
async fn a_boot_disk_not_recorded_as_cloned_is_made_again() {
    let world = World::new().await;
    world.define().await.unwrap();
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let done = world
        .attempt(&clone, &world.clone_boot_disk())
        .await
        .unwrap();
    assert_eq!(done.outcome, Outcome::Created);
    assert_eq!(world.sim().await.count("clone").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_clone_whose_answer_was_lost_is_waited_for_and_made_again() {
    let world = World::new().await;
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("clone", 1, Fault::LostReply))
        .await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let first = world.attempt(&clone, &world.clone_boot_disk()).await;
    assert_eq!(first.unwrap_err().class, FailureClass::Transient);
    world.drive(&clone, &world.clone_boot_disk()).await.unwrap();
    assert_eq!(sim.count("clone").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_the_host_cannot_make_waits_for_a_person() {
    let world = World::new().await;
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("clone", 1, Fault::Unconvertible))
        .await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let refused = world.attempt(&clone, &world.clone_boot_disk()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.class, FailureClass::Blocked);
    assert!(
        refused.remedy.as_str().contains("qemu-img check"),
        "{refused:?}"
    );
    assert!(
        world
            .attempt(&clone, &world.clone_boot_disk())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn overlays_and_larger_boot_disks_are_made() {
    let world = World::new().await;
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let small = vsi::clone_boot_disk::Params {
        size: Some(1),
        ..world.clone_boot_disk()
    };
    assert_eq!(code(world.attempt(&clone, &small).await), "VSI0208");
    let large = vsi::clone_boot_disk::Params {
        size: Some(200 << 30),
        ..world.clone_boot_disk()
    };
    assert_eq!(
        world.attempt(&clone, &large).await.unwrap().output.capacity,
        200 << 30
    );
    let mode = vsi::clone_boot_disk::Mode::Overlay;
    let overlay = vsi::clone_boot_disk::Params {
        mode,
        ..world.clone_boot_disk()
    };
    world.attempt(&clone, &overlay).await.unwrap();
    let volume = world
        .ports()
        .await
        .storage
        .volume(&world.boot())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(volume.backing, Some(image.path));
}

#[tokio::test(start_paused = true)]
async fn a_base_image_that_changed_is_not_cloned() {
    let world = World::new().await;
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    world.delete_by_hand(&image.key).await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    assert_eq!(
        code(world.attempt(&clone, &world.clone_boot_disk()).await),
        "VSI0206"
    );
    foreign(&world, &image.key, b"other").await;
    assert_eq!(
        code(world.attempt(&clone, &world.clone_boot_disk()).await),
        "VSI0206"
    );
}

#[tokio::test(start_paused = true)]
async fn what_others_made_is_neither_taken_nor_touched() {
    let world = World::new().await;
    let keys = [
        world.boot(),
        world.cidata(),
        world.console(),
        world.key("data-1"),
    ];
    for key in &keys {
        foreign(&world, key, b"not yours").await;
    }
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    let hosts = world.hosts.clone();
    // Twice: a user's `retry` must not change the owner.
    for _ in 0..2 {
        let clone = vsi::CloneBootDisk::new(hosts.clone());
        assert_eq!(
            code(world.attempt(&clone, &world.clone_boot_disk()).await),
            "VSI0207"
        );
        let cidata = vsi::WriteCidata::new(hosts.clone(), world.secrets.clone());
        assert_eq!(
            code(world.attempt(&cidata, &world.write_cidata()).await),
            "VSI0207"
        );
        let log = vsi::CreateConsoleLog::new(hosts.clone());
        assert_eq!(
            code(world.attempt(&log, &world.create_console_log()).await),
            "VSI0207"
        );
        let disks = vsi::AttachDataDisks::new(hosts.clone());
        assert_eq!(
            code(world.attempt(&disks, &world.attach_data_disks()).await),
            "VSI0207"
        );
    }
    for key in &keys {
        let read = world.ports().await.storage.read(key, 0, 100).await.unwrap();
        assert_eq!(read.as_ref(), b"not yours", "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_domain_of_another_journal_is_not_touched() {
    let world = World::new().await;
    world.define().await.unwrap();
    let sim = world.sim().await;
    let whose = |journal: Option<&'static str>| {
        sim.with(move |state| {
            let domain = state.domains.get_mut(&world.uuid).unwrap();
            match journal {
                Some(journal) => domain.mark.as_mut().unwrap().journal = journal.to_owned(),
                None => domain.mark = None,
            }
        })
    };
    for journal in [Some("journal-b"), None] {
        whose(journal).await;
        let hosts = world.hosts.clone();
        let define = vsi::DefineDomain::new(hosts.clone());
        assert_eq!(
            code(world.attempt(&define, &world.define_domain()).await),
            "VSI0207"
        );
        let start = vsi::StartDomain::new(hosts.clone());
        assert_eq!(
            code(world.attempt(&start, &world.start_domain()).await),
            "VSI0207"
        );
    }
    assert_eq!(sim.count("define").await, 1);
    assert_eq!(sim.count("start").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_contract_without_form_never_reaches_the_host() {
    let world = World::with_contract("workload: hunter2\n").await;
    let cidata = vsi::WriteCidata::new(world.hosts.clone(), world.secrets.clone());
    let failure = world
        .attempt(&cidata, &world.write_cidata())
        .await
        .unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0403");
    assert!(!format!("{failure:?}").contains("hunter2"));
    assert_eq!(world.sim().await.calls().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_changed_contract_is_written_anew_while_the_guest_is_off() {
    let mut world = World::new().await;
    world.define().await.unwrap();
    world.contract = world
        .secrets
        .put(Secret::new("workload: x\nenv: other\n"))
        .await
        .unwrap();
    let cidata = vsi::WriteCidata::new(world.hosts.clone(), world.secrets.clone());
    let done = world.attempt(&cidata, &world.write_cidata()).await.unwrap();
    assert_eq!(done.outcome, Outcome::Created);
}

#[tokio::test(start_paused = true)]
async fn data_disks_must_be_there_and_unused_and_keep_their_format() {
    use vsi::attach_data_disks as step;
    let world = World::new().await;
    let attach = vsi::AttachDataDisks::new(world.hosts.clone());
    let mut params = world.attach_data_disks();
    params.disks[0].create = None;
    assert_eq!(code(world.attempt(&attach, &params).await), "VSI0206");
    foreign(&world, &world.key("data-1"), b"raw bytes").await;
    let done = world.attempt(&attach, &params).await.unwrap();
    let expected = step::Attached {
        path: "/var/lib/libvirt/images/data-1".to_owned(),
        format: VolumeFormat::Raw,
        serial: "data".to_owned(),
        volume: Some(world.key("data-1")),
        present: None,
    };
    assert_eq!(done.output.disks, [expected]);
    let mut other = World::new().await;
    other.hosts = world.hosts.clone();
    other.uuid = Uuid::from_u128(9);
    other.provision_with_disk(&params).await;
    assert_eq!(code(world.attempt(&attach, &params).await), "VSI0210");
}

impl World {
    /// A running guest that has this disk.
    async fn provision_with_disk(&self, params: &vsi::attach_data_disks::Params) {
        let params = vsi::attach_data_disks::Params {
            uuid: self.uuid,
            ..params.clone()
        };
        self.intend("attach_data_disks");
        self.intend("create_console_log");
        let hosts = self.hosts.clone();
        self.drive(&vsi::ResolveHost::new(hosts.clone()), &self.resolve_host())
            .await
            .unwrap();
        let image = self.ensure_image(&self.image_params()).await.unwrap();
        self.record("ensure_base_image", &image);
        self.drive(
            &vsi::CloneBootDisk::new(hosts.clone()),
            &self.clone_boot_disk(),
        )
        .await
        .unwrap();
        let cidata = vsi::WriteCidata::new(hosts.clone(), self.secrets.clone());
        self.drive(&cidata, &self.write_cidata()).await.unwrap();
        let log = vsi::CreateConsoleLog::new(hosts.clone());
        self.drive(&log, &self.create_console_log()).await.unwrap();
        self.drive(&vsi::AttachDataDisks::new(hosts.clone()), &params)
            .await
            .unwrap();
        let networks = vsi::ResolveNetworks::new(hosts.clone());
        self.drive(&networks, &self.resolve_networks())
            .await
            .unwrap();
        self.drive(
            &vsi::DefineDomain::new(hosts.clone()),
            &self.define_domain(),
        )
        .await
        .unwrap();
        self.drive(&vsi::StartDomain::new(hosts), &self.start_domain())
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn missing_pools_and_networks_are_looked_at_again_later() {
    let world = World::new().await;
    let sim = world.sim().await;
    let resolve = vsi::ResolveHost::new(world.hosts.clone());
    let pool = |name: &str| vsi::resolve_host::Params {
        pool: name.to_owned(),
        ..world.resolve_host()
    };
    assert_eq!(
        code(world.attempt(&resolve, &pool("nowhere")).await),
        "VSI0201"
    );
    sim.with(|state| state.pools.get_mut(POOL).unwrap().active = false)
        .await;
    assert_eq!(code(world.attempt(&resolve, &pool(POOL)).await), "VSI0202");
    let arch = vsi::resolve_host::Params {
        arch: "vax".to_owned(),
        ..world.resolve_host()
    };
    assert_eq!(code(world.attempt(&resolve, &arch).await), "VSI0504");
    let secure = vsi::resolve_host::Params {
        secure: vsi::define_domain::Secure::Required,
        ..world.resolve_host()
    };
    assert_eq!(code(world.attempt(&resolve, &secure).await), "VSI0504");
    let networks = vsi::ResolveNetworks::new(world.hosts.clone());
    sim.with(|state| state.networks.get_mut("default").unwrap().active = false)
        .await;
    assert_eq!(
        code(world.attempt(&networks, &world.resolve_networks()).await),
        "VSI0205"
    );
    sim.with(|state| state.networks.clear()).await;
    assert_eq!(
        code(world.attempt(&networks, &world.resolve_networks()).await),
        "VSI0204"
    );
}
