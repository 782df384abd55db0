//! A guest on another host than its own: it was moved there, or uses a volume of a pool that both share.

use super::*;
use crate::sim::Content;

const OTHER: &str = "lpar-2";

/// `virsh migrate --undefinesource`: the other host has the running domain, and its own has nothing of it.
async fn move_away(world: &World) {
    let (sim, other) = (world.sim().await, world.hosts.sim(OTHER).await.unwrap());
    let domain = sim.with(|state| state.domains.remove(&world.uuid)).await;
    let domain = domain.unwrap();
    other
        .with(|state| state.domains.insert(world.uuid, domain))
        .await;
}

fn stop(world: &World) -> vsi::stop_domain::Params {
    serde_json::from_value(serde_json::json!({
        "host": HOST, "uuid": world.uuid, "grace_s": 30,
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_moved_away_is_neither_made_again_nor_taken_for_stopped() {
    let world = World::new().await;
    world.provision().await.unwrap();
    move_away(&world).await;
    let define = vsi::DefineDomain::new(world.hosts.clone());
    let defined = world.attempt(&define, &world.define_domain()).await;
    let failure = defined.unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0217");
    assert_eq!(failure.host.as_str(), OTHER);
    let stopping = vsi::StopDomain::new(world.hosts.clone());
    let stopped = world.attempt(&stopping, &stop(&world)).await;
    assert_eq!(code(stopped), "VSI0217");
}

/// The other host has the same pools, as over NFS.
async fn share_pools(world: &World) {
    let (sim, other) = (world.sim().await, world.hosts.sim(OTHER).await.unwrap());
    let mut pools = sim.with(|state| state.pools.clone()).await;
    let storage = world.ports().await.storage;
    for (pool, volumes) in &mut pools {
        for (name, volume) in &mut volumes.volumes {
            let (pool, name) = (pool.clone(), name.clone());
            let key = VolumeKey { pool, name };
            // Uploaded content is in a store of each host.
            let start = storage.read(&key, 0, 64 * 1024).await.unwrap();
            volume.content = Content::Inline(start.to_vec());
        }
    }
    other.with(|state| state.pools = pools).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_a_guest_on_another_host_uses_through_a_shared_pool_is_not_deleted() {
    let world = World::new().await;
    world.provision().await.unwrap();
    move_away(&world).await;
    let delete = crate::disk::DeleteVolume::new(world.hosts.clone());
    let params = serde_json::from_value(serde_json::json!({
        "host": HOST, "volume": world.boot(), "recorded": true,
    }));
    let params = params.unwrap();
    share_pools(&world).await;
    let refused = world.attempt(&delete, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0210");
    assert_eq!(refused.host.as_str(), OTHER);
    assert!(
        world
            .ports()
            .await
            .storage
            .volume(&world.boot())
            .await
            .unwrap()
            .is_some()
    );
    let other = world.hosts.sim(OTHER).await.unwrap();
    other.with(|state| state.domains.clear()).await;
    world.attempt(&delete, &params).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_image_that_a_layer_on_another_host_reads_through_a_shared_pool_is_not_deleted() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let image = world.ensure_image(&world.image_params()).await.unwrap();
    let sim = world.sim().await;
    sim.with(|state| {
        let pool = state.pools.get_mut(POOL).unwrap();
        let boot = pool.volumes.get_mut(&world.boot().name).unwrap();
        boot.backing = Some(image.path.clone());
    })
    .await;
    share_pools(&world).await;
    move_away(&world).await;
    world.delete_by_hand(&world.boot()).await;
    let remove = image::RemoveImage::new(world.hosts.clone());
    let params = serde_json::from_value(serde_json::json!({
        "host": HOST, "volume": image.key
    }));
    let params = params.unwrap();
    let hosts: std::sync::Arc<dyn Hosts> = world.hosts.clone();
    let cx = world.cx("remove_image", false);
    let foretold = image::remove::check_removal(&cx, &hosts, &params);
    let foretold = foretold.await.unwrap_err();
    let refused = world.attempt(&remove, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0210");
    assert_eq!(foretold.message, refused.message);
    assert!(
        world
            .ports()
            .await
            .storage
            .volume(&image.key)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_definition_somebody_removed_is_made_again() {
    let world = World::new().await;
    world.provision().await.unwrap();
    world.hosts.sim(OTHER).await.unwrap();
    let sim = world.sim().await;
    sim.with(|state| state.domains.remove(&world.uuid)).await;
    let stopping = vsi::StopDomain::new(world.hosts.clone());
    world.attempt(&stopping, &stop(&world)).await.unwrap();
    let define = vsi::DefineDomain::new(world.hosts.clone());
    world
        .attempt(&define, &world.define_domain())
        .await
        .unwrap();
}
