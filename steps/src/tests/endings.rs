use super::*;
use std::time::Duration;

use crate::{
    ports::{DomainState, VolumeFormat, VolumeSpec},
    sim::{Fault, Faults},
    vsi::{await_ready, delete_volumes, stop_domain::StopMode},
};

/// Defines the domain, and starts it with this fault in the call.
pub(super) async fn start_met(world: &World, fault: Fault) -> (Arc<SimHost>, vsi::StartDomain) {
    world.define().await.unwrap();
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("start", 1, fault)).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    assert!(world.attempt(&start, &world.start_domain()).await.is_err());
    (sim, start)
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_record_was_lost_is_not_repeated() {
    let world = World::with_contract("workload: w\nenv: lab-off\n").await;
    let (sim, start) = start_met(&world, Fault::LostReply).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.attempt(&start, &world.start_domain()).await.unwrap();
    assert_eq!(sim.count("start").await, 1);
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    assert!(
        world
            .attempt(&monitor, &world.monitor_console())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_a_restart_of_the_host_ended_is_started_again() {
    let world = World::new().await;
    let (sim, start) = start_met(&world, Fault::LostReply).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    sim.with(|state| state.restart()).await;
    world.attempt(&start, &world.start_domain()).await.unwrap();
    assert_eq!(sim.count("start").await, 2);
}

async fn boot(contract: &str) -> (World, Result<await_ready::Output, Failure>) {
    let world = World::with_contract(contract).await;
    let booted = world.provision().await;
    (world, booted)
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_hangs_fails_at_its_deadline_and_not_before() {
    let before = tokio::time::Instant::now();
    let (_, booted) = boot("workload: w\nenv: lab-hang\n").await;
    assert_eq!(code(booted), "VSI0502");
    assert!(before.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_fails_says_why() {
    let world = World::new().await;
    let sim = world.sim().await;
    world.define().await.unwrap();
    let uuid = world.uuid;
    let little = move |state: &mut crate::sim::SimHostState| {
        state
            .domains
            .get_mut(&uuid)
            .unwrap()
            .spec
            .machine
            .memory_mib = 100;
    };
    sim.with(little).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    let failure = world
        .attempt(&monitor, &world.monitor_console())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::Failed, "VSI0501")
    );
    assert!(failure.message.as_str().contains("HPL11003E"), "{failure}");
    assert!(failure.remedy.as_str().contains("4 GiB"));
    let keep = vsi::KeepEvidence::new(world.hosts.clone());
    let params = vsi::keep_evidence::Params {
        host: HOST.to_owned(),
        uuid,
        console: world.console(),
    };
    let kept = world.attempt(&keep, &params).await.unwrap().output;
    assert!(kept.console_tail.contains("HPL11003E") && kept.domain_xml.contains("default/web-1"));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_stops_before_it_is_ready_has_failed() {
    let world = World::new().await;
    world.define().await.unwrap();
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    world.power_off().await;
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    assert_eq!(
        code(world.attempt(&monitor, &world.monitor_console()).await),
        "VSI0503"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_stopped_goes_on_with_the_time_it_had_left() {
    let mut world = World::with_contract("workload: w\nenv: lab-hang\n").await;
    world.define().await.unwrap();
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    let (params, stop) = (world.monitor_console(), world.stopped.clone());
    let watch = world.attempt(&monitor, &params);
    let (first, ()) = tokio::join!(watch, async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        stop.cancel();
    });
    assert_eq!(first.unwrap_err().class, FailureClass::Transient);
    // Nothing watches for an hour: that hour does not count for the guest.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.stopped = CancellationToken::new();
    let again = tokio::time::Instant::now();
    assert_eq!(code(world.attempt(&monitor, &params).await), "VSI0502");
    let left = again.elapsed();
    assert!(
        left > Duration::from_secs(19) && left < Duration::from_secs(22),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn success_of_an_earlier_boot_does_not_count() {
    let world = World::new().await;
    world.provision().await.unwrap();
    world.power_off().await;
    world.next_run(None).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    world.power_off().await;
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    assert_eq!(
        code(world.attempt(&monitor, &world.monitor_console()).await),
        "VSI0503"
    );
}

pub(super) fn stop_params(world: &World) -> vsi::stop_domain::Params {
    vsi::stop_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        grace_s: 10,
        ends_itself: false,
        boots_anew: false,
        spares_held: false,
        replaced: Vec::new(),
        named: Vec::new(),
        volumes: Vec::new(),
        stay: Vec::new(),
    }
}

async fn stop(world: &World) -> StopMode {
    let stop = vsi::StopDomain::new(world.hosts.clone());
    world
        .drive(&stop, &stop_params(world))
        .await
        .unwrap()
        .output
        .how
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_asked_before_it_is_ended() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    assert_eq!(stop(&world).await, StopMode::Shutdown);
    assert_eq!(stop(&world).await, StopMode::Already);
    let (deaf_world, deaf_booted) = boot("workload: w\nenv: lab-deaf\n").await;
    deaf_booted.unwrap();
    assert_eq!(stop(&deaf_world).await, StopMode::Destroyed);
}

/// A pool that hangs keeps no guest running whose disks stay.
#[tokio::test(start_paused = true)]
async fn a_stop_that_replaces_no_disk_asks_no_pool() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    let before = world.sim().await.calls().await.len();
    assert_eq!(stop(&world).await, StopMode::Shutdown);
    let calls = world.sim().await.calls().await;
    let calls: Vec<_> = calls[before..].iter().map(|call| call.name).collect();
    assert!(
        !calls.contains(&"pools") && !calls.contains(&"volumes"),
        "{calls:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_hear_the_first_request_while_it_boots_hears_a_later_one() {
    let world = World::new().await;
    world.define().await.unwrap();
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.drive(&start, &world.start_domain()).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(stop(&world).await, StopMode::Shutdown);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

pub(super) fn undefine_params(world: &World) -> vsi::undefine_domain::Params {
    vsi::undefine_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        discard: true,
        volumes: Vec::new(),
        stay: Vec::new(),
    }
}

pub(super) fn volumes(world: &World) -> delete_volumes::Params {
    let ours = [world.boot(), world.cidata(), world.console()];
    let doomed = |volume| delete_volumes::VolumeToDelete {
        volume,
        recorded: true,
    };
    let mut volumes: Vec<_> = ours.into_iter().map(doomed).collect();
    volumes.push(delete_volumes::VolumeToDelete {
        volume: world.key("hpcr.qcow2"),
        recorded: false,
    });
    delete_volumes::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        volumes,
    }
}

async fn delete(world: &World) -> Result<delete_volumes::Output, Failure> {
    stop(world).await;
    let undefine = vsi::UndefineDomain::new(world.hosts.clone());
    world.drive(&undefine, &undefine_params(world)).await?;
    let delete = vsi::DeleteVolumes::new(world.hosts.clone());
    let output = world.drive(&delete, &volumes(world)).await?.output;
    let release = vsi::ReleaseSecrets::new(world.secrets.clone());
    let erasure = vsi::release::Params {
        secrets: vec![world.contract.clone()],
    };
    world.drive(&release, &erasure).await?;
    Ok(output)
}

#[tokio::test(start_paused = true)]
async fn delete_removes_what_is_ours_and_nothing_else() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    let rotated = world.key(&format!("{}.0", world.console().name));
    super::images::foreign(&world, &rotated, b"older console").await;
    let output = delete(&world).await.unwrap();
    assert_eq!(
        output.removed,
        [world.boot(), world.cidata(), world.console(), rotated]
    );
    assert_eq!(output.kept, [world.key("hpcr.qcow2")]);
    let left = world.ports().await.storage.volumes(POOL).await.unwrap();
    let left: Vec<String> = left.into_iter().map(|volume| volume.key.name).collect();
    assert_eq!(left, [".hpcr.qcow2.vsiflow", "data-1", "hpcr.qcow2"]);
    assert!(world.secrets.get(&world.contract).await.is_err());
    assert_eq!(delete(&world).await.unwrap().removed, []);
}

#[tokio::test(start_paused = true)]
async fn a_delete_survives_every_lost_answer() {
    for call in ["shutdown", "undefine", "delete"] {
        for fault in [
            Fault::LostReply,
            Fault::Timeout,
            Fault::Busy,
            Fault::Unreachable,
        ] {
            let (world, booted) = boot(CONTRACT).await;
            booted.unwrap();
            world
                .sim()
                .await
                .set_faults(Faults::none().at(call, 1, fault))
                .await;
            delete(&world).await.unwrap();
            let sim = world.sim().await;
            let left = sim.with(|state| (state.domains.len(), state.pools[POOL].volumes.len()));
            assert_eq!(left.await, (0, 3), "{call} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_behind_its_host_destroys_nothing() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    world.roll_back();
    destroys_nothing(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_behind_in_what_became_of_another_vsi_destroys_nothing_either() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    let own = world.uuid;
    world
        .sim()
        .await
        .with(|state| {
            let mut other = state.domains[&own].clone();
            let mark = other.mark.as_mut().unwrap();
            mark.run = Some("00000000000000000000000007".parse().unwrap());
            state.domains.insert(uuid::Uuid::from_u128(7), other);
        })
        .await;
    destroys_nothing(&world).await;
}

async fn destroys_nothing(world: &World) {
    let hosts = world.hosts.clone();
    let stop = vsi::StopDomain::new(hosts.clone());
    assert_eq!(
        code(world.attempt(&stop, &stop_params(world)).await),
        "VSI0211"
    );
    let undefine = vsi::UndefineDomain::new(hosts.clone());
    let params = undefine_params(world);
    assert_eq!(code(world.attempt(&undefine, &params).await), "VSI0211");
    let delete = vsi::DeleteVolumes::new(hosts);
    assert_eq!(
        code(world.attempt(&delete, &volumes(world)).await),
        "VSI0211"
    );
    let effects = ["shutdown", "destroy", "undefine", "delete"];
    for call in effects {
        assert_eq!(world.sim().await.count(call).await, 0, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_domain_is_not_undefined() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    let undefine = vsi::UndefineDomain::new(world.hosts.clone());
    let params = vsi::undefine_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        discard: true,
        volumes: Vec::new(),
        stay: Vec::new(),
    };
    assert_eq!(code(world.attempt(&undefine, &params).await), "VSI0209");
}

/// Pauses the world's guest as QEMU does when it cannot write.
async fn hold(world: &World, full: bool) {
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(|state| {
        if full {
            let pool = state.pools.get_mut(POOL).unwrap();
            pool.capacity -= pool.available();
        } else {
            state.pools.get_mut(POOL).unwrap().capacity += 1 << 30;
        }
        let domain = state.domains.get_mut(&uuid).unwrap();
        domain.pause(0);
        domain.io_error = true;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_an_io_error_holds_is_ended_only_by_force() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    hold(&world, true).await;
    let step = vsi::StopDomain::new(world.hosts.clone());
    let mut params = stop_params(&world);
    params.spares_held = true;
    let refused = world.attempt(&step, &params).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Blocked);
    assert!(
        refused.message.as_str().contains("end it hard"),
        "{refused:?}"
    );
    assert!(refused.remedy.as_str().contains("--force"), "{refused:?}");
    params.grace_s = 0;
    let forced = world.attempt(&step, &params).await.unwrap();
    assert_eq!(forced.output.how, StopMode::Destroyed);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_held_again_after_it_was_resumed_does_not_count_as_running() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    hold(&world, true).await;
    let step = vsi::ResumeDomain::new(world.hosts.clone());
    let params = vsi::resume_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
    };
    let refused = world.attempt(&step, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0203");
    assert!(
        refused.message.as_str().contains("paused again"),
        "{refused:?}"
    );
    hold(&world, false).await;
    assert!(world.attempt(&step, &params).await.is_ok());
    let domain = world.ports().await.domains.domain(world.uuid).await;
    assert_eq!(domain.unwrap().unwrap().state, DomainState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_domain_stays_defined_while_a_volume_of_it_may_not_be_deleted() {
    let (world, booted) = boot(CONTRACT).await;
    booted.unwrap();
    stop(&world).await;
    let storage = world.ports().await.storage;
    let path = storage.volume(&world.boot()).await.unwrap().unwrap().path;
    let over = VolumeSpec {
        key: world.key("over"),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: Some((path, VolumeFormat::Qcow2)),
    };
    storage.create(&over).await.unwrap();
    let step = vsi::UndefineDomain::new(world.hosts.clone());
    let params = vsi::undefine_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        discard: true,
        volumes: volumes(&world).volumes,
        stay: Vec::new(),
    };
    let refused = world.attempt(&step, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0210");
    assert_eq!(world.sim().await.count("undefine").await, 0);
    world.delete_by_hand(&over.key).await;
    assert!(world.attempt(&step, &params).await.is_ok());
}
