//! A simulated source of images: the same bytes for the same URL, without a network.

use async_trait::async_trait;
use bytes::Bytes;

use crate::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

const DEFAULT_SIZE: u64 = 3 * 1024 * 1024;
const VIRTUAL_SIZE: u64 = 100 << 30;
/// The virtual size of an image with `debian` in its URL, like a small cloud image.
const SMALL_VIRTUAL_SIZE: u64 = 2 << 30;
const PIECE: u64 = 64 * 1024;
/// Part of the URL of an image that can be read only from its start.
const NO_RANGES: &str = "from-start";
/// Part of the URL of an image whose length is unknown before its end.
const NO_LENGTH: &str = "unmeasured";

/// Returns an image that looks like a qcow2 of 100 GiB for any URL, of 2 GiB for one with `debian`. Parts
/// of the URL select other behaviour: `missing` and `forbidden` fail so, `page` returns a web page,
/// `from-start` supports no ranges, and `unmeasured` reports no length.
#[derive(Clone, Copy, Debug)]
pub struct SimSource {
    size: u64,
}

impl Default for SimSource {
    fn default() -> Self {
        Self { size: DEFAULT_SIZE }
    }
}

impl SimSource {
    /// A source of images of 3 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// A source of images of this length in bytes, at least as long as a header.
    pub fn with_size(size: u64) -> Self {
        Self {
            size: size.max(qcow2_header(0).len() as u64),
        }
    }

    /// The whole image of that URL.
    pub fn image(&self, url: &str) -> Vec<u8> {
        if url.contains("page") {
            return b"<!DOCTYPE html><title>Please log in</title>".to_vec();
        }
        let size = if url.contains("debian") {
            SMALL_VIRTUAL_SIZE
        } else {
            VIRTUAL_SIZE
        };
        let mut bytes = qcow2_header(size);
        // FNV-1a over the URL seeds an xorshift generator, so that images differ.
        let seed = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let mut word = url.bytes().fold(0xcbf2_9ce4_8422_2325, seed) | 1;
        while (bytes.len() as u64) < self.size {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(usize::try_from(self.size).unwrap_or(usize::MAX));
        bytes
    }

    fn check(url: &str) -> Result<(), SourceError> {
        let fail = |kind, message: &str| {
            Err(SourceError {
                kind,
                url: url.to_owned(),
                message: message.to_owned(),
            })
        };
        if url.contains("missing") {
            fail(SourceErrorKind::NotFound, "404 Not Found")
        } else if url.contains("forbidden") {
            fail(SourceErrorKind::Forbidden, "403 Forbidden")
        } else {
            Ok(())
        }
    }

    fn info(&self, url: &str) -> SourceInfo {
        let length = self.image(url).len() as u64;
        SourceInfo {
            length: (!url.contains(NO_LENGTH)).then_some(length),
            validator: Some(format!("\"{length}-{url}\"")),
        }
    }
}

/// The header of a qcow2 file of version 3 with that virtual size and no data.
pub fn qcow2_header(virtual_size: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(112);
    header.extend_from_slice(b"QFI\xfb");
    header.extend_from_slice(&3_u32.to_be_bytes());
    header.extend_from_slice(&[0; 12]); // no backing file
    header.extend_from_slice(&16_u32.to_be_bytes());
    header.extend_from_slice(&virtual_size.to_be_bytes());
    header.resize(96, 0);
    header.extend_from_slice(&4_u32.to_be_bytes());
    header.extend_from_slice(&104_u32.to_be_bytes());
    header.resize(112, 0); // the end of the header's extensions
    header
}

struct SimStream {
    info: SourceInfo,
    starts_at: u64,
    rest: Bytes,
}

#[async_trait]
impl ImageStream for SimStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let piece = usize::try_from(PIECE)
            .unwrap_or(usize::MAX)
            .min(self.rest.len());
        Ok(Some(self.rest.split_to(piece)))
    }
}

#[async_trait]
impl ImageSource for SimSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Self::check(url)?;
        Ok(self.info(url))
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Self::check(url)?;
        Ok(Box::new(SimStream {
            info: self.info(url),
            starts_at: 0,
            rest: Bytes::from(self.image(url)),
        }))
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        Self::check(url)?;
        let (info, mut rest) = (self.info(url), Bytes::from(self.image(url)));
        let same = info.validator.as_deref() == validator && !url.contains(NO_RANGES);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let starts_at = if same && start <= rest.len() {
            rest = rest.split_off(start);
            offset
        } else {
            0
        };
        Ok(Box::new(SimStream {
            info,
            starts_at,
            rest,
        }))
    }
}
