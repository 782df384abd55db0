//! A boot disk that replaces another: made under a name of its own, and the other one removed afterwards.

use super::{endings::stop_params, removal::snapshot, *};
use crate::{
    guards,
    vsi::{
        RemoveReplacedDisks,
        remove_replaced_disks::{self, ReplacedDisk},
    },
};

/// The boot disk that replaces the first one.
fn second(world: &World) -> VolumeKey {
    names::boot_disk(POOL, world.uuid, 1)
}

fn replacing(world: &World) -> vsi::clone_boot_disk::Params {
    vsi::clone_boot_disk::Params {
        volume: second(world),
        new: true,
        ..world.clone_boot_disk()
    }
}

/// The same world, with what its journal has of the VSI's objects.
pub(super) fn with_objects(world: World, objects: Objects) -> World {
    World {
        ledger: Arc::new(Ledger {
            objects,
            ..Ledger::default()
        }),
        ..world
    }
}

fn begun(key: &VolumeKey) -> Objects {
    Objects {
        begun: [guards::object_name(key)].into(),
        newest: Some(guards::object_name(key)),
        ..Objects::default()
    }
}

/// A VSI that runs, and its base image in the outputs.
pub(super) async fn running() -> World {
    let world = World::new().await;
    world.provision().await.unwrap();
    world
}

/// The code by which an attempt is refused.
pub(super) async fn refusal<S: Step>(world: &World, step: &S, params: &S::Params) -> String
where
    S::Output: std::fmt::Debug,
{
    let attempted = world.attempt(step, params).await;
    code(attempted.map(|done| done.output))
}

pub(super) async fn exists(world: &World, key: &VolumeKey) -> bool {
    let storage = world.ports().await.storage;
    storage.volume(key).await.unwrap().is_some()
}

fn removal(world: &World, volume: VolumeKey, written: bool) -> remove_replaced_disks::Params {
    remove_replaced_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: vec![ReplacedDisk { volume, written }],
    }
}

/// A journal that was restored from a backup taken when the first boot disk was only intended.
#[tokio::test(start_paused = true)]
async fn a_boot_disk_is_not_made_again_by_an_intent_whose_end_may_be_forgotten() {
    let world = running().await;
    let params = vsi::clone_boot_disk::Params {
        new: true,
        ..world.clone_boot_disk()
    };
    let world = with_objects(world, Objects::none());
    let sim = world.sim().await;
    let uuid = world.uuid;
    sim.with(move |state| state.domains.remove(&uuid)).await;
    let restored = vsi::CloneBootDisk::new(Arc::new(HostsOfRestored(world.hosts.clone())));
    assert_eq!(refusal(&world, &restored, &params).await, "VSI0207");
    // An earlier version recorded no more than the intent.
    let earlier = vsi::CloneBootDisk::new(world.hosts.clone());
    world.attempt(&earlier, &params).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_boot_disk_is_made_beside_the_one_of_a_running_guest() {
    let world = running().await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let made = world.drive(&clone, &replacing(&world)).await.unwrap();
    assert!(made.output.path.ends_with("-1.qcow2"));
    assert!(exists(&world, &world.boot()).await);
    let facts = world.ledger.facts.lock().unwrap().clone();
    let object = guards::object_name(&second(&world));
    assert!(facts.contains(&ObjectFact::Begun { object }), "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_under_the_new_name_is_replaced_only_if_this_journal_began_it() {
    let world = running().await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    world.drive(&clone, &replacing(&world)).await.unwrap();
    // The intent of the step is on record, and says nothing of this volume.
    assert_eq!(refusal(&world, &clone, &replacing(&world)).await, "VSI0207");
    let key = second(&world);
    let world = with_objects(world, begun(&key));
    assert!(world.attempt(&clone, &replacing(&world)).await.is_ok());
    let facts = world.ledger.facts.lock().unwrap().clone();
    let object = guards::object_name(&key);
    let ground = Text::new("scratch, in which no guest had anything to keep");
    let discarded = ObjectFact::Discarding { object, ground };
    assert!(facts.contains(&discarded), "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_gets_no_other_disk_without_an_order_for_the_one_it_has() {
    let world = running().await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let params = vsi::clone_boot_disk::Params {
        replaces: Some(world.boot()),
        ..replacing(&world)
    };
    world.ledger.unordered.store(true, Ordering::Relaxed);
    assert_eq!(refusal(&world, &clone, &params).await, "VSI0041");
    assert!(!exists(&world, &second(&world)).await);
    // The order may end after the disk was made.
    world.power_off().await;
    let define = vsi::DefineDomain::new(world.hosts.clone());
    let switch = vsi::define_domain::Params {
        boot: Some(second(&world)),
        replaces: Some(world.boot()),
        ..world.define_domain()
    };
    let outputs = world.outputs.lock().unwrap().clone();
    world.next_run(None).await;
    *world.outputs.lock().unwrap() = outputs;
    assert_eq!(refusal(&world, &define, &switch).await, "VSI0041");
    let domain = world.ports().await.domains.domain(world.uuid).await;
    let domain = domain.unwrap().unwrap();
    assert!(!domain.stored.disks[0].source.ends_with("-1.qcow2"));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_runs_is_not_stopped_for_a_disk_that_nobody_ordered_to_replace() {
    let world = running().await;
    let stop = vsi::StopDomain::new(world.hosts.clone());
    let params = vsi::stop_domain::Params {
        replaced: vec![world.boot()],
        named: Vec::new(),
        ..stop_params(&world)
    };
    world.ledger.unordered.store(true, Ordering::Relaxed);
    assert_eq!(refusal(&world, &stop, &params).await, "VSI0041");
    let domain = world.ports().await.domains.domain(world.uuid).await;
    assert!(domain.unwrap().unwrap().state.is_active());
    world.ledger.unordered.store(false, Ordering::Relaxed);
    world.attempt(&stop, &params).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_runs_is_not_stopped_for_a_disk_that_a_layer_of_others_keeps() {
    let world = running().await;
    let layer = snapshot(&world, &world.boot()).await;
    let stop = vsi::StopDomain::new(world.hosts.clone());
    let params = vsi::stop_domain::Params {
        replaced: vec![world.boot()],
        named: Vec::new(),
        ..stop_params(&world)
    };
    assert_eq!(refusal(&world, &stop, &params).await, "VSI0210");
    let domain = world.ports().await.domains.domain(world.uuid).await;
    assert!(domain.unwrap().unwrap().state.is_active());
    world.delete_by_hand(&layer).await;
    world.attempt(&stop, &params).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_replaced_boot_disk_is_removed_by_its_order_and_never_while_a_definition_names_it() {
    let world = running().await;
    let remove = RemoveReplacedDisks::new(world.hosts.clone());
    let current = removal(&world, world.boot(), true);
    assert_eq!(refusal(&world, &remove, &current).await, "VSI0210");
    world.power_off().await;
    assert_eq!(
        refusal(&world, &remove, &current).await,
        "VSI0210",
        "its own definition is no excuse"
    );
    assert!(exists(&world, &world.boot()).await);
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    world.drive(&clone, &replacing(&world)).await.unwrap();
    let key = second(&world);
    world.ledger.unordered.store(true, Ordering::Relaxed);
    assert_eq!(
        refusal(&world, &remove, &removal(&world, key.clone(), true)).await,
        "VSI0041"
    );
    assert!(exists(&world, &key).await);
    let removed = world
        .attempt(&remove, &removal(&world, key.clone(), false))
        .await;
    assert_eq!(removed.unwrap().output.removed, std::slice::from_ref(&key));
    assert!(!exists(&world, &key).await, "nothing of a guest was in it");
}

/// A disk is given up in its place only once the source of the new one is certain.
#[tokio::test(start_paused = true)]
async fn a_disk_that_is_made_anew_in_its_place_stays_if_its_image_is_not_the_verified_one() {
    let world = running().await;
    world.power_off().await;
    let clone = vsi::CloneBootDisk::new(world.hosts.clone());
    let in_place = vsi::clone_boot_disk::Params {
        written: true,
        ..world.clone_boot_disk()
    };
    let too_large = vsi::clone_boot_disk::Params {
        size: Some(1),
        ..in_place.clone()
    };
    world.intend("clone_boot_disk");
    assert_eq!(refusal(&world, &clone, &too_large).await, "VSI0208");
    world.delete_by_hand(&world.image_params().volume).await;
    assert_eq!(refusal(&world, &clone, &in_place).await, "VSI0206");
    assert!(exists(&world, &world.boot()).await);
}
