//! Images in OCI registries: container disks and artifacts.
//!
//! A tag is resolved once, to a digest. The digest is in the stream's validator, with which an upload
//! resumes. Manifests and blobs are compared with their digests. All requests, to registries, token servers
//! and the targets of their redirects, go through [`HttpSource`], which checks addresses.

mod blob;
mod challenge;
mod layer;
mod manifest;
pub(crate) mod reference;
mod token;
pub(crate) mod unfit_layer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE},
};
use tokio::time::timeout;
use url::Url;
use vsiflow_steps::ports::{
    ImageOwner, ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo,
};

use self::{
    blob::{BlobStream, digest_mismatch},
    manifest::{ACCEPT, Blob, MAX_LEN, OciManifest},
    reference::{Digest, Reference},
    token::{Passes, RegistryCall},
};
use crate::error::{ShownError, error, invalid, parse};
use crate::http::{HttpSource, answer::kind_of, answer::range_of, within};

/// The deadline for a short response such as a manifest.
const SHORT_DEADLINE: Duration = Duration::from_secs(60);
/// How many manifests are followed: an index may refer to another index.
const DEEPEST: usize = 3;

/// Reads `oci:` URLs, such as `oci://registry/repository:tag@digest?arch=s390x`. The scheme `oci+http:` is
/// for a registry without TLS.
#[derive(Clone)]
pub struct OciSource {
    state: Arc<OciState>,
    owner: ImageOwner,
}

struct OciState {
    http: HttpSource,
    passes: Passes,
    token_server: Option<String>,
}

/// A blob at its registry, and the first byte to read.
type BlobPart<'a> = (&'a Reference, &'a ShownError, &'a Digest, u64);

impl OciSource {
    /// Creates a source that sends requests through `http`. A registry's credentials are also sent to
    /// `token_server`.
    pub fn new(http: HttpSource, token_server: Option<String>) -> Self {
        let state = OciState {
            http,
            passes: Passes::default(),
            token_server,
        };
        Self {
            state: Arc::new(state),
            owner: ImageOwner::default(),
        }
    }

    fn asking<'a>(&'a self, reference: &'a Reference, shown: &'a ShownError) -> RegistryCall<'a> {
        RegistryCall {
            http: &self.state.http,
            passes: &self.state.passes,
            token_server: self.state.token_server.as_deref(),
            reference,
            shown,
        }
    }

    /// Resolves the reference to its current content.
    async fn resolve(
        &self,
        reference: &Reference,
        shown: &ShownError,
    ) -> Result<OciManifest, SourceError> {
        let mut blob: Option<Blob> = None;
        for _ in 0..DEEPEST {
            let bytes = self.manifest(reference, shown, blob.as_ref()).await?;
            let manifest = OciManifest::read(&bytes, reference.platform());
            match manifest.map_err(|why| invalid(shown, why))? {
                OciManifest::See(other) => blob = Some(other),
                found => return Ok(found),
            }
        }
        Err(invalid(shown, "the index leads to further indexes"))
    }

    async fn manifest(
        &self,
        reference: &Reference,
        shown: &ShownError,
        blob: Option<&Blob>,
    ) -> Result<Vec<u8>, SourceError> {
        let digest = blob.map(|blob| &blob.digest);
        let url = reference.manifest(digest).ok_or_else(|| no_url(shown))?;
        let asking = self.asking(reference, shown);
        let mut response = asking.get(&url, Some(ACCEPT), None).await?;
        answered(shown, &response, "manifest")?;
        let bytes = body(&self.state.http, shown, &mut response, MAX_LEN).await?;
        let expected = digest.or(reference.digest.as_ref());
        let received = Digest::of(&bytes);
        match expected.filter(|expected| **expected != received) {
            Some(expected) => Err(digest_mismatch(shown, expected, &received)),
            None => Ok(bytes),
        }
    }

    /// Requests a blob from a byte on, or from its start if the registry has no ranges. Returns the response,
    /// the first byte and the total length.
    async fn part(
        &self,
        (reference, shown, digest, offset): BlobPart<'_>,
    ) -> Result<(Response, u64, Option<u64>), SourceError> {
        let url = reference.blob(digest).ok_or_else(|| no_url(shown))?;
        let from = (offset > 0).then_some(offset);
        let response = self.asking(reference, shown).get(&url, None, from).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT && offset > 0 {
            let range = (response.headers().get(CONTENT_RANGE))
                .and_then(|range| range_of(range.to_str().ok()?));
            return match range {
                Some((first, length)) if first == offset => Ok((response, offset, length)),
                _ => Err(invalid(
                    shown,
                    "the registry gives another part than it was asked for",
                )),
            };
        }
        answered(shown, &response, "blob")?;
        let length = response.content_length();
        Ok((response, 0, length))
    }

    /// A blob from a byte on, if the registry has ranges.
    async fn blob(
        &self,
        reference: &Reference,
        shown: &ShownError,
        blob: Blob,
        offset: u64,
    ) -> Result<BlobStream, SourceError> {
        let part = (reference, shown, &blob.digest, offset);
        let (response, starts_at, length) = self.part(part).await?;
        if length.is_some_and(|length| length != blob.size) {
            let message = format!(
                "a blob is not of the {} bytes that the manifest says",
                blob.size
            );
            return Err(error(SourceErrorKind::Mismatch, shown, message));
        }
        Ok(BlobStream::new(
            self.clone(),
            reference.clone(),
            shown.clone(),
            blob,
            response,
            starts_at,
        ))
    }

    /// A blob of which only the digest is known, from a validator.
    async fn recorded(
        &self,
        reference: &Reference,
        shown: &ShownError,
        digest: Digest,
        offset: u64,
    ) -> Result<BlobStream, SourceError> {
        let part = (reference, shown, &digest, offset);
        let (response, starts_at, length) = self.part(part).await?;
        let size =
            length.ok_or_else(|| invalid(shown, "the registry does not say how long a blob is"))?;
        let blob = Blob { digest, size };
        Ok(BlobStream::new(
            self.clone(),
            reference.clone(),
            shown.clone(),
            blob,
            response,
            starts_at,
        ))
    }

    /// The disk of an image: the file in the topmost layer that has one.
    async fn disk(
        &self,
        reference: &Reference,
        shown: &ShownError,
        layers: Vec<Blob>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        for layer in layers {
            let validator = format!("{WITHIN}{}", layer.digest.text());
            let stream = self.blob(reference, shown, layer, 0).await?;
            if let Some(disk) = layer::disk(Box::new(stream), shown, validator, &self.owner).await?
            {
                return Ok(disk);
            }
        }
        Err(invalid(
            shown,
            "no layer of the image has a file below /disk/",
        ))
    }

    /// The content of an earlier validator, from a byte on; `None` if the registry does not have it any more.
    async fn reopen(
        &self,
        reference: &Reference,
        shown: &ShownError,
        offset: u64,
        validator: &str,
    ) -> Result<Option<Box<dyn ImageStream>>, SourceError> {
        let opened: Result<Option<Box<dyn ImageStream>>, _> =
            match (validator.strip_prefix(WITHIN), Digest::read(validator)) {
                (Some(digest), _) => {
                    let Some(digest) = Digest::read(digest) else {
                        return Ok(None);
                    };
                    match self.recorded(reference, shown, digest, 0).await {
                        Ok(layer) => {
                            layer::disk(Box::new(layer), shown, validator.to_owned(), &self.owner)
                                .await
                        }
                        Err(cause) => Err(cause),
                    }
                }
                (None, Some(digest)) => {
                    let stream = self.recorded(reference, shown, digest, offset).await;
                    stream.map(|stream| Some(Box::new(stream) as Box<dyn ImageStream>))
                }
                (None, None) => return Ok(None),
            };
        match opened {
            Err(cause) if cause.kind == SourceErrorKind::NotFound => Ok(None),
            opened => opened,
        }
    }
}

/// In a validator it precedes the digest of the layer that holds the disk.
const WITHIN: &str = "disk of ";

fn read(url: &str) -> Result<(Reference, ShownError), SourceError> {
    let url = parse(url)?;
    let shown_url = ShownError::from(&without_query(&url));
    let reference = Reference::read(&url).map_err(|why| invalid(&shown_url, why))?;
    Ok((reference, shown_url))
}

/// The query of an `oci:` URL holds no secret; an error is clearer without it.
fn without_query(url: &Url) -> Url {
    let mut bare_url = url.clone();
    bare_url.set_query(None);
    bare_url
}

fn no_url(shown: &ShownError) -> SourceError {
    invalid(shown, "the reference makes no address")
}

/// Checks that the response holds what was requested.
fn answered(shown: &ShownError, response: &Response, what: &str) -> Result<(), SourceError> {
    let status = response.status();
    if status != StatusCode::OK {
        let message = format!("the registry answered {status} for the {what}");
        return Err(error(kind_of(status), shown, message));
    }
    let kind = response.headers().get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        Err(invalid(shown, "this is a web page, not a registry"))
    } else {
        Ok(())
    }
}

/// Reads a short response completely.
async fn body(
    http: &HttpSource,
    shown: &ShownError,
    response: &mut Response,
    most: usize,
) -> Result<Vec<u8>, SourceError> {
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(piece) = within(http.idle_deadline(), shown, response.chunk()).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                return Err(invalid(
                    shown,
                    format!("a short answer is longer than {most} bytes"),
                ));
            }
        }
        Ok(bytes)
    };
    let body = timeout(SHORT_DEADLINE, reading).await;
    body.unwrap_or_else(|_| {
        let message = format!(
            "a short answer did not end in {} s",
            SHORT_DEADLINE.as_secs()
        );
        Err(error(SourceErrorKind::Transient, shown, message))
    })
}

#[async_trait]
impl ImageSource for OciSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.open(url).await?.info().clone())
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        let (reference, shown) = read(url)?;
        match self.resolve(&reference, &shown).await? {
            OciManifest::Disk(blob) => Ok(Box::new(self.blob(&reference, &shown, blob, 0).await?)),
            OciManifest::Layers(layers) => self.disk(&reference, &shown, layers).await,
            OciManifest::See(_) => Err(invalid(&shown, "the index leads to further indexes")),
        }
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let (reference, shown) = read(url)?;
        if let Some(validator) = validator
            && let Some(stream) = self.reopen(&reference, &shown, offset, validator).await?
        {
            return Ok(stream);
        }
        self.open(url).await
    }

    fn for_owner(&self, owner: &ImageOwner) -> Option<Arc<dyn ImageSource>> {
        Some(Arc::new(Self {
            state: self.state.clone(),
            owner: owner.clone(),
        }))
    }
}
