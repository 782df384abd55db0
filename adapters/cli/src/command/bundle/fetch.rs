//! Reads an image into a bundle, with the same checks as an upload.

use std::{sync::Arc, time::Duration};

use vsiflow_engine::model::Failure;
use vsiflow_image::bundle::{BundleError, BundleWriter, WrittenImage};
use vsiflow_steps::{
    image::format::{self, HEADER_MAX},
    ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, source_for},
};
use vsiflow_workflows::spec::Checksum;

use crate::{
    exit::{Exit, ExitProblem},
    output,
    work::off_runtime,
};

/// How many bytes are written at a time.
const PIECE: usize = 1 << 20;
/// How often in a row a transiently failing source is tried again.
const TRIES: u32 = 5;

/// An image that is to be packed.
pub(super) struct ImageToPack {
    /// The URL to open it by.
    pub(super) url: String,
    /// The URL as it may be shown.
    pub(super) shown: String,
    /// The host whose settings give access to it; may be empty.
    pub(super) host: String,
    /// The SHA-256 that it must have.
    pub(super) checksum: Option<Checksum>,
}

/// The state of an image that is being read.
struct Fetching {
    writer: BundleWriter,
    head: Vec<u8>,
    /// The source's identifier for this version of the image.
    validator: Option<String>,
}

/// Reads the image into the bundle. After a transient failure it resumes, if the source still has the same
/// image.
pub(super) async fn fetch(
    writer: BundleWriter,
    sources: &Arc<dyn ImageSource>,
    image: &ImageToPack,
    failed: &(dyn Fn(BundleError) -> ExitProblem + Send + Sync),
) -> Result<(BundleWriter, WrittenImage), ExitProblem> {
    let checksum = image.checksum.as_ref().map(ToString::to_string);
    let source = source_for(sources, &image.host, checksum.as_deref()).await;
    let source = source.map_err(of_source)?;
    let mut fetching = Fetching {
        writer,
        head: Vec::new(),
        validator: None,
    };
    let mut tries = 0;
    loop {
        let before = fetching.writer.added();
        match fetching.read(&*source, image, failed).await? {
            (ended, Ok(())) => {
                fetching = ended;
                break;
            }
            (cut, Err(error)) => {
                let further = cut.writer.added() > before;
                tries = if further { 1 } else { tries + 1_u32 };
                if error.kind != SourceErrorKind::Transient || tries >= TRIES {
                    return Err(of_source(error));
                }
                fetching = cut;
                output::note(&format!("{error}; trying again"));
                tokio::time::sleep(Duration::from_secs(1 << tries.min(5))).await;
            }
        }
    }
    fetching.end(image, failed).await
}

impl Fetching {
    /// Reads from the current position to the end; returns the source's error if it fails.
    async fn read(
        mut self,
        source: &dyn ImageSource,
        image: &ImageToPack,
        failed: &(dyn Fn(BundleError) -> ExitProblem + Send + Sync),
    ) -> Result<(Self, Result<(), SourceError>), ExitProblem> {
        let at = self.writer.added();
        let opened = source.open_at(&image.url, at, self.validator.as_deref());
        let mut stream = match opened.await {
            Ok(stream) => stream,
            Err(error) => return Ok((self, Err(error))),
        };
        if at == 0 || stream.starts_at() != at {
            self.head.clear();
            self.writer.begin_image().map_err(failed)?;
        }
        self.validator.clone_from(&stream.info().validator);
        loop {
            let (piece, ended) = next(&mut *stream).await;
            if !piece.is_empty() {
                self = self.add(piece, stream.info().length, image, failed).await?;
            }
            if let Some(ended) = ended {
                return Ok((self, ended));
            }
        }
    }

    async fn add(
        mut self,
        piece: Vec<u8>,
        announced: Option<u64>,
        image: &ImageToPack,
        failed: &(dyn Fn(BundleError) -> ExitProblem + Send + Sync),
    ) -> Result<Self, ExitProblem> {
        let most = usize::try_from(HEADER_MAX).unwrap_or(usize::MAX);
        if self.head.len() < most {
            let lacks = most.saturating_sub(self.head.len());
            self.head.extend(piece.iter().take(lacks));
            if self.head.len() == most {
                // Refuse early, instead of after reading gigabytes.
                let judged = format::of_announced(&self.head, announced);
                judged.map_err(|why| no_disk(image, &why))?;
            }
        }
        let mut writer = self.writer;
        let added = off_runtime(move || writer.add(&piece).map(|()| writer));
        self.writer = added.await?.map_err(failed)?;
        Ok(self)
    }

    async fn end(
        self,
        image: &ImageToPack,
        failed: &(dyn Fn(BundleError) -> ExitProblem + Send + Sync),
    ) -> Result<(BundleWriter, WrittenImage), ExitProblem> {
        let mut writer = self.writer;
        let ended = off_runtime(move || writer.end_image().map(|written| (writer, written)));
        let (ended_writer, written) = ended.await?.map_err(failed)?;
        let judged = format::of_whole(&self.head, written.length);
        judged.map_err(|why| no_disk(image, &why))?;
        let ImageToPack {
            shown, checksum, ..
        } = image;
        if let Some(checksum) = checksum.as_ref().filter(|one| one.hex() != written.sha256) {
            let found = &written.sha256;
            let message =
                format!("{shown} has the checksum sha256:{found}, and {checksum} is asked for");
            let remedy =
                "compare `imageChecksum` with the vendor's, or replace the image at its source";
            return Err(ExitProblem::new(Exit::Failed, "VSI0305", message, remedy));
        }
        let promised = self
            .validator
            .as_deref()
            .and_then(|one| one.strip_prefix("sha256:"));
        if promised.is_some_and(|promised| promised.len() == 64 && promised != written.sha256) {
            let message =
                format!("{shown}: the source names the image by another SHA-256 than it has");
            let remedy = "find out who changes content at the source, then run the command again";
            return Err(ExitProblem::new(Exit::Failed, "VSI0312", message, remedy));
        }
        Ok((ended_writer, written))
    }
}

/// The next bytes, about [`PIECE`] of them, and how the stream ended, if it did.
async fn next(stream: &mut dyn ImageStream) -> (Vec<u8>, Option<Result<(), SourceError>>) {
    let mut piece = Vec::with_capacity(PIECE);
    while piece.len() < PIECE {
        match stream.next().await {
            Ok(Some(bytes)) => piece.extend_from_slice(&bytes),
            Ok(None) => return (piece, Some(Ok(()))),
            Err(error) => return (piece, Some(Err(error))),
        }
    }
    (piece, None)
}

fn of_source(error: SourceError) -> ExitProblem {
    ExitProblem::of(Exit::Failed, &Failure::from(error))
}

fn no_disk(image: &ImageToPack, why: &dyn std::fmt::Display) -> ExitProblem {
    let message = format!("{}: {why}", image.shown);
    let remedy = "provide a raw image, or a qcow2 image without backing file or external data file";
    ExitProblem::new(Exit::Failed, "VSI0306", message, remedy)
}
