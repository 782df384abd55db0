//! Uploads and downloads on a real libvirtd.

use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::*;
use crate::protocol::storage_flags;

const SIZE: u64 = 256 << 20;

/// Incompressible bytes, the same in each run.
pub(super) fn noise(length: u64) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..length / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect::<Vec<u8>>().into()
}

async fn upload(session: &HostSession, volume: &StorageVol, data: &Bytes) {
    let bulk = session.bulk(SHORT).await.unwrap().within(SHORT);
    let mut stream = bulk
        .storage_vol_upload(volume, 0, data.len() as u64, 0, SHORT)
        .await
        .unwrap();
    stream.send(data.clone()).await.unwrap();
    stream.finish().await.unwrap();
}

async fn download(session: &HostSession, volume: &StorageVol) -> (u64, Vec<u8>) {
    let bulk = session.bulk(SHORT).await.unwrap().within(SHORT);
    let mut stream = bulk
        .storage_vol_download(volume, 0, 0, SHORT)
        .await
        .unwrap();
    let (mut hash, mut length) = (Sha256::new(), 0);
    while let Some(piece) = stream.next().await.unwrap() {
        hash.update(&piece);
        length += piece.len() as u64;
    }
    (length, hash.finalize().to_vec())
}

fn speed(what: &str, way: &str, length: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "measured: {what} over {way} {:.0} MiB/s",
        (length >> 20) as f64 / seconds
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_what_was_uploaded_is_read_back() {
    let Some(lab) = Lab::enter() else { return };
    let data = noise(SIZE);
    let expected = Sha256::digest(&data).to_vec();
    for (way, session) in lab.both() {
        let calls = control(&session).await;
        let volume = volume(&calls, &format!("t-upload-{way}.raw")).await;
        let start = Instant::now();
        upload(&session, &volume, &data).await;
        speed("upload", way, SIZE, start);
        let info = calls.storage_vol_get_info_flags(&volume, storage_flags::GET_PHYSICAL);
        assert_eq!(info.await.unwrap().allocation, SIZE);
        let download_start = Instant::now();
        let (length, hash) = download(&session, &volume).await;
        speed("download and hash", way, length, download_start);
        assert!(length == SIZE && hash == expected, "{way}");
        let sum = format!(
            "sha256sum {}",
            calls.storage_vol_get_path(&volume).await.unwrap()
        );
        let output = session.exec(&sum, 1000, LONG).await.unwrap();
        let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(&hex));
        calls.storage_vol_delete(&volume).await.unwrap();
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_control_calls_do_not_wait_for_streams() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.ssh();
    let calls = control(&session).await;
    let data = noise(64 << 20);
    let mut streams = Vec::new();
    for number in 0..4 {
        let volume = volume(&calls, &format!("t-parallel-{number}.raw")).await;
        let (session, data) = (session.clone(), data.clone());
        streams.push(tokio::spawn(async move {
            upload(&session, &volume, &data).await;
            volume
        }));
    }
    let (mut longest, mut count) = (Duration::ZERO, 0);
    while !streams.iter().all(tokio::task::JoinHandle::is_finished) {
        let start = Instant::now();
        calls.connect_get_lib_version().await.unwrap();
        longest = longest.max(start.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "measured: {count} calls beside four uploads over one SSH session, at most {longest:?}"
    );
    assert!(longest < Duration::from_secs(5));
    for stream in streams {
        calls
            .storage_vol_delete(&stream.await.unwrap())
            .await
            .unwrap();
    }
    session.close().await;
}

#[tokio::test]
async fn lab_an_upload_goes_on_where_it_was_cut() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.ssh();
    let calls = control(&session).await;
    let volume = volume(&calls, "t-resume.raw").await;
    let data = noise(8 << 20);
    let bulk = session.bulk(SHORT).await.unwrap().within(SHORT);
    let mut stream = bulk
        .storage_vol_upload(&volume, 0, 0, 0, SHORT)
        .await
        .unwrap();
    stream.send(data.slice(..5_000_000)).await.unwrap();
    stream.abort().await.unwrap();
    let info = calls
        .storage_vol_get_info_flags(&volume, storage_flags::GET_PHYSICAL)
        .await
        .unwrap();
    assert!(info.allocation <= 5_000_000);
    let rest = data.slice(usize::try_from(info.allocation).unwrap()..);
    let mut stopped = bulk
        .storage_vol_upload(&volume, info.allocation, 0, 0, SHORT)
        .await
        .unwrap();
    stopped.send(rest).await.unwrap();
    stopped.finish().await.unwrap();
    let (length, hash) = download(&session, &volume).await;
    assert!(length == 8 << 20 && hash == Sha256::digest(&data).to_vec());
    calls.storage_vol_delete(&volume).await.unwrap();
    session.close().await;
}

#[tokio::test]
async fn lab_more_than_announced_is_an_error_in_the_middle() {
    let Some(lab) = Lab::enter() else { return };
    for (way, session) in lab.both() {
        let calls = control(&session).await;
        let volume = volume(&calls, &format!("t-overrun-{way}.raw")).await;
        let bulk = session.bulk(SHORT).await.unwrap().within(SHORT);
        let mut stream = bulk
            .storage_vol_upload(&volume, 0, 1000, 0, SHORT)
            .await
            .unwrap();
        let data = Bytes::from(vec![1; 1 << 20]);
        let mut outcome = Ok(());
        for _ in 0..64 {
            outcome = stream.send(data.clone()).await;
            if outcome.is_err() {
                break;
            }
        }
        let outcome = match outcome {
            Ok(()) => stream.finish().await,
            failed => failed,
        };
        let error = outcome.unwrap_err();
        assert_eq!(
            error.code(),
            Some(crate::code::SYSTEM_ERROR),
            "{way}: {error}"
        );
        // The connection still works.
        bulk.connect_get_lib_version().await.unwrap();
        calls.storage_vol_delete(&volume).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
async fn lab_a_dropped_download_leaves_the_connection_usable() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.local();
    let calls = control(&session).await;
    let volume = volume(&calls, "t-dropped.raw").await;
    upload(&session, &volume, &noise(32 << 20)).await;
    let bulk = session.bulk(SHORT).await.unwrap().within(SHORT);
    for _ in 0..3 {
        let mut stream = bulk
            .storage_vol_download(&volume, 0, 0, SHORT)
            .await
            .unwrap();
        assert!(stream.next().await.unwrap().is_some());
        drop(stream);
        bulk.connect_get_lib_version().await.unwrap();
    }
    let mut tail = bulk
        .storage_vol_download(&volume, (32 << 20) - 10, 0, SHORT)
        .await
        .unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap().len(), 10);
    assert_eq!(tail.next().await.unwrap(), None);
    assert_eq!(tail.next().await.unwrap(), None);
    calls.storage_vol_delete(&volume).await.unwrap();
    session.close().await;
}

/// Begins an upload, then drops it and its connection, like a process that is asked to stop.
async fn give_up(session: &HostSession, volume: &StorageVol, data: &Bytes) {
    let bulk = session.bulk(SHORT).await.unwrap();
    let calls = bulk.within(SHORT);
    let opening = calls.storage_vol_upload(volume, 0, 0, 0, SHORT);
    opening.await.unwrap().send(data.clone()).await.unwrap();
}

/// libvirtd, at least up to 9.0, crashes if a connection asks to close before the end of its stream is
/// confirmed. Half of these attempts were enough.
#[tokio::test(flavor = "multi_thread")]
async fn lab_uploads_that_are_given_up_do_not_end_libvirtd() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.local();
    let calls = control(&session).await;
    let data = noise(4 << 20);
    let mut givers = Vec::new();
    for number in 0..4 {
        let volume = volume(&calls, &format!("t-given-up-{number}.raw")).await;
        let (session, data) = (session.clone(), data.clone());
        givers.push(tokio::spawn(async move {
            for _ in 0..100 {
                give_up(&session, &volume, &data).await;
            }
            volume
        }));
    }
    for giver in givers {
        let volume = giver.await.unwrap();
        calls.storage_vol_delete(&volume).await.unwrap();
    }
    // This connection has been open since the beginning, so libvirtd has not crashed.
    calls.connect_get_lib_version().await.unwrap();
    session.close().await;
}
