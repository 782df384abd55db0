use bytes::Bytes;

use super::pauses::{FIRST_PAUSE, FORGOTTEN, MAX_PAUSE};
use super::*;

const URL: &str = "upload://shop/disk.qcow2";

fn file(length: u64) -> SentFile {
    SentFile {
        length,
        sha256: "0".repeat(64),
    }
}

fn data(bytes: &[u8]) -> SentPiece {
    SentPiece::Data(Bytes::copy_from_slice(bytes))
}

async fn rest(mut stream: Box<dyn ImageStream>) -> Result<Vec<u8>, SourceError> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn a_reader_is_given_the_file_from_where_it_needs_it() {
    let relay = UploadRelay::default();
    assert_eq!(
        relay.open(URL).await.err().unwrap().kind,
        SourceErrorKind::Awaited
    );
    relay.begin(URL, &file(1_000_000)).unwrap();
    let info = relay.probe(URL).await.unwrap();
    assert_eq!(info.length, Some(1_000_000));
    let stream = relay.open_at(URL, 300, info.validator.as_deref());
    let stream = stream.await.unwrap();
    assert_eq!(stream.starts_at(), 300);
    let other = relay.open_at(URL, 300, Some("another")).await.unwrap();
    assert_eq!(other.starts_at(), 0);
    let readers = relay.readers(URL).unwrap();
    assert_eq!(readers.iter().map(|r| r.from).collect::<Vec<_>>(), [300, 0]);
    let id = readers[0].id;
    let reading = tokio::spawn(rest(stream));
    let whole = file(1_000_000);
    let feed = |from, sent| relay.feed((URL, &whole), id, from, sent);
    assert_eq!(feed(300, data(&[7; 400_000])).await, Ok(400_300));
    let elsewhere = RelayRefusal::Elsewhere(400_300);
    assert_eq!(feed(300, data(&[7; 10])).await, Err(elsewhere));
    assert_eq!(feed(400_300, SentPiece::Zeros(599_600)).await, Ok(999_900));
    assert_eq!(
        feed(999_900, data(&[8; 101])).await,
        Err(RelayRefusal::TooLong)
    );
    assert_eq!(feed(999_900, data(&[8; 100])).await, Ok(1_000_000));
    let read = reading.await.unwrap().unwrap();
    assert!(read == [vec![7; 400_000], vec![0; 599_600], vec![8; 100]].concat());
    drop(other);
    assert_eq!(relay.readers(URL), Some(Vec::new()));
    assert_eq!(feed(0, data(&[7])).await, Err(RelayRefusal::NoReader));
}

#[tokio::test]
async fn bytes_of_two_who_send_at_once_go_once_and_in_order() {
    let relay = UploadRelay::default();
    let whole = file(40 * PIECE as u64);
    relay.begin(URL, &whole).unwrap();
    let reading = tokio::spawn(rest(relay.open(URL).await.unwrap()));
    let id = relay.readers(URL).unwrap()[0].id;
    let send = async || {
        loop {
            let Some(from) = relay.readers(URL).unwrap().first().map(|r| r.from) else {
                return;
            };
            let next = vec![(from / PIECE as u64) as u8; PIECE];
            match relay
                .feed((URL, &whole), id, from, SentPiece::Data(next.into()))
                .await
            {
                Ok(_) | Err(RelayRefusal::Elsewhere(_)) => {}
                Err(RelayRefusal::NoReader | RelayRefusal::TooLong) => return,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::join!(send(), send(), send());
    let read = reading.await.unwrap().unwrap();
    let expected: Vec<u8> = (0..40).flat_map(|n| vec![n; PIECE]).collect();
    assert!(read == expected);
}

#[tokio::test]
async fn what_waits_for_a_reader_is_bounded() {
    let relay = UploadRelay::default();
    let whole = file(100 << 20);
    relay.begin(URL, &whole).unwrap();
    let mut stream = relay.open(URL).await.unwrap();
    let id = relay.readers(URL).unwrap()[0].id;
    let sending = relay.feed((URL, &whole), id, 0, data(&vec![1; 4 << 20]));
    let waits = timeout(Duration::from_millis(200), sending).await;
    assert!(waits.is_err());
    let from = relay.readers(URL).unwrap()[0].from;
    assert_eq!(from, (WAITING * PIECE) as u64);
    // Pieces that were already sent stay sent, and the upload continues after them.
    stream.next().await.unwrap();
    let more = relay.feed((URL, &whole), id, from, data(&[2; 10])).await;
    assert_eq!(more, Ok(from + 10));
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_sends_to_is_over_for_those_who_read() {
    let relay = UploadRelay::default();
    relay.begin(URL, &file(1_000)).unwrap();
    let stream = relay.open(URL).await.unwrap();
    let error = rest(stream).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Awaited, "{error}");
    assert!(error.message.contains("0 of 1000 bytes"), "{error}");
    tokio::time::advance(IDLE_LIMIT).await;
    assert_eq!(relay.readers(URL), None);
    assert!(relay.open(URL).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn another_file_under_the_name_is_never_mixed_with_the_former() {
    let relay = UploadRelay::default();
    let (first, second) = (file(1_000), file(2_000));
    relay.begin(URL, &first).unwrap();
    let stream = relay.open(URL).await.unwrap();
    let id = relay.readers(URL).unwrap()[0].id;
    let feed = |file, from, sent| relay.feed((URL, file), id, from, sent);
    feed(&first, 0, data(&[1; 10])).await.unwrap();
    relay.begin(URL, &first).unwrap();
    assert_eq!(relay.readers(URL).unwrap().len(), 1, "the same file");
    assert_eq!(relay.begin(URL, &second), Err(RelayRefusal::Another));
    let mixed = feed(&second, 10, data(&[1; 10])).await;
    assert_eq!(mixed, Err(RelayRefusal::Another));
    // An upload without a sender ends, also for its readers.
    tokio::time::advance(IDLE_LIMIT * 2).await;
    relay.begin(URL, &second).unwrap();
    let error = rest(stream).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Awaited, "{error}");
    let late = feed(&first, 10, data(&[1; 10])).await;
    assert_eq!(late, Err(RelayRefusal::Another));
}

#[tokio::test]
async fn uploads_and_readers_at_a_time_are_bounded() {
    let relay = UploadRelay::default();
    let url = |place: usize, number: usize| format!("upload://shop{place}/{number}");
    for number in 0..MAX_UPLOADS.own {
        relay.begin(&url(0, number), &file(1)).unwrap();
    }
    let one_more = url(0, MAX_UPLOADS.own);
    assert_eq!(relay.begin(&one_more, &file(1)), Err(RelayRefusal::Busy));
    for number in MAX_UPLOADS.own..MAX_UPLOADS.all {
        relay.begin(&url(number, 0), &file(1)).unwrap();
    }
    assert_eq!(relay.begin(&url(99, 0), &file(1)), Err(RelayRefusal::Busy));
    let mut held = Vec::new();
    for _ in 0..MAX_READERS.own {
        held.push(relay.open(&url(0, 0)).await.unwrap());
    }
    let error = relay.open(&url(0, 0)).await.err().unwrap();
    assert_eq!(error.kind, SourceErrorKind::Transient, "{error}");
    held.pop();
    assert!(relay.open(&url(0, 0)).await.is_ok());
}

/// Lets a reader time out and returns how long it waited.
async fn in_vain(relay: &UploadRelay) -> Duration {
    relay.begin(URL, &file(1 << 30)).unwrap();
    let begun = Instant::now();
    let stream = relay.open(URL).await.unwrap();
    let error = rest(stream).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Awaited, "{error}");
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn who_announces_and_sends_nothing_holds_readers_ever_more_rarely() {
    let relay = UploadRelay::default();
    let (begun, mut held) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < FORGOTTEN {
        held += in_vain(&relay).await;
        relay.begin(URL, &file(1 << 30)).unwrap();
        let error = relay.open(URL).await.err().unwrap();
        assert!(error.message.contains("read again in"), "{error}");
        // A pause does not affect another file.
        let other = "upload://shop/other";
        relay.begin(other, &file(1)).unwrap();
        assert!(relay.open(other).await.is_ok());
        tokio::time::sleep(relay.pause(URL).unwrap()).await;
    }
    assert!(held < FORGOTTEN / 20, "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_minute_and_a_byte_a_second_hold_no_reader() {
    for pause in [60, 1] {
        let relay = UploadRelay::default();
        let whole = file(1 << 30);
        relay.begin(URL, &whole).unwrap();
        let stream = relay.open(URL).await.unwrap();
        let id = relay.readers(URL).unwrap()[0].id;
        let drips = async {
            let mut at = 0;
            while let Ok(next) = relay.feed((URL, &whole), id, at, data(&[1])).await {
                at = next;
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
        };
        let begun = Instant::now();
        let reads = async {
            let error = rest(stream).await.unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::Awaited, "{error}");
            assert!(begun.elapsed() < 2 * TIMEOUT, "{:?}", begun.elapsed());
            assert!(relay.pause(URL).is_some());
        };
        tokio::join!(drips, reads);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_way_and_a_slow_host_are_no_reason_to_end_and_what_comes_ends_a_pause() {
    let relay = UploadRelay::default();
    let whole = file(3 << 20);
    in_vain(&relay).await;
    let first = relay.pause(URL).unwrap();
    tokio::time::sleep(first).await;
    in_vain(&relay).await;
    assert!(relay.pause(URL).unwrap() > first);
    tokio::time::sleep(MAX_PAUSE).await;
    relay.begin(URL, &whole).unwrap();
    let mut stream = relay.open(URL).await.unwrap();
    let id = relay.readers(URL).unwrap()[0].id;
    let sends = async {
        let mut at = 0;
        while at < whole.length {
            // 8 KiB/s.
            tokio::time::sleep(Duration::from_secs(8)).await;
            let next = relay.feed((URL, &whole), id, at, data(&[3; 64 << 10]));
            at = next.await.unwrap();
        }
    };
    let reads = async {
        while let Some(_bytes) = stream.next().await.unwrap() {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
    };
    tokio::join!(sends, reads);
    tokio::time::sleep(IDLE_LIMIT * 2).await;
    in_vain(&relay).await;
    assert!(relay.pause(URL).unwrap() <= FIRST_PAUSE, "it begins again");
}

#[tokio::test(start_paused = true)]
async fn who_sends_to_a_reader_that_takes_nothing_is_told_so() {
    let relay = UploadRelay::default();
    let whole = file(100 << 20);
    relay.begin(URL, &whole).unwrap();
    let mut stream = relay.open(URL).await.unwrap();
    let id = relay.readers(URL).unwrap()[0].id;
    let full = (WAITING * PIECE) as u64;
    let sent = relay.feed((URL, &whole), id, 0, data(&vec![1; 4 << 20]));
    assert_eq!(sent.await, Err(RelayRefusal::Slow(full)));
    stream.next().await.unwrap();
    let resumed = relay.feed((URL, &whole), id, full, data(&[1; 10])).await;
    assert_eq!(resumed, Ok(full + 10));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_shorter_than_announced_is_never_whole() {
    let relay = UploadRelay::default();
    let announced = file(1_000);
    relay.begin(URL, &announced).unwrap();
    let reading = tokio::spawn(rest(relay.open(URL).await.unwrap()));
    let id = relay.readers(URL).unwrap()[0].id;
    let sent = relay.feed((URL, &announced), id, 0, data(&[1; 900])).await;
    assert_eq!(sent, Ok(900));
    let more = relay
        .feed((URL, &announced), id, 900, data(&[1; 101]))
        .await;
    assert_eq!(more, Err(RelayRefusal::TooLong));
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Awaited, "{error}");
    assert!(error.message.contains("900 of 1000 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_arrived_leaves_its_name_to_another() {
    let relay = UploadRelay::default();
    let (first, second) = (file(1_000), file(2_000));
    relay.begin(URL, &first).unwrap();
    let stream = relay.open(URL).await.unwrap();
    relay.end(URL, &first);
    assert_eq!(
        relay.begin(URL, &second),
        Err(RelayRefusal::Another),
        "it is read"
    );
    drop(stream);
    relay.end(URL, &second);
    assert_eq!(relay.begin(URL, &second), Err(RelayRefusal::Another));
    relay.end(URL, &first);
    // A reader of another file under this name waits for that file and gets no bytes of the former one.
    let error = relay.open(URL).await.err().unwrap();
    assert_eq!(error.kind, SourceErrorKind::Awaited, "{error}");
    assert_eq!(relay.begin(URL, &second), Ok(()));
}
