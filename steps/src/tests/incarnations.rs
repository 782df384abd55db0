//! Another file under the name of a boot disk.

use vsiflow_engine::model::{ObjectInUse, Text};

use super::{
    boot_disks::{exists, refusal, running, with_objects},
    endings::{undefine_params, volumes},
    *,
};
use crate::{
    guards,
    ports::{VolumeFormat, VolumeSpec},
};

#[tokio::test(start_paused = true)]
async fn a_file_that_took_the_place_of_a_boot_disk_is_not_deleted_by_the_order_for_that_disk() {
    let world = running().await;
    world.power_off().await;
    let made = world
        .ledger
        .facts
        .lock()
        .unwrap()
        .iter()
        .find_map(made_fact);
    let (object, identity) = made.unwrap();
    let known = Objects {
        made: [(object.clone(), identity)].into(),
        ..Objects::default()
    };
    let world = with_objects(world, known.clone());
    let ports = world.ports().await;
    let boot = world.boot();
    world.delete_by_hand(&boot).await;
    let replacement = VolumeSpec {
        key: boot.clone(),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: None,
    };
    ports.storage.create(&replacement).await.unwrap();
    let remove = vsi::DeleteVolumes::new(world.hosts.clone());
    let params = volumes(&world);
    let undefine = vsi::UndefineDomain::new(world.hosts.clone());
    let definition = vsi::undefine_domain::Params {
        volumes: params.volumes.clone(),
        ..undefine_params(&world)
    };
    assert_eq!(refusal(&world, &undefine, &definition).await, "VSI0236");
    assert_eq!(refusal(&world, &remove, &params).await, "VSI0236");
    assert!(exists(&world, &boot).await);
    // Once the replacement of the disk was begun, what is there is half of it.
    let begun = Objects {
        unfinished: [(object, Name::of("rebuild"))].into(),
        ..known
    };
    let world = with_objects(world, begun);
    world.attempt(&undefine, &definition).await.unwrap();
    world.attempt(&remove, &params).await.unwrap();
    assert!(!exists(&world, &boot).await);
}

fn made_fact(fact: &ObjectFact) -> Option<(Text, Text)> {
    match fact {
        ObjectFact::Made { object, identity } => Some((object.clone(), identity.clone())),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_starts_on_another_file_is_the_one_that_later_orders_mean() {
    let world = running().await;
    world.power_off().await;
    let object = guards::object_name(&world.boot());
    let used = ObjectInUse {
        object: object.clone(),
        generation: 1,
    };
    let known = Objects {
        made: [(object.clone(), Text::new("/elsewhere born 1"))].into(),
        in_use: Some(used),
        ..Objects::default()
    };
    let world = with_objects(world, known);
    world.next_run(None).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    let params = vsi::start_domain::Params {
        named: vec![world.boot(), world.key("data-1")],
        ..world.start_domain()
    };
    world.attempt(&start, &params).await.unwrap();
    let facts = world.ledger.facts.lock().unwrap();
    let (recorded, identity) = facts.iter().find_map(made_fact).unwrap();
    assert_eq!(recorded, object);
    assert_ne!(identity.as_str(), "/elsewhere born 1");
}
