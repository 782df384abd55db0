//! Checks of volumes, uploads and console logs, for every implementation of the ports.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use vsiflow_engine::model::Hash;

use super::{CheckPlace, CheckResult, clean, equal, fails, fresh, ok, raw, storage};
use crate::{
    image::qcow2,
    ports::{
        ConsolePosition, PortErrorKind, Synced, Transfer, VolumeFormat, VolumeInfo, VolumeKey,
        VolumeSpec,
    },
};

/// A volume is created once, and found and listed afterwards.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn create(place: &CheckPlace) -> CheckResult {
    let key = fresh(place, "create");
    let made = ok("create", storage(place).create(&raw(&key)).await)?;
    equal("length", made.physical, 0)?;
    fails(
        "create again",
        PortErrorKind::Exists,
        storage(place).create(&raw(&key)).await,
    )?;
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal("path", found.map(|volume| volume.path), Some(made.path))?;
    let listed = ok("volumes", storage(place).volumes(&place.pool).await)?;
    equal(
        "listed",
        listed.iter().filter(|volume| volume.key == key).count(),
        1,
    )?;
    clean(place, &[&key]).await?;
    equal(
        "gone",
        ok("volume", storage(place).volume(&key).await)?,
        None,
    )
}

async fn fill(place: &CheckPlace, key: &VolumeKey, bytes: &[u8]) -> CheckResult {
    ok("create", storage(place).create(&raw(key)).await)?;
    let opened = storage(place)
        .upload(key, 0, Some(bytes.len() as u64))
        .await;
    let mut sink = ok("upload", opened)?;
    for piece in bytes.chunks(100_000) {
        ok("send", sink.send(Bytes::copy_from_slice(piece)).await)?;
    }
    ok("finish", sink.finish().await).map(drop)
}

/// The host hashes and returns what was uploaded; a later upload continues at an offset.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn upload(place: &CheckPlace) -> CheckResult {
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let (first, rest) = bytes.split_at(300_001);
    let key = fresh(place, "upload");
    fill(place, &key, first).await?;
    let mut sink = ok("upload", storage(place).upload(&key, 300_001, None).await)?;
    ok("send", sink.send(Bytes::copy_from_slice(rest)).await)?;
    ok("finish", sink.finish().await)?;
    ok("sync", storage(place).sync(&key).await)?;
    ok("drop_cached", storage(place).drop_cached(&key).await)?;
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal(
        "length",
        found.map(|volume| volume.physical),
        Some(bytes.len() as u64),
    )?;
    equal(
        "hash",
        ok("sha256", storage(place).sha256(&key).await)?,
        Hash::of(&bytes),
    )?;
    let read = ok("read", storage(place).read(&key, 299_990, 20).await)?;
    equal("content", Some(read.as_ref()), bytes.get(299_990..300_010))?;
    let past = ok(
        "read",
        storage(place).read(&key, bytes.len() as u64, 10).await,
    )?;
    equal("read past the end", past.len(), 0)?;
    clean(place, &[&key]).await
}

/// An upload without any bytes leaves a volume that reads as empty.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn upload_of_nothing(place: &CheckPlace) -> CheckResult {
    let key = fresh(place, "nothing");
    ok("create", storage(place).create(&raw(&key)).await)?;
    let sink = ok("upload", storage(place).upload(&key, 0, None).await)?;
    ok("finish", sink.finish().await)?;
    let read = ok("read", storage(place).read(&key, 0, 10).await)?;
    equal("content", read.len(), 0)?;
    let hash = ok("sha256", storage(place).sha256(&key).await)?;
    equal("hash", hash, Hash::of(b""))?;
    clean(place, &[&key]).await
}

/// A host that hashes a volume during its upload reads it once and to its end, and ends if the upload is
/// aborted.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn read_along(place: &CheckPlace) -> CheckResult {
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let (key, length) = (fresh(place, "along"), bytes.len() as u64);
    fill(place, &key, &bytes).await?;
    ok("sync", storage(place).sync(&key).await)?;
    let (tell, synced) = watch::channel(Synced::Prefix(0));
    let telling = async {
        for until in [1, 700_000, 1_000_000] {
            tell.send_replace(Synced::Prefix(until));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tell.send_replace(Synced::Whole(length));
    };
    let (hash, ()) = tokio::join!(storage(place).sha256_along(&key, synced), telling);
    if let Some(hash) = ok("sha256_along", hash)? {
        equal("hash", hash, Hash::of(&bytes))?;
    }
    let (teller, partly_synced) = watch::channel(Synced::Prefix(500_000));
    let giving_up = async { drop(teller) };
    let (given_up, ()) = tokio::join!(storage(place).sha256_along(&key, partly_synced), giving_up);
    equal("given up", ok("sha256_along", given_up)?, None)?;
    clean(place, &[&key]).await
}

/// A hole lengthens a volume by zeros, also when an upload continues, and at its end. A write into a
/// longer volume does not change its length.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn holes(place: &CheckPlace) -> CheckResult {
    const HOLE: u64 = 1 << 20;
    let key = fresh(place, "holes");
    fill(place, &key, b"begin").await?;
    for data in [b"middle".as_slice(), b""] {
        let found = ok("volume", storage(place).volume(&key).await)?;
        let at = found.map_or(0, |volume| volume.physical);
        let mut sink = ok("upload", storage(place).upload(&key, at, None).await)?;
        ok("hole", sink.send_hole(HOLE).await)?;
        if !data.is_empty() {
            ok("send", sink.send(Bytes::copy_from_slice(data)).await)?;
        }
        ok("finish", sink.finish().await)?;
    }
    let zeros = vec![0; usize::try_from(HOLE).unwrap_or_default()];
    let expected = [b"begin".as_slice(), &zeros, b"middle", &zeros].concat();
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal(
        "length",
        found.map(|volume| volume.physical),
        Some(expected.len() as u64),
    )?;
    let on_host = ok("sha256", storage(place).sha256(&key).await)?;
    equal("hash", on_host, Hash::of(&expected))?;
    clean(place, &[&key]).await?;
    let spec = VolumeSpec {
        capacity: 10_000,
        ..raw(&key)
    };
    ok("create", storage(place).create(&spec).await)?;
    let mut sink = ok("upload", storage(place).upload(&key, 0, Some(3)).await)?;
    ok("send", sink.send(Bytes::from_static(b"abc")).await)?;
    ok("finish", sink.finish().await)?;
    let regrown = ok("volume", storage(place).volume(&key).await)?;
    equal(
        "length",
        regrown.map(|volume| volume.physical),
        Some(10_000),
    )?;
    clean(place, &[&key]).await
}

/// An image arrives by each kind of transfer, also when it continues, and with its holes.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn image(place: &CheckPlace) -> CheckResult {
    const HOLE: usize = 3 << 20;
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    for transfer in [
        Transfer::Auto,
        Transfer::Plain,
        Transfer::Packed,
        Transfer::Libvirt,
    ] {
        let key = fresh(place, "image");
        ok("create", storage(place).create(&raw(&key)).await)?;
        let mut expected = Vec::new();
        for end in [1_000_001, 1_000_002, bytes.len()] {
            let (from, had) = (bytes.len().min(end / 3), expected.len() as u64);
            let data = bytes.get(from..end).unwrap_or_default();
            let opened = storage(place).fill(&key, had, None, transfer).await;
            let mut sink = ok("fill", opened)?;
            for piece in data.chunks(190_000) {
                ok("send", sink.send(Bytes::copy_from_slice(piece)).await)?;
            }
            ok("hole", sink.send_hole(HOLE as u64).await)?;
            ok("finish", sink.finish().await)?;
            expected.extend_from_slice(data);
            expected.resize(expected.len().saturating_add(HOLE), 0);
            let found = ok("volume", storage(place).volume(&key).await)?;
            let found = found.map(|volume| volume.physical);
            equal("length", found, Some(expected.len() as u64))?;
        }
        let on_host = ok("sha256", storage(place).sha256(&key).await)?;
        equal("hash", on_host, Hash::of(&expected))?;
        let opened = storage(place).fill(&key, 0, None, transfer).await;
        let mut sink = ok("fill", opened)?;
        ok("send", sink.send(Bytes::from_static(b"given up")).await)?;
        sink.abort().await;
        let found = ok("volume", storage(place).volume(&key).await)?;
        let found = found.map(|volume| volume.physical);
        equal("length", found, Some(expected.len() as u64))?;
        clean(place, &[&key]).await?;
    }
    Ok(())
}

/// How often a host is asked whether it has detected a volume's format, and the pause between two
/// questions.
const POLLS_MAX: u32 = 50;
const POLL: Duration = Duration::from_millis(100);

/// The volume once the host has detected its format, which libvirt does on a separate thread.
async fn inspected(place: &CheckPlace, key: &VolumeKey) -> Result<VolumeInfo, String> {
    let mut polls = 0_u32;
    loop {
        let found = ok("volume", storage(place).volume(key).await)?;
        let found = found.ok_or("the uploaded volume is not there")?;
        if found.format != VolumeFormat::Raw.as_str() || polls == POLLS_MAX {
            return Ok(found);
        }
        polls = polls.saturating_add(1);
        tokio::time::sleep(POLL).await;
    }
}

/// The host detects the format of what was uploaded, and reports the time of the change.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn qcow2_is_recognised(place: &CheckPlace) -> CheckResult {
    let key = fresh(place, "qcow2");
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 5 << 20,
        ..raw(&key)
    };
    let made = ok("create", storage(place).create(&spec).await)?;
    equal("format", made.format.as_str(), "qcow2")?;
    equal("capacity", made.capacity, 5 << 20)?;
    let head = ok(
        "read",
        storage(place).read(&key, 0, qcow2::HEADER_MAX).await,
    )?;
    equal("virtual size", qcow2::virtual_size(&head), Ok(5 << 20))?;
    let copy = fresh(place, "uploaded");
    let length = made.physical.max(head.len() as u64);
    let whole = ok("read", storage(place).read(&key, 0, length).await)?;
    fill(place, &copy, &whole).await?;
    let image = fresh(place, "image");
    ok("create", storage(place).create(&raw(&image)).await)?;
    let opened = storage(place).fill(&image, 0, None, Transfer::Auto).await;
    let mut sink = ok("fill", opened)?;
    ok("send", sink.send(whole).await)?;
    ok("finish", sink.finish().await)?;
    for uploaded in [&copy, &image] {
        let found = inspected(place, uploaded).await?;
        equal("format", found.format.as_str(), "qcow2")?;
        equal("capacity", found.capacity, 5 << 20)?;
        if found.modified.is_none() {
            return Err("the time of the last change is missing".to_owned());
        }
    }
    clean(place, &[&key, &copy, &image]).await
}

/// A copy needs no other file, and is made once.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn clone(place: &CheckPlace) -> CheckResult {
    let (source, copy) = (fresh(place, "source"), fresh(place, "copy"));
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 8 << 20,
        ..raw(&source)
    };
    ok("create", storage(place).create(&spec).await)?;
    let target = VolumeSpec {
        key: copy.clone(),
        ..spec
    };
    ok("clone", storage(place).clone_volume(&source, &target).await)?;
    let again = storage(place).clone_volume(&source, &target).await;
    fails("clone again", PortErrorKind::Exists, again)?;
    clean(place, &[&source]).await?;
    let found = ok("volume", storage(place).volume(&copy).await)?;
    let found = found.ok_or("the copy is not there")?;
    equal("capacity", found.capacity, 8 << 20)?;
    equal("backing", found.backing, None)?;
    clean(place, &[&copy]).await
}

/// An overlay names its backing file.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn overlay(place: &CheckPlace) -> CheckResult {
    let (base, over) = (fresh(place, "base"), fresh(place, "over"));
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 8 << 20,
        ..raw(&base)
    };
    let made = ok("create", storage(place).create(&spec).await)?;
    let backing = Some((made.path.clone(), VolumeFormat::Qcow2));
    let layer = VolumeSpec {
        key: over.clone(),
        backing,
        ..spec
    };
    ok("create", storage(place).create(&layer).await)?;
    let found = ok("volume", storage(place).volume(&over).await)?;
    equal(
        "backing",
        found.and_then(|volume| volume.backing),
        Some(made.path),
    )?;
    clean(place, &[&over, &base]).await
}

/// A volume can grow.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn resize(place: &CheckPlace) -> CheckResult {
    let key = fresh(place, "resize");
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 4 << 20,
        ..raw(&key)
    };
    ok("create", storage(place).create(&spec).await)?;
    ok("resize", storage(place).resize(&key, 6 << 20).await)?;
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal(
        "capacity",
        found.map(|volume| volume.capacity),
        Some(6 << 20),
    )?;
    clean(place, &[&key]).await
}

/// A console log is read from a position, and is empty at its end.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn console(place: &CheckPlace) -> CheckResult {
    let (key, console) = (fresh(place, "console"), place.ports.console.as_ref());
    fails("end", PortErrorKind::Missing, console.end(&key).await)?;
    fill(place, &key, b"one\ntwo\n").await?;
    let start = ConsolePosition { offset: 4 };
    let chunk = ok("read", console.read(&key, start, 100).await)?;
    equal("bytes", chunk.bytes.as_ref(), b"two\n".as_slice())?;
    equal("next", chunk.next, ok("end", console.end(&key).await)?)?;
    let rest = ok("read", console.read(&key, chunk.next, 100).await)?;
    equal("rest", (rest.bytes.len(), rest.next), (0, chunk.next))?;
    clean(place, &[&key]).await
}
