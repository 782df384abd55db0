//! Sources that end the connection early, or contradict themselves.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

/// How a server differs from the ideal one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    /// It ignores ranges.
    WithoutRanges,
    /// It names no version of the image.
    WithoutVersion,
    /// It counts a part of the image as one of a longer image.
    OtherTotal,
}

/// The simulated source behind a server that ends each connection after some bytes.
struct EarlyEnd {
    source: SimSource,
    server: Server,
    /// The bytes of the first connection.
    first: usize,
    /// The bytes of each later connection, and how many connections end early.
    after: usize,
    ends: AtomicUsize,
    is_used: AtomicBool,
}

struct EarlyEndStream {
    stream: Box<dyn ImageStream>,
    info: SourceInfo,
    left: Option<usize>,
}

#[async_trait]
impl ImageStream for EarlyEndStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.stream.starts_at()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let Some(left) = self.left else {
            return self.stream.next().await;
        };
        let piece = self.stream.next().await?.unwrap_or_default();
        if left == 0 || piece.is_empty() {
            return Err(SourceError {
                kind: SourceErrorKind::Transient,
                url: URL.to_owned(),
                message: "cut off".to_owned(),
            });
        }
        let piece = piece.slice(..left.min(piece.len()));
        self.left = Some(left - piece.len());
        Ok(Some(piece))
    }
}

#[async_trait]
impl ImageSource for EarlyEnd {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.info(self.source.probe(url).await?, 0))
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        self.open_at(url, 0, None).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let offset = match self.server {
            Server::WithoutRanges => 0,
            _ => offset,
        };
        let stream = self.source.open_at(url, offset, validator).await?;
        let less = |ends: usize| ends.checked_sub(1);
        let ends = self
            .ends
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let is_first = !self.is_used.swap(true, Ordering::Relaxed);
        let bytes = if is_first { self.first } else { self.after };
        Ok(Box::new(EarlyEndStream {
            info: self.info(stream.info().clone(), stream.starts_at()),
            stream,
            left: ends.is_ok().then_some(bytes),
        }))
    }
}

impl EarlyEnd {
    fn new(server: Server, ends: usize) -> Arc<Self> {
        Self::of_connections(server, ends, [450_000; 2])
    }

    fn of_connections(server: Server, ends: usize, [first, after]: [usize; 2]) -> Arc<Self> {
        Arc::new(Self {
            source: SimSource::with_size(900_000),
            server,
            first,
            after,
            ends: AtomicUsize::new(ends),
            is_used: AtomicBool::new(false),
        })
    }

    fn info(&self, mut info: SourceInfo, starts_at: u64) -> SourceInfo {
        match self.server {
            Server::WithoutVersion => info.validator = None,
            Server::OtherTotal if starts_at > 0 => info.length = Some(901_000),
            _ => {}
        }
        info
    }
}

/// Makes attempts as the engine does, until a failure is not transient.
async fn drive<S: Step>(world: &World, step: &S, params: &S::Params) -> Vec<Failure> {
    let mut failures = Vec::new();
    for number in 1..30 {
        world.number.store(number, Ordering::Relaxed);
        match world.attempt(step, params).await {
            Ok(_) => return failures,
            Err(failure) => failures.push(failure),
        }
        if failures
            .last()
            .is_some_and(|last| last.class != FailureClass::Transient)
        {
            return failures;
        }
    }
    panic!("{} never ends: {:?}", S::NAME, failures.last());
}

async fn upload(source: Arc<EarlyEnd>) -> Vec<Failure> {
    let world = World::new().await;
    let params = world.image_params();
    world.claim(&params).await;
    let upload = image::UploadChunks::new(world.hosts.clone(), source).with_interval(INTERVAL);
    drive(&world, &upload, &params).await
}

#[tokio::test(start_paused = true)]
async fn a_server_without_ranges_that_ends_at_the_same_byte_each_time_is_refused_with_its_remedy() {
    let failures = upload(EarlyEnd::new(Server::WithoutRanges, usize::MAX)).await;
    let last = failures.last().unwrap();
    assert_eq!(last.code.as_str(), "VSI0304", "{failures:#?}");
    assert!(last.remedy.as_str().contains("answers ranges"), "{last:?}");
    assert!(
        failures[1].remedy.as_str().contains("answers ranges"),
        "{failures:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_at_the_same_byte_is_refused_although_an_earlier_attempt_came_further() {
    let source = EarlyEnd::of_connections(Server::WithoutRanges, usize::MAX, [850_000, 300_000]);
    let failures = upload(source).await;
    let last = failures.last().unwrap();
    assert_eq!(last.code.as_str(), "VSI0304", "{failures:#?}");
    assert!(
        last.message.as_str().contains("bytes each time"),
        "{last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_without_ranges_that_recovers_gives_the_whole_image() {
    for ends in [1, 3] {
        assert_eq!(
            upload(EarlyEnd::new(Server::WithoutRanges, ends))
                .await
                .len(),
            ends
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_counted_otherwise_than_the_whole_is_not_taken_for_another_image() {
    let failures = upload(EarlyEnd::new(Server::OtherTotal, 1)).await;
    assert_eq!(failures.len(), 1, "{failures:#?}");
    assert_eq!(failures[0].code.as_str(), "VSI0301");
    let endless = upload(EarlyEnd::new(Server::OtherTotal, usize::MAX)).await;
    assert_eq!(endless.last().unwrap().code.as_str(), "VSI0304");
}

#[tokio::test(start_paused = true)]
async fn an_image_without_a_version_that_never_arrives_whole_asks_for_its_checksum() {
    let world = World::new().await;
    let source = EarlyEnd::new(Server::WithoutVersion, usize::MAX);
    let claim = image::Claim::new(world.hosts.clone(), source);
    let failures = drive(&world, &claim, &world.image_params()).await;
    let last = failures.last().unwrap();
    assert_eq!(last.code.as_str(), "VSI0304", "{failures:#?}");
    assert!(last.remedy.as_str().contains("imageChecksum"), "{last:?}");
}
