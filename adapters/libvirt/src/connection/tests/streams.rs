//! Uploads and downloads.

use bytes::Bytes;
use tokio::time::timeout;

use super::*;
use crate::connection::fake_peer::{pair, pair_of};
use crate::packet::{PacketHeader, kind, status};

#[tokio::test]
async fn an_upload_is_cut_into_packets_and_confirmed() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    let receiving = async {
        let mut lengths = Vec::new();
        loop {
            let packet = peer.next().await;
            assert_eq!(packet.header.serial, call.header.serial);
            assert_eq!(packet.header.kind, kind::STREAM);
            if packet.header.status == status::OK {
                peer.send(packet.header, b"").await;
                return lengths;
            }
            lengths.push(packet.payload.len());
        }
    };
    let sending = async {
        stream.send(Bytes::from(vec![1; 600_000])).await.unwrap();
        assert_eq!(stream.sent(), 600_000);
        stream.finish().await
    };
    let (finished, lengths) = tokio::join!(sending, receiving);
    finished.unwrap();
    assert_eq!(lengths, [262_120, 262_120, 75_760]);
}

#[tokio::test]
async fn an_error_in_the_middle_of_an_upload_is_libvirts_own() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND * 60);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    peer.fail(&call, kind::STREAM, 38).await;
    let error = loop {
        if let Err(error) = stream.send(Bytes::from(vec![0; 1 << 20])).await {
            break error;
        }
    };
    assert_eq!(error.code(), Some(38));
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_takes_stalls() {
    let (connection, mut peer) = pair_of(1 << 16);
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, _) = tokio::join!(opening, peer.answer_next(()));
    let sent = stream.unwrap().send(Bytes::from(vec![0; 16 << 20])).await;
    assert!(matches!(
        sent,
        Err(Error::OutcomeUnknown {
            cause: Cause::TimedOut(_),
            ..
        })
    ));
}

#[tokio::test]
async fn a_dropped_stream_is_aborted() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_download(volume(), 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    drop(stream.unwrap());
    let packet = peer.next().await;
    assert_eq!(
        (packet.header.kind, packet.header.status),
        (kind::STREAM, status::ERROR)
    );
    assert_eq!(packet.header.serial, call.header.serial);
}

#[tokio::test]
async fn a_download_ends_with_the_confirmed_finish() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_download(volume(), 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    let data = PacketHeader {
        kind: kind::STREAM,
        status: status::CONTINUE,
        ..call.header
    };
    let serving = async {
        for piece in [&b"one"[..], b"two", b""] {
            peer.send(data, piece).await;
        }
        let finish = peer.next().await;
        assert_eq!(finish.header.status, status::OK);
        peer.send(finish.header, b"").await;
    };
    let taking = async {
        let mut taken = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            taken.extend_from_slice(&piece);
        }
        taken
    };
    let (taken, ()) = tokio::join!(taking, serving);
    assert_eq!(taken, b"onetwo");
}

#[tokio::test(start_paused = true)]
async fn a_slow_taker_holds_libvirt_up_but_is_not_silence() {
    let (connection, mut peer) = pair_of(1 << 12);
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_download(volume(), 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let _stream = stream.unwrap();
    connection.keep_alive(KeepAlive {
        interval: SECOND,
        pings: 2,
    });
    let data = PacketHeader {
        kind: kind::STREAM,
        status: status::CONTINUE,
        ..call.header
    };
    let flood = async { while timeout(SECOND, peer.send(data, &[0; 4000])).await.is_ok() {} };
    flood.await;
    tokio::time::sleep(SECOND * 60).await;
    assert!(connection.is_open());
}
