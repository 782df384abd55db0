//! Uploads that are resumed, and the sidecar of an image.

use std::time::Duration;

use super::{
    images::{checksum, foreign, hash},
    *,
};
use crate::{
    image::sidecar,
    ports::VolumeInfo,
    sim::{Fault, Faults},
};

impl World {
    async fn cut_after(&self, sends: u32) {
        let faults = Faults::none().at("send", sends, Fault::CutStream);
        self.sim().await.set_faults(faults).await;
    }

    async fn volume(&self, key: &VolumeKey) -> Option<VolumeInfo> {
        self.ports().await.storage.volume(key).await.unwrap()
    }

    async fn sends(&self) -> usize {
        self.sim().await.count("send").await
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_upload_goes_on_where_the_host_had_it() {
    for url in [URL, "http://images.test/from-start/hpcr.qcow2"] {
        for cut in [3, 20, 40, 60, 75] {
            let world = World::new().await;
            let params = image::Params {
                url: url.to_owned(),
                ..world.image_params()
            };
            world.claim(&params).await;
            world.cut_after(cut).await;
            let upload = world.upload_chunks();
            assert!(world.attempt(&upload, &params).await.is_err(), "{cut}");
            let before = world.volume(&params.volume).await.map_or(0, |v| v.physical);
            let (sent, creates) = (world.sends().await, world.sim().await.count("create").await);
            let done = world.attempt(&upload, &params).await.unwrap();
            let again = (world.sends().await - sent) as u64 * (INTERVAL / 16);
            let resent = (before + again).saturating_sub(300_000);
            assert!(resent <= INTERVAL + INTERVAL / 16, "{cut}: {resent} twice");
            let on_host = hash(&world, &params.volume).await;
            assert_eq!(done.output.sha256, Some(on_host), "{url} {cut}");
            let created = world.sim().await.count("create").await - creates;
            assert_eq!(created, usize::from(cut == 3), "{cut}");
        }
    }
}

/// After the stop the future that syncs on the host is no longer polled; it must not hold its turn
/// forever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_that_is_stopped_while_its_host_is_busy_comes_to_an_end() {
    for round in 0..120 {
        let mut world = World::new().await;
        world.source = Arc::new(SimSource::with_size(80 * INTERVAL));
        let params = world.image_params();
        world.claim(&params).await;
        let (sim, stop) = (world.sim().await, world.stopped.clone());
        let busy = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(400 * round)).await;
            let hold = |_: &mut _| {
                std::thread::sleep(Duration::from_millis(4));
                stop.cancel();
                std::thread::sleep(Duration::from_millis(2));
            };
            sim.with(hold).await;
        });
        let upload = world.upload_chunks();
        let attempt = world.attempt(&upload, &params);
        let ended = tokio::time::timeout(Duration::from_secs(10), attempt).await;
        assert!(ended.is_ok(), "round {round}: nothing continues");
        busy.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_by_path_resumes_wherever_it_was_cut_and_says_its_way() {
    for cut in (1..75).step_by(3) {
        let world = World::new().await;
        let (sim, params) = (world.sim().await, world.image_params());
        sim.with(|state| state.by_path = true).await;
        world.claim(&params).await;
        world.cut_after(cut).await;
        let upload = world.upload_chunks();
        assert!(world.attempt(&upload, &params).await.is_err(), "{cut}");
        let before = world.volume(&params.volume).await.map_or(0, |v| v.physical);
        let (sent, creates) = (world.sends().await, sim.count("create").await);
        let done = world.attempt(&upload, &params).await.unwrap().output;
        let again = (world.sends().await - sent) as u64 * (INTERVAL / 16);
        let resent = (before + again).saturating_sub(300_000);
        assert!(resent <= INTERVAL + INTERVAL / 16, "{cut}: {resent} twice");
        assert_eq!(
            done.sha256,
            Some(hash(&world, &params.volume).await),
            "{cut}"
        );
        assert_eq!(done.note.as_deref(), Some("sent into the pool's folder"));
        let created = sim.count("create").await - creates;
        assert!(created <= usize::from(cut < 20), "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_took_the_volumes_place_is_not_written_into_and_not_used() {
    for (call, nth) in [("send", 3), ("send", 50), ("finish", 2)] {
        let world = World::new().await;
        let (sim, params) = (world.sim().await, world.image_params());
        sim.with(|state| state.by_path = true).await;
        world.claim(&params).await;
        let faults = Faults::none().at(call, nth, Fault::Replaced);
        sim.set_faults(faults).await;
        let upload = world.upload_chunks();
        let outcome = world.attempt(&upload, &params).await;
        let failure = outcome.map(|done| done.output).unwrap_err();
        assert_eq!(failure.code.as_str(), "VSI0330", "{call} {nth}: {failure}");
        let storage = world.ports().await.storage;
        let theirs = storage.read(&params.volume, 0, 100).await.unwrap();
        assert_eq!(theirs[..], *b"somebody else's", "{call} {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_shorter_than_the_record_is_made_anew() {
    let world = World::new().await;
    let params = world.image_params();
    world.claim(&params).await;
    world.cut_after(60).await;
    let upload = world.upload_chunks();
    assert!(world.attempt(&upload, &params).await.is_err());
    world.delete_by_hand(&params.volume).await;
    foreign(&world, &params.volume, b"lost").await;
    world.attempt(&upload, &params).await.unwrap();
    let expected = checksum(&world.source.image(URL));
    assert_eq!(
        format!("sha256:{}", hash(&world, &params.volume).await),
        expected
    );
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_vanishes_while_it_is_filled_is_noticed() {
    let world = World::new().await;
    let params = world.image_params();
    world.claim(&params).await;
    let faults = Faults::none().at("send", 20, Fault::VanishVolume);
    world.sim().await.set_faults(faults).await;
    let upload = world.upload_chunks();
    let lost = world.attempt(&upload, &params).await.unwrap_err();
    assert_eq!(lost.class, FailureClass::Transient, "{lost}");
    let image = world.ensure_image(&params).await.unwrap();
    assert_eq!(image.size, 300_000);
}

#[tokio::test(start_paused = true)]
async fn an_image_is_removed_only_while_nothing_uses_it() {
    let world = World::new().await;
    let (params, sim) = (world.image_params(), world.sim().await);
    let image = world.ensure_image(&params).await.unwrap();
    let remove = image::RemoveImage::new(world.hosts.clone());
    let unwanted = image::remove::Params {
        host: HOST.to_owned(),
        volume: image.key.clone(),
    };
    let over = crate::ports::VolumeSpec {
        key: world.key("over"),
        format: crate::ports::VolumeFormat::Qcow2,
        capacity: image.virtual_size,
        backing: Some((image.path.clone(), image.format)),
    };
    let storage = world.ports().await.storage;
    storage.create(&over).await.unwrap();
    assert_eq!(code(world.attempt(&remove, &unwanted).await), "VSI0210");
    world.delete_by_hand(&over.key).await;
    // A run found it whole, and may not have copied it yet.
    world.is_awaited(true);
    assert_eq!(code(world.attempt(&remove, &unwanted).await), "VSI0210");
    assert!(storage.volume(&image.key).await.unwrap().is_some());
    world.is_awaited(false);
    // An administrator put another file in the image's place.
    let (name, own) = (
        image.key.name.clone(),
        sim.with(|state| state.pools[POOL].volumes[&image.key.name].clone())
            .await,
    );
    sim.with(|state| {
        let volume = state
            .pools
            .get_mut(POOL)
            .unwrap()
            .volumes
            .get_mut(&name)
            .unwrap();
        volume.content = crate::sim::Content::Inline(vec![7; 300_000]);
        volume.modified += 1_000;
    })
    .await;
    assert_eq!(code(world.attempt(&remove, &unwanted).await), "VSI0207");
    sim.with(|state| state.pools.get_mut(POOL).unwrap().volumes.insert(name, own))
        .await;
    let done = world.attempt(&remove, &unwanted).await.unwrap();
    assert_eq!(done.output.removed, Some(image.key));
    let left = sim.with(|state| state.pools[POOL].volumes.len()).await;
    assert_eq!(left, 0, "its claim was deleted too");
    // A foreign file of this name is not deleted.
    foreign(&world, &params.volume, b"somebody's").await;
    let again = world.attempt(&remove, &unwanted).await.unwrap();
    assert_eq!(again.output.removed, None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changed_costs_the_part_and_history_says_so() {
    let world = World::new().await;
    let params = world.image_params();
    world.claim(&params).await;
    world.cut_after(60).await;
    assert!(
        world
            .attempt(&world.upload_chunks(), &params)
            .await
            .is_err()
    );
    let longer = Arc::new(SimSource::with_size(310_000));
    let upload = image::UploadChunks::new(world.hosts.clone(), longer.clone());
    let failure = world.attempt(&upload, &params).await.unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0309");
    assert!(failure.message.as_str().contains("discarded"), "{failure}");
    assert_eq!(world.volume(&params.volume).await, None);
    let done = world.attempt(&upload, &params).await.unwrap();
    assert_eq!(done.output.size, 310_000);
    let hosts = world.hosts.clone();
    let verify = image::VerifyImage::new(hosts.clone(), longer.clone());
    world.attempt(&verify, &params).await.unwrap();
    let mark = image::MarkWhole::new(hosts.clone());
    let image = world.attempt(&mark, &params).await.unwrap().output;
    // The next run asks the source again, and recognises the image.
    world.next_run(Some(&image)).await;
    let claim = image::Claim::new(hosts, longer);
    let claimed = world.attempt(&claim, &params).await.unwrap().output;
    assert_eq!(claimed.whole, Some(image));
}

#[tokio::test(start_paused = true)]
async fn changed_content_becomes_another_image_beside_the_old_one() {
    let mut world = World::new().await;
    let params = world.image_params();
    let old = world.ensure_image(&params).await.unwrap();
    world.source = Arc::new(SimSource::with_size(310_000));
    world.next_run(Some(&old)).await;
    let new = world.ensure_image(&params).await.unwrap();
    assert!(new.key.name.starts_with("hpcr-") && new.key != old.key);
    assert_eq!(new.size, 310_000);
    assert_eq!(
        world.volume(&old.key).await.map(|v| v.physical),
        Some(300_000)
    );
}

#[tokio::test(start_paused = true)]
async fn an_image_is_whole_only_with_its_mark() {
    let world = World::new().await;
    let params = world.image_params();
    world.claim(&params).await;
    let ports = world.ports().await;
    let read = || async {
        let read = sidecar::read(&ports, "journal-a", &params.volume).await;
        read.unwrap().unwrap()
    };
    assert!(read().await.ours && read().await.whole.is_none());
    world
        .attempt(&world.upload_chunks(), &params)
        .await
        .unwrap();
    assert_eq!(read().await.whole, None);
    let image = world.ensure_image(&params).await.unwrap();
    assert_eq!(read().await.whole, Some(sidecar::Mark::of(&image)));
    // A journal without a record of it compares it with its source.
    world.next_run(None).await;
    let sent = world.sends().await;
    assert_eq!(world.ensure_image(&params).await, Ok(image));
    assert_eq!(world.sends().await, sent);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_nothing_was_written_into_is_known_by_its_length() {
    let world = World::new().await;
    let params = world.image_params();
    let faults = Faults::none().at("upload", 1, Fault::Unreachable);
    world.sim().await.set_faults(faults).await;
    let claim = image::Claim::new(world.hosts.clone(), world.source.clone());
    assert!(world.attempt(&claim, &params).await.is_err());
    assert!(world.ensure_image(&params).await.is_ok());
    assert_eq!(world.sim().await.count("create").await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_another_journal_brings_is_waited_for_and_then_verified() {
    let (world, mut other) = (World::new().await, World::new().await);
    (other.hosts, other.journal) = (world.hosts.clone(), "journal-b");
    let params = world.image_params();
    world.claim(&params).await;
    let claim = image::Claim::new(other.hosts.clone(), other.source.clone());
    let waits = other.attempt(&claim, &params).await.unwrap_err();
    assert_eq!(waits.code.as_str(), "VSI0308");
    assert_eq!(waits.class, FailureClass::Transient);
    let image = world.ensure_image(&params).await.unwrap();
    let hashed = world.sim().await.count("sha256").await;
    let found = other.attempt(&claim, &params).await.unwrap().output.whole;
    assert_eq!(found, Some(image.clone()));
    assert_eq!(world.sim().await.count("sha256").await, hashed + 1);
    // Its mark is not changed.
    let uploads = world.sim().await.count("upload").await;
    assert_eq!(other.ensure_image(&params).await, Ok(image));
    assert_eq!(world.sim().await.count("upload").await, uploads);
}

#[tokio::test(start_paused = true)]
async fn two_images_of_one_name_that_are_claimed_at_the_same_moment_get_a_volume_each() {
    for behind in 0..20 {
        let (world, mut other) = (World::new().await, World::new().await);
        (other.hosts, other.uuid) = (world.hosts.clone(), Uuid::from_u128(7));
        let params = world.image_params();
        let second = image::Params {
            url: "http://images.test/other/hpcr.qcow2".to_owned(),
            ..params.clone()
        };
        let claim = image::Claim::new(world.hosts.clone(), world.source.clone());
        let later = async {
            tokio::time::sleep(std::time::Duration::from_millis(behind)).await;
            other.drive(&claim, &second).await
        };
        let (one, two) = tokio::join!(world.drive(&claim, &params), later);
        let (one, two) = (one.unwrap().output.volume, two.unwrap().output.volume);
        assert_ne!(one, two, "{behind} ms");
        assert!([&one, &two].contains(&&params.volume), "{behind} ms");
    }
}
