//! The base image that a VSI boots from, and where it really comes from.

use crate::record::{ImageRecord, VsiRecord};

/// What stands before the URL of a simulated image.
pub const SIMULATED: &str = "sim+";

/// The base image that the VSI boots from.
pub(crate) fn image(wanted: &VsiRecord) -> ImageRecord {
    let image = &wanted.vsi.image;
    ImageRecord {
        host: wanted.vsi.host.clone(),
        pool: wanted.vsi.pool.clone(),
        url: source_url(wanted),
        file_name: image.file_name.clone(),
        checksum: image.checksum.as_ref().map(ToString::to_string),
    }
}

/// Where the image really comes from. On a simulated host the reserved names under `.test`, which
/// lead nowhere, stand for a simulated image, so that an example works without any network.
fn source_url(wanted: &VsiRecord) -> String {
    let url = &wanted.vsi.image.url;
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    let simulated = wanted.vsi.host.split(':').next() == Some("sim");
    if simulated && host.is_some_and(|host| host.ends_with(".test")) {
        format!("{SIMULATED}{url}")
    } else {
        url.clone()
    }
}
