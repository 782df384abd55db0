//! What tells a base image from another on the same pool.
//!
//! It is the URL without credentials together with `imageChecksum`, or else with the strong ETag,
//! or else with time and length, or else with the hash of what was read. Two engines come to the
//! same identity for the same image.

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

use super::{Params, promise::promised, transfer};
use crate::{
    names,
    ports::{HostPorts, ImageSource, SourceInfo, VolumeKey},
};

/// The image that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RequestedImage {
    /// 64 hexadecimal digits.
    pub(super) identity: String,
    /// The SHA-256 it must have, where that is known before it is brought.
    pub(super) sha256: Option<String>,
    /// What its source named it by when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) validator: Option<String>,
}

/// Finds out which image is wanted. A server that gives neither ETag nor time makes it read the
/// image in full, unless a checksum is given.
pub(super) async fn desired_image(
    cx: &StepContext,
    (source, ports): (&dyn ImageSource, &HostPorts),
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
    let read = transfer::hash_source(cx, (source, ports), params, UNKNOWN).await?;
    Ok(by_hash(params, read.sha256.to_string()))
}

const UNKNOWN: &str = "reading the image in full: its server gives neither ETag nor Last-Modified (set imageChecksum)";

/// The identity of what the source gives now; `None` where only its content would tell.
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

/// A name for an image whose desired name is taken by another: the file's name and twelve digits
/// of the identity, before the extension.
pub(super) fn other_name(params: &Params, identity: &str) -> VolumeKey {
    let digits: String = identity.chars().take(12).collect();
    let desired = &params.volume.name;
    let name = match desired.rsplit_once('.') {
        // Nobody takes this one for what vsiflow keeps for itself.
        _ if names::is_reserved(desired) => format!("image-{digits}"),
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{digits}.{extension}"),
        _ => format!("{desired}-{digits}"),
    };
    VolumeKey {
        pool: params.volume.pool.clone(),
        name,
    }
}
