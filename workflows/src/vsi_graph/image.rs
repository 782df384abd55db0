//! The base image that a VSI boots from, or a data disk is filled with, and its actual source.

use crate::{
    record::{ImageRecord, VsiRecord},
    spec::DesiredImage,
};

/// The URL prefix of a simulated image.
pub const SIMULATED: &str = "sim+";

/// The base image that the VSI boots from.
pub(crate) fn image(record: &VsiRecord) -> ImageRecord {
    let vsi = &record.vsi;
    image_on(&vsi.host, &vsi.pool, &vsi.image)
}

/// An image on a pool of a host.
pub(crate) fn image_on(host: &str, pool: &str, image: &DesiredImage) -> ImageRecord {
    ImageRecord {
        host: host.to_owned(),
        pool: pool.to_owned(),
        url: source_url(host, &image.url),
        file_name: image.file_name.clone(),
        checksum: image.checksum.as_ref().map(ToString::to_string),
    }
}

/// The actual source of the image. On a simulated host, the reserved names under `.test` mean a
/// simulated image, so that an example works without any network.
fn source_url(on: &str, url: &str) -> String {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    let simulated = on.split(':').next() == Some("sim");
    if simulated && host.is_some_and(|host| host.ends_with(".test")) {
        format!("{SIMULATED}{url}")
    } else {
        url.to_owned()
    }
}
