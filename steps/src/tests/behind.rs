//! Changes of a domain behind vsiflow's back, by an administrator or by libvirt itself.

use std::time::Duration;

use super::{
    endings::{start_met, stop_params},
    *,
};
use crate::{
    ports::DomainState,
    sim::{Fault, Faults},
    vsi::stop_domain::StopMode,
};

#[tokio::test(start_paused = true)]
async fn a_start_that_the_hosts_daemon_died_in_is_made_again() {
    let world = World::new().await;
    let (sim, start) = start_met(&world, Fault::DaemonDies).await;
    // The host still reports it as starting, and ends it a moment later.
    world.attempt(&start, &world.start_domain()).await.unwrap();
    assert_eq!(sim.count("start").await, 2);
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    let booted = world.attempt(&monitor, &world.monitor_console()).await;
    assert!(booted.is_ok(), "{booted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_comes_to_no_end_is_reported_and_may_be_stopped() {
    let world = World::new().await;
    world.define().await.unwrap();
    let (sim, uuid) = (world.sim().await, world.uuid);
    let stuck = move |state: &mut crate::sim::SimHostState| {
        state.domains.get_mut(&uuid).unwrap().state = DomainState::Starting;
    };
    sim.with(stuck).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    let failure = world.attempt(&start, &world.start_domain()).await;
    let failure = failure.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.class),
        ("VSI0111", FailureClass::Transient)
    );
    let stop = vsi::StopDomain::new(world.hosts.clone());
    // A libvirt that has lost the start refuses to end it, too.
    sim.set_faults(Faults::none().at("destroy", 1, Fault::Busy))
        .await;
    let refused = world.attempt(&stop, &stop_params(&world)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0111", "{refused:?}");
    let stopped = world.attempt(&stop, &stop_params(&world)).await.unwrap();
    assert_eq!(stopped.output.how, StopMode::Destroyed);
}

/// A VSI that was ready and then saved with its memory by an administrator.
async fn saved() -> World {
    let world = World::new().await;
    world.provision().await.unwrap();
    world.next_run(None).await;
    let (sim, uuid) = (world.sim().await, world.uuid);
    let ports = world.ports().await;
    ports.domains.suspend(uuid).await.unwrap();
    let save = move |state: &mut crate::sim::SimHostState| {
        state.domains.get_mut(&uuid).unwrap().save();
    };
    sim.with(save).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_takes_up_its_saved_memory_is_ready_without_a_boot() {
    let world = saved().await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    let started = world.attempt(&start, &world.start_domain()).await.unwrap();
    assert!(started.output.taken_up);
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    let before = tokio::time::Instant::now();
    world
        .attempt(&monitor, &world.monitor_console())
        .await
        .unwrap();
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_saved_is_not_given_other_parts() {
    let world = saved().await;
    let stop = vsi::StopDomain::new(world.hosts.clone());
    let mut params = stop_params(&world);
    world.attempt(&stop, &params).await.unwrap();
    params.boots_anew = true;
    let refused = world.attempt(&stop, &params).await.map(|done| done.output);
    assert_eq!(code(refused), "VSI0216");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_moved_to_another_host_is_not_started_twice() {
    let world = World::new().await;
    world.define().await.unwrap();
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(move |state| state.domains.get_mut(&uuid).unwrap().moved = true)
        .await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    let refused = world.attempt(&start, &world.start_domain()).await;
    assert_eq!(code(refused), "VSI0217");
    assert_eq!(sim.count("start").await, 0);
    // Nor does it count as off, which would permit to delete its disks.
    let stop = vsi::StopDomain::new(world.hosts.clone());
    let stop_refused = world.attempt(&stop, &stop_params(&world)).await;
    assert_eq!(code(stop_refused.map(|done| done.output)), "VSI0217");
}
