use super::*;
use crate::{
    ports::{Hosts, PortResult, VolumeFormat, VolumeSpec},
    sim::{Fault, Faults},
};

/// Creates a file with this content that vsiflow did not make.
pub(super) async fn foreign(world: &World, key: &VolumeKey, bytes: &[u8]) {
    let storage = world.ports().await.storage;
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    };
    storage.create(&spec).await.unwrap();
    let mut sink = storage.upload(key, 0, None).await.unwrap();
    sink.send(bytes::Bytes::copy_from_slice(bytes))
        .await
        .unwrap();
    sink.finish().await.unwrap();
}

pub(super) async fn hash(world: &World, key: &VolumeKey) -> String {
    world
        .ports()
        .await
        .storage
        .sha256(key)
        .await
        .unwrap()
        .to_string()
}

pub(super) fn checksum(bytes: &[u8]) -> String {
    format!("sha256:{}", vsiflow_engine::model::Hash::of(bytes))
}

#[tokio::test(start_paused = true)]
async fn an_image_is_uploaded_once_and_then_known() {
    let world = World::new().await;
    let params = world.image_params();
    let image = world.ensure_image(&params).await.unwrap();
    assert_eq!((image.size, image.virtual_size), (300_000, 100 << 30));
    assert_eq!(image.sha256, hash(&world, &image.key).await);
    world.next_run(Some(&image)).await;
    let sent = world.sim().await.count("send").await;
    assert_eq!(world.ensure_image(&params).await, Ok(image));
    assert_eq!(world.sim().await.count("send").await, sent);
}

#[tokio::test(start_paused = true)]
async fn the_checksum_is_held() {
    let world = World::new().await;
    let good = checksum(&world.source.image(URL));
    let wrong = checksum(b"something else");
    let with = |sum: &str| image::Params {
        checksum: Some(sum.to_owned()),
        ..world.image_params()
    };
    assert_eq!(code(world.ensure_image(&with("md5:abc")).await), "VSI0305");
    assert_eq!(code(world.ensure_image(&with(&wrong)).await), "VSI0305");
    world.next_run(None).await;
    assert!(world.ensure_image(&with(&good)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_image_is_refused_by_its_own_code() {
    for (url, expected) in [
        ("http://images.test/page", "VSI0306"),
        ("http://images.test/missing", "VSI0302"),
        ("http://images.test/forbidden", "VSI0303"),
    ] {
        let world = World::new().await;
        let params = image::Params {
            url: url.to_owned(),
            ..world.image_params()
        };
        assert_eq!(code(world.ensure_image(&params).await), expected, "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_of_unknown_length_takes_no_more_than_there_is_room_for_and_leaves_nothing() {
    let world = World::new().await;
    let params = image::Params {
        url: "http://images.test/unmeasured/hpcr.qcow2".to_owned(),
        ..world.image_params()
    };
    let sim = world.sim().await;
    let resize =
        |bytes: u64| sim.with(move |state| state.pools.get_mut(POOL).unwrap().capacity = bytes);
    resize(290_000).await;
    assert_eq!(code(world.ensure_image(&params).await), "VSI0311");
    let storage = world.ports().await.storage;
    assert_eq!(storage.volume(&params.volume).await.unwrap(), None);
    resize(10_000_000).await;
    world.next_run(None).await;
    assert_eq!(world.ensure_image(&params).await.unwrap().size, 300_000);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_file_of_the_same_content_is_used_as_it_is() {
    for with_checksum in [false, true] {
        let world = World::new().await;
        let bytes = world.source.image(URL);
        let checksum = with_checksum.then(|| checksum(&bytes));
        let params = image::Params {
            checksum,
            ..world.image_params()
        };
        foreign(&world, &params.volume, &bytes).await;
        let creates = world.sim().await.count("create").await;
        assert_eq!(
            world.ensure_image(&params).await.unwrap().key,
            params.volume
        );
        assert_eq!(world.sim().await.count("create").await, creates);
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_file_of_other_content_stays_and_another_name_is_taken() {
    let world = World::new().await;
    let params = world.image_params();
    foreign(&world, &params.volume, b"somebody's only copy").await;
    let image = world.ensure_image(&params).await.unwrap();
    assert!(image.key.name.starts_with("hpcr-") && image.key.name.ends_with(".qcow2"));
    let read = world
        .ports()
        .await
        .storage
        .read(&params.volume, 0, 100)
        .await
        .unwrap();
    assert_eq!(read.as_ref(), b"somebody's only copy");
    world.next_run(Some(&image)).await;
    assert_eq!(world.ensure_image(&params).await, Ok(image));
}

#[tokio::test(start_paused = true)]
async fn a_part_of_an_earlier_run_is_sent_again_whole() {
    let world = World::new().await;
    let params = world.image_params();
    world.claim(&params).await;
    world
        .sim()
        .await
        .set_faults(Faults::none().at("send", 30, Fault::CutStream))
        .await;
    assert!(
        world
            .attempt(&world.upload_chunks(), &params)
            .await
            .is_err()
    );
    world.next_run(None).await;
    let image = world.ensure_image(&params).await.unwrap();
    assert_eq!(image.key, params.volume);
    assert_eq!(image.sha256, hash(&world, &params.volume).await);
}

#[tokio::test(start_paused = true)]
async fn our_image_replaced_by_somebody_is_theirs_now() {
    let world = World::new().await;
    let params = world.image_params();
    let image = world.ensure_image(&params).await.unwrap();
    world.delete_by_hand(&image.key).await;
    foreign(&world, &image.key, b"an administrator's file").await;
    world.next_run(Some(&image)).await;
    assert_ne!(
        world.ensure_image(&params).await.unwrap().key,
        params.volume
    );
    let read = world
        .ports()
        .await
        .storage
        .read(&params.volume, 0, 100)
        .await
        .unwrap();
    assert_eq!(read.as_ref(), b"an administrator's file");
}

#[tokio::test(start_paused = true)]
async fn bytes_lost_by_a_power_cut_are_sent_again() {
    let world = World::new().await;
    let params = world.image_params();
    let (hosts, source) = (world.hosts.clone(), world.source.clone());
    world.claim(&params).await;
    world
        .attempt(&world.upload_chunks(), &params)
        .await
        .unwrap();
    world.sim().await.with(|state| state.restart()).await;
    let verify = image::VerifyImage::new(hosts, source);
    let image = world.attempt(&verify, &params).await.unwrap().output.image;
    assert_eq!(
        format!("sha256:{}", image.sha256),
        checksum(&world.source.image(URL))
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_is_looked_at_again_later() {
    let world = World::new().await;
    let sim = world.sim().await;
    sim.with(|state| state.pools.get_mut(POOL).unwrap().capacity = 1000)
        .await;
    assert_eq!(
        code(world.ensure_image(&world.image_params()).await),
        "VSI0203"
    );
    sim.with(|state| state.pools.get_mut(POOL).unwrap().capacity = 1 << 30)
        .await;
    assert!(world.ensure_image(&world.image_params()).await.is_ok());
}

/// Uploads the image; the n-th sync on the host reports a disk error.
async fn with_disk_error(nth: u32) -> (World, u64) {
    let mut world = World::new().await;
    // Large enough to be synced during the upload.
    world.source = Arc::new(SimSource::with_size(20 * INTERVAL));
    let params = world.image_params();
    let faults = Faults::none().at("sync", nth, Fault::DiskError);
    world.claim(&params).await;
    world.sim().await.set_faults(faults).await;
    let mut failed = 0;
    let upload = world.upload_chunks();
    let verify = image::VerifyImage::new(world.hosts.clone(), world.source.clone());
    let attempt = |number| world.number.store(number, Ordering::Relaxed);
    if world.attempt(&upload, &params).await.is_err() {
        failed += 1;
        attempt(2);
        world.attempt(&upload, &params).await.unwrap();
        attempt(1);
    }
    let verified = world.attempt(&verify, &params).await;
    let image = match verified {
        Ok(verified) => verified.output.image,
        Err(_) => {
            failed += 1;
            attempt(2);
            let verified_again = world.attempt(&verify, &params).await;
            verified_again.unwrap().output.image
        }
    };
    // All of it is on the host's disk, not only in its memory.
    world.sim().await.with(|state| state.restart()).await;
    assert_eq!(image.sha256, hash(&world, &image.key).await);
    assert_eq!(
        format!("sha256:{}", image.sha256),
        checksum(&world.source.image(URL))
    );
    (world, failed)
}

#[tokio::test(start_paused = true)]
async fn bytes_that_the_disk_did_not_take_are_not_verified_out_of_the_hosts_memory() {
    // Two syncs during the upload, and the one before the hash.
    for nth in 0..3 {
        let (_, failed) = with_disk_error(nth).await;
        assert_eq!(failed, 1, "{nth}");
    }
    let (world, failed) = with_disk_error(100).await;
    assert_eq!(failed, 0);
    assert_eq!(world.sim().await.count("drop_cached").await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_somebody_wrote_into_while_it_was_hashed_is_not_whole() {
    let world = World::new().await;
    let params = world.image_params();
    let faults = Faults::none().at("sha256", 0, Fault::Overwritten);
    let sim = world.sim().await;
    sim.with(|state| state.reads_along = false).await;
    sim.set_faults(faults).await;
    world.claim(&params).await;
    let upload = world.upload_chunks();
    world.attempt(&upload, &params).await.unwrap();
    let verify = image::VerifyImage::new(world.hosts.clone(), world.source.clone());
    assert_eq!(code(world.attempt(&verify, &params).await), "VSI0307");
    let image = world.attempt(&verify, &params).await.unwrap().output.image;
    assert_eq!(image.sha256, hash(&world, &image.key).await);
    let sha256 = format!("sha256:{}", image.sha256);
    assert_eq!(sha256, checksum(&world.source.image(URL)));
}

/// Uploads the image; returns how often its host read it after the upload, and the note about that.
async fn hashed_with(faults: Faults, reads_along: bool) -> (usize, Option<String>) {
    let world = World::new().await;
    let (sim, params) = (world.sim().await, world.image_params());
    sim.with(|state| state.reads_along = reads_along).await;
    world.claim(&params).await;
    sim.set_faults(faults).await;
    let upload = world.upload_chunks();
    world.attempt(&upload, &params).await.unwrap();
    let verify = image::VerifyImage::new(world.hosts.clone(), world.source.clone());
    let verified = world.attempt(&verify, &params).await.unwrap().output;
    let read = sim.count("sha256").await;
    assert_eq!(verified.image.sha256, hash(&world, &params.volume).await);
    let sha256 = format!("sha256:{}", verified.image.sha256);
    assert_eq!(sha256, checksum(&world.source.image(URL)));
    (read, verified.note)
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_read_along_is_not_read_again() {
    let (read, note) = hashed_with(Faults::none(), true).await;
    assert_eq!(read, 0);
    assert!(note.unwrap().contains("along"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_not_read_along_to_its_end_is_read_after_the_upload() {
    let ended = || Faults::none().at("sha256_along", 2, Fault::Unreachable);
    for (faults, reads_along) in [(Faults::none(), false), (ended(), true)] {
        let (read, note) = hashed_with(faults, reads_along).await;
        assert_eq!(read, 1);
        assert!(note.unwrap().contains("after"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_somebody_wrote_into_before_or_after_it_was_read_along_is_sent_again() {
    for (call, nth) in [("sync", 2), ("sha256_along", 2), ("finish", 2)] {
        let faults = Faults::none().at(call, nth, Fault::Overwritten);
        let (read, _) = hashed_with(faults, true).await;
        assert_eq!(read, 1, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_to_be_verified_in_full_is_read_after_the_upload() {
    let world = World::new().await;
    let (hosts, params) = (Arc::new(InFull(world.hosts.clone())), world.image_params());
    world.claim(&params).await;
    let upload = image::UploadChunks::new(hosts.clone(), world.source.clone());
    let sent = world.attempt(&upload, &params).await.unwrap().output;
    assert_eq!(sent.along, None);
    let verify = image::VerifyImage::new(hosts, world.source.clone());
    let verified = world.attempt(&verify, &params).await.unwrap().output;
    assert_eq!(sent.sha256, Some(verified.image.sha256));
    assert_eq!(world.sim().await.count("sha256").await, 1);
    assert_eq!(world.sim().await.count("sha256_along").await, 0);
}

/// Hosts whose settings require a second read of images.
struct InFull(Arc<SimHosts>);

#[async_trait::async_trait]
impl Hosts for InFull {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let ports = self.0.host(id).await?;
        Ok(HostPorts {
            full_verification: true,
            ..ports
        })
    }
}
