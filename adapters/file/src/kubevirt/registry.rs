//! Translates images in registries: `containerDisk`, and the source `registry` of a `DataVolume`.

use super::{
    data_volume::any_of,
    fields::{self, Fields, Refusals},
};
use crate::node::{Value, YamlNode};

const LOGIN: &str = "put the Secret's keys among the host's settings: give it the labels that targetSelector \
     selects";

/// The image of the source `registry` of a `DataVolume`, as a URL.
pub(super) fn source(mut registry: Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    for key in ["secretRef", "certConfigMap"] {
        registry.refuse(key, LOGIN, refusals);
    }
    let path = registry.path("url");
    let url = registry.text("url", refusals).cloned();
    // `pullMethod` does not change which image is pulled.
    any_of(&mut registry, "pullMethod", &["pod", "node"], refusals);
    registry.refuse(
        "imageStream",
        "write url: docker://registry/repository:tag",
        refusals,
    );
    registry.end(refusals);
    let Some(url) = url else {
        refusals.missing(path, "write url: docker://registry/repository:tag");
        return None;
    };
    let image = url.text().and_then(|url| url.strip_prefix("docker://"));
    let Some(image) = image else {
        let message = "the URL of a registry does not begin with docker://";
        refusals.wrong(path, message, "write url: docker://registry/repository:tag");
        return None;
    };
    Some(at(&url, image))
}

const ONE_FILE: &str = "remove it: the one file below /disk/ of the image is taken";

/// The image of a `containerDisk`.
pub(super) fn container(mut disk: Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    disk.refuse("imagePullSecret", LOGIN, refusals);
    disk.refuse("path", ONE_FILE, refusals);
    // vsiflow asks the registry before each use and transfers only what the host lacks.
    let policies = ["Always", "IfNotPresent", "Never"];
    any_of(&mut disk, "imagePullPolicy", &policies, refusals);
    let path = disk.path("image");
    let image = disk.text("image", refusals).cloned();
    disk.end(refusals);
    let Some(image) = image else {
        refusals.missing(path, "write image: registry/repository:tag");
        return None;
    };
    let text = image.text().unwrap_or_default();
    if text.contains("://") {
        let message =
            "the image of a containerDisk is in a registry, and has no scheme such as http://";
        let remedy =
            "write image: registry/repository:tag, or a DataVolume with source: {http: {url: …}}";
        refusals.wrong(path, message, remedy);
        return None;
    }
    Some(at(&image, text))
}

/// The `oci://` URL of an image; without a registry it is on `docker.io`.
fn at(node: &YamlNode, image: &str) -> YamlNode {
    let first = image.split('/').next().unwrap_or_default();
    let is_server = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let registry = if is_server { "" } else { "docker.io/" };
    fields::instead(node, Value::Text(format!("oci://{registry}{image}")))
}
