//! The identity of a base image, which distinguishes the images of one pool.
//!
//! It is derived from the URL without credentials, together with `imageChecksum`, or else the strong
//! ETag, or else time and length, or else the hash of the content. Two engines derive the same identity
//! for the same image.

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

use super::{Params, hash::hash_source, promise::promised};
use crate::{
    error, hpl, names,
    ports::{HostPorts, ImageSource, SourceInfo, VolumeKey},
};

/// The requested image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RequestedImage {
    /// 64 hexadecimal digits.
    pub(super) identity: String,
    /// The SHA-256 it must have, if it is known before the upload.
    pub(super) sha256: Option<String>,
    /// The source's validator when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) validator: Option<String>,
}

/// Finds out which image is requested. If the server reports neither ETag nor time, this reads the image
/// in full, unless a checksum is given.
pub(super) async fn desired_image(
    cx: &StepContext,
    source: &dyn ImageSource,
    ports: &HostPorts,
    params: &Params,
) -> Result<RequestedImage, Failure> {
    if let Some(sha256) = params.expected()? {
        return Ok(by_hash(params, sha256));
    }
    let info = source.probe(&params.url).await?;
    if let Some(identity) = by_validator(params, &info) {
        return Ok(RequestedImage {
            identity,
            sha256: promised(&info),
            validator: info.validator,
        });
    }
    tracing::warn!(
        url = %params.url,
        "the image is read in full before each use: its server gives neither ETag nor Last-Modified; set imageChecksum"
    );
    let hash = hash_source(cx, source, ports, params, UNKNOWN).await?;
    Ok(by_hash(params, hash.to_string()))
}

const UNKNOWN: &str = "reading the image in full: its server gives neither ETag nor Last-Modified (set imageChecksum)";

/// The identity of the source's current content; `None` if only the content itself would show it.
pub(super) fn of_source(params: &Params, info: &SourceInfo) -> Result<Option<String>, Failure> {
    Ok(match params.expected()? {
        Some(sha256) => Some(by_hash(params, sha256).identity),
        None => by_validator(params, info),
    })
}

fn by_hash(params: &Params, sha256: String) -> RequestedImage {
    RequestedImage {
        identity: digits(params, &format!("sha256:{sha256}")),
        sha256: Some(sha256),
        validator: None,
    }
}

fn by_validator(params: &Params, info: &SourceInfo) -> Option<String> {
    info.validator
        .as_ref()
        .map(|validator| digits(params, validator))
}

fn digits(params: &Params, basis: &str) -> String {
    Hash::of(format!("{}\n{basis}", params.url).as_bytes()).to_string()
}

/// The failure if a source changed before all of it was sent.
pub(super) fn changed(params: &Params, size: u64) -> Failure {
    let message = format!(
        "the image at its source changed: {size} bytes of the old one were sent, and are discarded"
    );
    error::SOURCE_CHANGED
        .failure(message)
        .of_object(&params.url)
}

/// The longest name of a file on the host, in bytes.
const NAME_MAX: usize = 255;
const STEM_MAX: usize = 200;
const EXTENSION_MAX: usize = 12;

/// Whether the host's file system would not take the name.
pub(super) fn is_too_long(name: &str) -> bool {
    name.len() > NAME_MAX
}

/// A name for an image whose desired name is taken: the file's name and twelve digits of the identity,
/// before the extension.
pub(super) fn other_name(params: &Params, identity: &str) -> VolumeKey {
    let digits: String = identity.chars().take(12).collect();
    let desired = &params.volume.name;
    let name = match desired.rsplit_once('.') {
        // A name that is too long for the host is shortened.
        Some((stem, extension)) if is_too_long(desired) && extension.len() <= EXTENSION_MAX => {
            format!("{}-{digits}.{extension}", hpl::cut(stem, STEM_MAX))
        }
        _ if is_too_long(desired) => format!("{}-{digits}", hpl::cut(desired, STEM_MAX)),
        // This name cannot be mistaken for one of vsiflow's own volumes.
        _ if names::is_reserved(desired) => format!("image-{digits}"),
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{digits}.{extension}"),
        _ => format!("{desired}-{digits}"),
    };
    VolumeKey {
        pool: params.volume.pool.clone(),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str) -> String {
        let params = Params {
            host: "h".to_owned(),
            volume: VolumeKey {
                pool: "images".to_owned(),
                name: name.to_owned(),
            },
            url: String::new(),
            checksum: None,
        };
        other_name(&params, &"0123456789abcdef".repeat(4)).name
    }

    #[test]
    fn a_name_that_is_too_long_is_shortened_and_keeps_its_end() {
        assert_eq!(other("a.qcow2"), "a-0123456789ab.qcow2");
        for (name, end) in [
            (
                format!("{}.qcow2", "\u{e9}".repeat(200)),
                "-0123456789ab.qcow2",
            ),
            ("x".repeat(400), "-0123456789ab"),
            (format!("a.{}", "y".repeat(300)), "-0123456789ab"),
        ] {
            let short = other(&name);
            assert!(!is_too_long(&short) && short.ends_with(end), "{short}");
            assert!(is_too_long(&name));
        }
    }
}
