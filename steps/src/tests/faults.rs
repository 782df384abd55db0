//! Injects every fault at every call of a provisioning: the result is the same as without.

use super::*;
use crate::sim::{Fault, Faults};

const FAULTS: [Fault; 6] = [
    Fault::LostReply,
    Fault::Timeout,
    Fault::Busy,
    Fault::Unreachable,
    Fault::CutStream,
    Fault::DaemonDies,
];

/// The final state of the host: volumes with their lengths, and domains with their states.
async fn outcome(world: &World) -> String {
    let describe = |state: &mut crate::sim::SimHostState| {
        let volumes = state.pools[POOL].volumes.iter();
        let volumes: Vec<_> = volumes
            .map(|(name, v)| (name.clone(), v.physical()))
            .collect();
        let domains: Vec<_> = state
            .domains
            .values()
            .map(|d| (d.spec.clone(), d.state))
            .collect();
        format!("{volumes:?} {domains:?}")
    };
    world.sim().await.with(describe).await
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_changes_nothing_in_the_end() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let expected = outcome(&world).await;
    let calls = world.sim().await.calls().await;
    let mut seen = BTreeMap::<&str, u32>::new();
    for call in calls {
        let nth = seen.entry(call.name).or_default();
        *nth += 1;
        // The first of many pieces and polls represent the others.
        if *nth > 6 {
            continue;
        }
        for fault in FAULTS {
            let second_world = World::new().await;
            second_world
                .sim()
                .await
                .set_faults(Faults::none().at(call.name, *nth, fault))
                .await;
            let booted = second_world.provision().await;
            assert!(
                booted.is_ok(),
                "{fault:?} at {} {nth}: {booted:?}",
                call.name
            );
            assert_eq!(
                outcome(&second_world).await,
                expected,
                "{fault:?} at {} {nth}",
                call.name
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_host_at_any_call_before_the_start_loses_nothing() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let expected = outcome(&world).await;
    let calls = world.sim().await.calls().await;
    let before = calls.iter().take_while(|call| call.name != "start").count();
    let mut seen = BTreeMap::<&str, u32>::new();
    for call in calls.iter().take(before) {
        let nth = seen.entry(call.name).or_default();
        *nth += 1;
        let second_world = World::new().await;
        second_world
            .sim()
            .await
            .set_faults(Faults::none().at(call.name, *nth, Fault::HostRestart))
            .await;
        let booted = second_world.provision().await;
        assert!(booted.is_ok(), "at {} {nth}: {booted:?}", call.name);
        assert_eq!(
            outcome(&second_world).await,
            expected,
            "at {} {nth}",
            call.name
        );
        let image = second_world.key("hpcr.qcow2");
        let hash = second_world
            .ports()
            .await
            .storage
            .sha256(&image)
            .await
            .unwrap();
        assert_eq!(
            hash,
            vsiflow_engine::model::Hash::of(&second_world.source.image(URL))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn many_random_faults_end_in_a_decision() {
    for seed in 0..60 {
        let world = World::new().await;
        world
            .sim()
            .await
            .set_faults(Faults::seeded(seed, 0.15, 12))
            .await;
        match world.provision().await {
            Ok(_) => {}
            // A host that restarts while a guest boots ends that boot.
            Err(failure) => assert_eq!(failure.code.as_str(), "VSI0503", "seed {seed}: {failure}"),
        }
        let starts = world.sim().await.with(|state| state.domains.len()).await;
        assert_eq!(starts, 1, "seed {seed}");
    }
}

/// What must be on the host's disk once the domain is defined: the hashes of the files, and the mark of
/// the image.
async fn on_disk(world: &World) -> Vec<String> {
    let ports = world.ports().await;
    let mut words = Vec::new();
    for key in [world.key("hpcr.qcow2"), world.boot(), world.cidata()] {
        let hash = ports.storage.sha256(&key).await;
        words.push(format!("{key} {hash:?}"));
    }
    let image = world.key("hpcr.qcow2");
    let sidecar = image::sidecar::read(&ports, world.journal, &image).await;
    let marked = sidecar
        .unwrap()
        .is_some_and(|sidecar| sidecar.whole.is_some());
    words.push(format!("marked: {marked}"));
    words
}

#[tokio::test(start_paused = true)]
async fn what_steps_told_as_done_outlives_a_power_cut_whatever_failed_on_the_way() {
    let world = World::new().await;
    world.define().await.unwrap();
    let expected = on_disk(&world).await;
    let calls = world.sim().await.calls().await;
    let mut seen = BTreeMap::<&str, u32>::new();
    for call in calls.iter().filter(|call| call.effect) {
        let nth = seen.entry(call.name).or_default();
        *nth += 1;
        if *nth > 6 {
            continue;
        }
        for fault in FAULTS {
            let faulty_world = World::new().await;
            let sim = faulty_world.sim().await;
            sim.set_faults(Faults::none().at(call.name, *nth, fault))
                .await;
            faulty_world.define().await.unwrap();
            sim.with(|state| state.restart()).await;
            let found = on_disk(&faulty_world).await;
            assert_eq!(found, expected, "{fault:?} at {} {nth}", call.name);
        }
    }
}
