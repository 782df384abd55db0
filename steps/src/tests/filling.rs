//! Data disks that are filled: once, and never again after they may have been written to.

use vsiflow_engine::model::Outcome;

use super::{HOST, POOL, URL, World};
use crate::{
    disk::{
        CheckSource, DeleteVolume, FillFromImage, FillVolume, check_source, delete_volume,
        fill_from_image, fill_volume,
    },
    image::sidecar,
    ports::VolumeKey,
    sim::Content,
};

const SIZE: u64 = 200 << 30;

async fn with_image() -> World {
    let world = World::new().await;
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    world
}

fn params(world: &World, size: u64) -> fill_from_image::Params {
    fill_from_image::Params {
        host: HOST.to_owned(),
        volume: world.key("disk"),
        size,
        made: false,
    }
}

async fn write(world: &World, key: &VolumeKey, text: &str) {
    let sim = world.sim().await;
    sim.with(|state| {
        let pool = state.pools.get_mut(&key.pool).unwrap();
        let volume = pool.volumes.get_mut(&key.name).unwrap();
        volume.content = Content::Inline(text.as_bytes().to_vec());
    })
    .await;
}

async fn content(world: &World, key: &VolumeKey) -> String {
    let bytes = world.ports().await.storage.read(key, 0, 64).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn volumes(world: &World) -> Vec<String> {
    let volumes = world.ports().await.storage.volumes(POOL).await.unwrap();
    volumes.into_iter().map(|volume| volume.key.name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_its_host_calls_whole_is_never_filled_again() {
    let world = with_image().await;
    let (step, params) = (
        FillFromImage::new(world.hosts.clone()),
        params(&world, SIZE),
    );
    let key = params.volume.clone();
    let done = world.attempt(&step, &params).await.unwrap();
    assert_eq!(done.outcome, Outcome::Created);
    let filled = content(&world, &key).await;
    assert_eq!(content(&world, &world.key("hpcr.qcow2")).await, filled);

    // Whatever runs the journal recorded: the disk may have been written to since.
    write(&world, &key, "a user's").await;
    world.next_run(None).await;
    let again = world.attempt(&step, &params).await.unwrap();
    assert_eq!(again.outcome, Outcome::AlreadyPresent);
    assert_eq!(content(&world, &key).await, "a user's");

    // A disk that is not marked as whole may be half a copy.
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    world.record("ensure_base_image", &image);
    let beside = sidecar::key(&key);
    world.delete_by_hand(&beside).await;
    let refilled = world.attempt(&step, &params).await.unwrap();
    assert_eq!(refilled.outcome, Outcome::Created);
    assert_eq!(content(&world, &key).await, filled);

    let delete = delete_volume::Params {
        host: HOST.to_owned(),
        volume: key.clone(),
        recorded: true,
        filled: true,
    };
    let remove = DeleteVolume::new(world.hosts.clone());
    world.attempt(&remove, &delete).await.unwrap();
    let left = volumes(&world).await;
    assert!(
        !left.contains(&key.name) && !left.contains(&beside.name),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_says_that_a_disk_is_whole_goes_although_the_disk_is_gone() {
    let world = with_image().await;
    let (step, params) = (
        FillFromImage::new(world.hosts.clone()),
        params(&world, SIZE),
    );
    world.attempt(&step, &params).await.unwrap();
    let key = params.volume.clone();
    world.delete_by_hand(&key).await;
    let failure = world.attempt(&step, &params).await.map(|done| done.output);
    assert_eq!(
        failure.unwrap_err().code.as_str(),
        "VSI0206",
        "not made again"
    );
    let delete = delete_volume::Params {
        host: HOST.to_owned(),
        volume: key.clone(),
        recorded: true,
        filled: true,
    };
    let remove = DeleteVolume::new(world.hosts.clone());
    world.attempt(&remove, &delete).await.unwrap();
    assert!(!volumes(&world).await.contains(&sidecar::key(&key).name));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_too_small_is_not_made() {
    let world = with_image().await;
    let before = volumes(&world).await;
    let step = FillFromImage::new(world.hosts.clone());
    let failure = world.attempt(&step, &params(&world, 1 << 30)).await;
    assert_eq!(
        failure.map(|d| d.output).unwrap_err().code.as_str(),
        "VSI0227"
    );
    let check = CheckSource::new(world.source.clone());
    let mut params = check_source::Params {
        host: HOST.to_owned(),
        url: URL.to_owned(),
        checksum: None,
        size: 1 << 30,
    };
    let checked = world.attempt(&check, &params).await.map(|done| done.output);
    assert_eq!(checked.unwrap_err().code.as_str(), "VSI0227");
    params.size = SIZE;
    let found = world.attempt(&check, &params).await.unwrap().output;
    assert_eq!(found.virtual_size, Some(100 << 30));
    assert_eq!(volumes(&world).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_a_guest_has_is_not_copied() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let step = FillVolume::new(world.hosts.clone());
    let params = fill_volume::Params {
        host: HOST.to_owned(),
        volume: world.key("copy"),
        source: world.boot(),
        made: false,
        size: SIZE,
        shared: true,
    };
    let before = volumes(&world).await;
    let failure = world.attempt(&step, &params).await.map(|done| done.output);
    assert_eq!(failure.unwrap_err().code.as_str(), "VSI0228");
    assert_eq!(volumes(&world).await, before);
}
