//! Tests of downloads that readers share.

use super::{budget::MEMORY_USERS, *};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::relay::{SentFile, UploadRelay};

#[tokio::test]
async fn a_read_that_everybody_left_holds_nothing_of_its_source() {
    let _shares = MEMORY_USERS.read().await;
    let relay = UploadRelay::default();
    let (url, length, sha256) = ("upload://a/b", 1_000, "0".repeat(64));
    relay.begin(url, &SentFile { length, sha256 }).unwrap();
    let source = SharedSource::new(relay.clone());
    let (one, two) = (source.open(url).await, source.open(url).await);
    assert_eq!(relay.readers(url).unwrap().len(), 1, "one for both");
    drop((one, two));
    let left = async {
        while !relay.readers(url).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let left = tokio::time::timeout(Duration::from_secs(5), left).await;
    assert!(left.is_ok());
    assert_eq!(relay.pause(url), None);
}

/// Counts how often the source is opened.
struct CountedSource(Arc<AtomicUsize>);

struct Numbers(SourceInfo, u8);

#[async_trait]
impl ImageStream for Numbers {
    fn info(&self) -> &SourceInfo {
        &self.0
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        self.1 = self.1.saturating_add(1);
        Ok((self.1 <= 200).then(|| Bytes::from(vec![self.1; PIECE])))
    }
}

#[async_trait]
impl ImageSource for CountedSource {
    async fn probe(&self, _: &str) -> Result<SourceInfo, SourceError> {
        Ok(SourceInfo {
            length: None,
            validator: Some("v".to_owned()),
        })
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Numbers(self.probe(url).await?, 0)))
    }
}

async fn read_to_end(stream: &mut dyn ImageStream) -> Vec<u8> {
    let mut numbers = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        numbers.push(piece[0]);
        tokio::task::yield_now().await;
    }
    numbers
}

async fn slowly(stream: &mut dyn ImageStream, each: Duration) -> Vec<u8> {
    let mut numbers = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        numbers.push(piece[0]);
        tokio::time::sleep(each).await;
    }
    numbers
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_a_moment_for_those_who_said_that_they_come() {
    let _shares = MEMORY_USERS.read().await;
    let reads_begun = Arc::<AtomicUsize>::default();
    let source = SharedSource::new(CountedSource(reads_begun.clone()));
    for _ in 0..3 {
        source.expect("x").await;
    }
    let late = |after_ms| {
        let source = &source;
        async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let mut stream = source.open("x").await.unwrap();
            source.opened("x").await;
            read_to_end(stream.as_mut()).await
        }
    };
    let began = Instant::now();
    // The third reader never opens the image.
    let (first, second) = tokio::join!(late(0), late(700));
    assert!(first.len() == 200 && first == second);
    assert_eq!(reads_begun.load(Ordering::Relaxed), 1);
    assert!(began.elapsed() < GATHER * 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_members_that_are_little_slower_and_not_for_others() {
    let _shares = MEMORY_USERS.read().await;
    for (each_ms, reads) in [(1, 1), (1_000, 2)] {
        let reads_begun = Arc::<AtomicUsize>::default();
        let source = SharedSource::new(CountedSource(reads_begun.clone()));
        let mut fast = source.open("x").await.unwrap();
        let mut slow = source.open("x").await.unwrap();
        let fast = async {
            let began = Instant::now();
            read_to_end(fast.as_mut()).await;
            began.elapsed()
        };
        let each = Duration::from_millis(each_ms);
        let (took, numbers) = tokio::join!(fast, slowly(slow.as_mut(), each));
        assert!(numbers == (1..=200).collect::<Vec<u8>>());
        assert_eq!(reads_begun.load(Ordering::Relaxed), reads);
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[tokio::test]
async fn those_who_start_together_share_a_read_and_a_laggard_reads_on_alone() {
    let _shares = MEMORY_USERS.read().await;
    let reads_begun = Arc::<AtomicUsize>::default();
    let source = SharedSource::new(CountedSource(reads_begun.clone()));
    let all: Vec<u8> = (1..=200).collect();
    let opened = || reads_begun.load(Ordering::Relaxed);
    let mut one = source.open("x").await.unwrap();
    one.next().await.unwrap();
    let mut two = source.open("x").await.unwrap();
    let mut lags = source.open("x").await.unwrap();
    assert_eq!(lags.next().await.unwrap().unwrap()[0], 1);
    assert_eq!(opened(), 1);
    let (one, two) = tokio::join!(read_to_end(one.as_mut()), read_to_end(two.as_mut()));
    assert!(one == all[1..] && two == all);
    assert_eq!(opened(), 1);
    assert!(read_to_end(lags.as_mut()).await == all[1..]);
    assert_eq!(opened(), 2);
    assert_eq!(
        read_to_end(source.open("x").await.unwrap().as_mut()).await,
        all
    );
    assert_eq!(opened(), 3, "nobody joins what is over");
}

/// Opens images that nobody reads, until there is no memory for more.
async fn open_all(source: &dyn ImageSource) -> Vec<Box<dyn ImageStream>> {
    let mut streams = Vec::new();
    for number in 0..200 {
        let url = format!("http://a.example/{number}");
        match tokio::time::timeout(Duration::from_secs(1), source.open(&url)).await {
            Ok(stream) => streams.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    streams
}

#[tokio::test(start_paused = true)]
async fn images_that_do_not_get_on_take_half_of_the_memory_and_end_for_an_owner_without_any() {
    let _alone = MEMORY_USERS.write().await;
    let source = SharedSource::new(CountedSource(Arc::default()));
    let of = |owner: &str| source.for_owner(&owner.into()).unwrap();
    let mut held = open_all(of("a").as_ref()).await;
    assert_eq!(held.len(), 16);
    assert!(of("b").open("http://b.example/").await.is_ok(), "at once");
    // Another source, so that nobody joins the reads of the first one.
    let other = SharedSource::new(CountedSource(Arc::default()));
    let other = other.for_owner(&"b".into()).unwrap();
    let others = open_all(other.as_ref()).await;
    // The memory is that of the process: other tests may have some of it.
    assert!((1..=16).contains(&others.len()));
    // What is kept for owners who read nothing else.
    let mut single = Vec::new();
    for owner in (0..8).map(|number| format!("d-{number}")) {
        let single_source = SharedSource::new(CountedSource(Arc::default()));
        let of_owner = single_source.for_owner(&owner.as_str().into()).unwrap();
        single.push(of_owner.open("http://d.example/").await);
    }
    let begun = Instant::now();
    let honest = of("c").open("http://c.example/").await;
    assert!(honest.is_ok());
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let error = loop {
        if let Err(error) = held[0].next().await {
            break error;
        }
    };
    assert_eq!(error.kind, vsiflow_steps::ports::SourceErrorKind::Transient);
}
