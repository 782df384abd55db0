//! File uploads from users for hosts: `images/NAME/upload`.
//!
//! ```text
//! POST …/namespaces/NS/images/NAME/upload  {"length": N, "sha256": HEX, "checksum": "sha256:HEX",
//!                                           "retry": BOOL, "waitSeconds": N}
//! PUT  …?length=N&sha256=HEX&reader=ID&from=BYTE            the bytes from there on
//! PUT  …?length=N&sha256=HEX&reader=ID&from=BYTE&zeros=N    or so many zeros
//! ```
//!
//! An image of that name is not an object: documents of the namespace refer to it as `upload://NS/NAME`.
//! The client that has the file announces it (POST) repeatedly: the answer lists the hosts that read it,
//! the byte that each needs next, and the state of its images. Images that wait for the file are retried
//! then, unless its readers waited in vain a short time ago. Bytes are handed to a host as they arrive
//! (PUT); none of them are stored here, and the port limits how many wait. After a connection is cut
//! off, the last answer is outdated: the next one has the current positions.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use http::{Method, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;
use url::form_urlencoded;
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text, Who},
};
use vsiflow_steps::error::SOURCE_AWAITED;
use vsiflow_workflows::{
    fleet::{SourcedImage, Verdict},
    spec::{Checksum, upload_url},
};

use super::{
    GROUP, HttpAnswer, Refusal, RequestCaller, SubresourceState, VERSION, action, json,
    route::UploadTarget,
};

/// The maximum length of one piece of a file, in bytes.
const MAX_PIECE_LEN: usize = 16 << 20;
/// The maximum size of a file, in bytes.
const LARGEST: u64 = 64 << 40;
/// How long to wait for a reader, at most.
const WAIT: Duration = Duration::from_secs(20);
/// How long the next bytes of a piece may take to arrive.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(20);

/// A file that is being uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedFile {
    /// The namespace it is uploaded into.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256: 64 hexadecimal digits in lower case.
    pub sha256: String,
}

impl UploadedFile {
    /// The URL by which documents refer to it.
    pub fn url(&self) -> String {
        upload_url(&self.namespace, &self.name)
    }
}

/// A host that reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadReader {
    /// Its number.
    pub id: u64,
    /// The byte that it needs next.
    pub from: u64,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub enum UploadPiece {
    /// Bytes.
    Data(Bytes),
    /// This many zeros.
    Zeros(u64),
}

/// The answer to an announcement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncedUpload {
    /// The readers of the file.
    pub readers: Vec<UploadReader>,
    /// How long no host will read it, because its last readers received nothing.
    pub pause: Option<Duration>,
}

/// Error: nothing was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotUploaded {
    /// There are too many uploads.
    Busy,
    /// Another file is being uploaded under the name.
    Another,
    /// That reader needs a different position now, or has ended: an announcement shows it.
    Elsewhere,
    /// The piece extends beyond the end of the file.
    TooLong,
}

/// Hands uploaded files to their readers.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Announces that the file is being uploaded, or still is. Returns once there are readers, or after
    /// `wait`. Cancel safe.
    ///
    /// # Errors
    /// If it cannot be uploaded now.
    async fn announce(
        &self,
        file: &UploadedFile,
        wait: Duration,
    ) -> Result<AnnouncedUpload, NotUploaded>;

    /// Ends the upload: all needed bytes of the file have arrived.
    fn end(&self, file: &UploadedFile);

    /// Hands that reader a piece from its position, and returns the position after it. If this is
    /// dropped, a part may have been handed over.
    ///
    /// # Errors
    /// If it was not accepted, or not all of it.
    async fn feed(
        &self,
        file: &UploadedFile,
        to: UploadReader,
        piece: UploadPiece,
    ) -> Result<u64, NotUploaded>;
}

impl From<NotUploaded> for Refusal {
    fn from(why: NotUploaded) -> Self {
        match why {
            NotUploaded::Busy => Self::busy(),
            NotUploaded::Another | NotUploaded::Elsewhere => Self::another_file(),
            NotUploaded::TooLong => Self::upload("there is more than the file has"),
        }
    }
}

/// The body of an announcement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Announcement {
    /// Its length in bytes.
    pub(crate) length: u64,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// The `imageChecksum` of the image in it; none if the image may have any checksum.
    pub(crate) checksum: Option<String>,
    /// Whether to retry images that failed for a reason other than a missing upload.
    pub(crate) retry: bool,
    /// How long to wait for a reader, in seconds.
    pub(crate) wait_seconds: u64,
}

/// Answers a request to the upload path.
pub(super) async fn answer<B>(
    inner: &SubresourceState,
    uploads: &dyn Uploads,
    (target, query): (&UploadTarget, &str),
    (method, body): (&Method, B),
    caller: &RequestCaller,
) -> Result<Response<HttpAnswer>, Refusal>
where
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    if !inner.cache.has_listed(&target.namespace) {
        return Err(Refusal::unlisted(&target.namespace));
    }
    if *method == Method::PUT {
        let piece = PieceOfFile::of(target, query)?;
        let _turn = inner.pieces.turn(&target.namespace).await?;
        let next = take(uploads, piece, body).await?;
        return Ok(json(&json!({
            "kind": "UploadedPiece",
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "next": next,
        })));
    }
    super::route::no_query(query)?;
    let announcement: Announcement = action::read(body).await?;
    let file = file(target, announcement.length, &announcement.sha256)?;
    announce(inner, uploads, (&file, &announcement), caller).await
}

fn file(target: &UploadTarget, length: u64, sha256: &str) -> Result<UploadedFile, Refusal> {
    let checksum = format!("sha256:{sha256}").parse::<Checksum>();
    let checksum = checksum.map_err(|why| Refusal::upload(&why))?;
    if !(1..=LARGEST).contains(&length) {
        return Err(Refusal::upload("a file has 1 byte to 64 TiB"));
    }
    Ok(UploadedFile {
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        length,
        sha256: checksum.hex().to_owned(),
    })
}

async fn announce(
    inner: &SubresourceState,
    uploads: &dyn Uploads,
    (file, announcement): (&UploadedFile, &Announcement),
    caller: &RequestCaller,
) -> Result<Response<HttpAnswer>, Refusal> {
    let is_meant = |image: &SourcedImage| {
        announcement.checksum.is_none() || announcement.checksum == image.checksum
    };
    let turn = inner.turn(&file.namespace).await?;
    let images = meant_or_named(inner, file, is_meant).await?;
    if !images.is_empty() && !images.iter().any(is_meant) {
        // No document needs this file: it must not block the upload of another one.
        return Ok(status(&AnnouncedUpload::default(), &images));
    }
    // Announced first, so that retried images find the upload.
    let announced = uploads.announce(file, Duration::ZERO).await?;
    let by = By {
        actor: Actor::Kubernetes(Who::new(caller.user.clone())),
        reason: Text::new("the file is sent"),
    };
    let tried = images.into_iter().filter(|_| announced.pause.is_none());
    for image in tried {
        if is_meant(&image) && (waits(&image) || announcement.retry && failure(&image).is_some()) {
            inner.fleet.retry(image.entity, by.clone()).await?;
        }
    }
    // A request that waits must not occupy a turn.
    drop(turn);
    let wait = Duration::from_secs(announcement.wait_seconds).min(WAIT);
    let awaited = uploads.announce(file, wait).await?;
    let _turn = inner.turn(&file.namespace).await?;
    let known_images = meant_or_named(inner, file, is_meant).await?;
    let mut meant = known_images
        .iter()
        .filter(|image| is_meant(image))
        .peekable();
    if meant.peek().is_some() && meant.all(is_ready) {
        uploads.end(file);
    }
    Ok(status(&awaited, &known_images))
}

/// The images of the file. Images that no document names any more are ignored, unless this file is the
/// one that they need.
async fn meant_or_named(
    inner: &SubresourceState,
    file: &UploadedFile,
    is_meant: impl Fn(&SourcedImage) -> bool,
) -> Result<Vec<SourcedImage>, Refusal> {
    let images = inner.fleet.images().of_source(&file.url()).await?;
    if images.iter().any(is_meant) {
        return Ok(images);
    }
    Ok(inner.fleet.images().named_today(images).await?)
}

fn status(announced: &AnnouncedUpload, images: &[SourcedImage]) -> Response<HttpAnswer> {
    let pause = announced
        .pause
        .map_or(0, |pause| pause.as_secs().saturating_add(1));
    json(&json!({
        "kind": "Upload",
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "readers": announced.readers,
        "pauseSeconds": pause,
        "images": images.iter().map(shown).collect::<Vec<_>>(),
    }))
}

/// Whether the image failed because the file was not uploaded.
fn waits(image: &SourcedImage) -> bool {
    failure(image).is_some_and(|failure| failure.code.as_str() == SOURCE_AWAITED.code)
}

fn is_ready(image: &SourcedImage) -> bool {
    matches!(image.verdict, Some(Verdict::Reached))
}

fn failure(image: &SourcedImage) -> Option<&vsiflow_engine::model::Failure> {
    match &image.verdict {
        Some(Verdict::Failed(failure) | Verdict::Blocked(failure)) => Some(failure),
        _ => None,
    }
}

fn shown(image: &SourcedImage) -> serde_json::Value {
    let failure = failure(image).filter(|_| !waits(image));
    json!({
        "host": image.host,
        "pool": image.pool,
        "checksum": image.checksum,
        "sha256": image.sha256,
        "ready": is_ready(image),
        "failure": failure.map(action::failure_of),
    })
}

/// A piece, as described by the query.
struct PieceOfFile {
    file: UploadedFile,
    to: UploadReader,
    zeros: Option<u64>,
}

impl PieceOfFile {
    fn of(target: &UploadTarget, query: &str) -> Result<Self, Refusal> {
        let (mut length, mut reader, mut from, mut zeros) = (None, None, None, None);
        let mut sha256 = String::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = || value.parse::<u64>().map_err(|_| Refusal::query(&key));
            match &*key {
                "length" => length = Some(number()?),
                "reader" => reader = Some(number()?),
                "from" => from = Some(number()?),
                "zeros" => zeros = Some(number()?),
                "sha256" => sha256 = value.into_owned(),
                _ => return Err(Refusal::query(&key)),
            }
        }
        let missing = || Refusal::upload("length, sha256, reader and from have to be said");
        let to = UploadReader {
            id: reader.ok_or_else(missing)?,
            from: from.ok_or_else(missing)?,
        };
        let file = file(target, length.ok_or_else(missing)?, &sha256)?;
        Ok(Self { file, to, zeros })
    }
}

/// Hands a piece to its reader. Returns the next position; none if an announcement must find it out.
async fn take<B>(uploads: &dyn Uploads, piece: PieceOfFile, body: B) -> Result<Option<u64>, Refusal>
where
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    let PieceOfFile {
        file,
        mut to,
        zeros,
    } = piece;
    let mut over = false;
    if let Some(zeros) = zeros {
        over = !handed(uploads, &file, &mut to, UploadPiece::Zeros(zeros)).await?;
    }
    let body = body.map_err(|error| std::io::Error::other(error.to_string()));
    let mut body = Limited::new(body, MAX_PIECE_LEN);
    // Bytes that no reader accepts are read anyway: a client that is cut off would not read the answer.
    loop {
        let frame = timeout(CHUNK_TIMEOUT, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::slow())? else {
            break;
        };
        let frame = frame.map_err(|error| Refusal::upload(&error.to_string()))?;
        if let Ok(mut bytes) = frame.into_data()
            && !over
        {
            let bytes = bytes.copy_to_bytes(bytes.remaining());
            over = !handed(uploads, &file, &mut to, UploadPiece::Data(bytes)).await?;
        }
    }
    Ok((!over).then_some(to.from))
}

/// Hands over one part. Returns whether it was accepted.
async fn handed(
    uploads: &dyn Uploads,
    file: &UploadedFile,
    to: &mut UploadReader,
    piece: UploadPiece,
) -> Result<bool, Refusal> {
    match uploads.feed(file, *to, piece).await {
        Ok(next) => {
            to.from = next;
            Ok(true)
        }
        Err(NotUploaded::Elsewhere) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> UploadTarget {
        UploadTarget {
            namespace: "shop".to_owned(),
            name: "disk.qcow2".to_owned(),
        }
    }

    #[test]
    fn a_piece_that_is_not_named_in_full_is_refused() {
        let whole = format!("length=10&sha256={}&reader=1&from=3", "ab".repeat(32));
        let piece = PieceOfFile::of(&target(), &whole).unwrap();
        assert_eq!(piece.file.url(), "upload://shop/disk.qcow2");
        assert_eq!((piece.to.id, piece.to.from, piece.zeros), (1, 3, None));
        for wrong in [
            whole.replace("length=10", "length=0"),
            whole.replace("length=10", "length=-1"),
            whole.replace("length=10&", ""),
            whole.replace("ab", "zz"),
            whole.replace("from=3", "from="),
            whole.clone() + "&zeros=x",
            whole.clone() + "&more=1",
        ] {
            let refused = PieceOfFile::of(&target(), &wrong).err();
            let refused = refused.unwrap_or_else(|| panic!("{wrong}"));
            assert_eq!(refused.code(), "VSI1033", "{wrong}");
        }
    }
}
