//! An OCI registry with images, served by a [`Server`].

use std::fmt::Write as _;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{Answer, Server};

/// The digest of a blob.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// A layer, which is a tar archive, with one file.
pub fn layer(path: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(100, "0000644");
    put(124, &format!("{:011o}", content.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = content.len().next_multiple_of(512) - content.len() + 1_024;
    [header, content.to_vec(), vec![0; padding]].concat()
}

impl Server {
    /// The URL of an image in this registry, which has no TLS.
    pub fn image_url(&self, reference: &str) -> String {
        self.url(reference).replace("http:", "oci+http:")
    }

    /// The path of a blob of repository `a`.
    pub fn blob_path(blob: &[u8]) -> String {
        format!("v2/a/blobs/{}", digest(blob))
    }

    /// Adds a tag to repository `a`, and returns its URL. The image has one layer, this blob; with a `title`,
    /// the blob is a file with that name.
    pub fn tag(&self, tag: &str, blob: &[u8], title: Option<&str>) -> String {
        let title = title.map(|title| json!({"org.opencontainers.image.title": title}));
        let manifest = json!({"schemaVersion": 2, "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest(blob), "size": blob.len(), "annotations": title,
        }]});
        let manifest = manifest.to_string().into_bytes();
        self.answers(&Self::blob_path(blob), Answer::Image(blob.to_vec()));
        self.answers(&format!("v2/a/manifests/{tag}"), Answer::Image(manifest));
        self.image_url(&format!("a:{tag}"))
    }
}
