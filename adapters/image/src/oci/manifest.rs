//! Parses manifests and indexes, and finds the blob with the disk.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::reference::Digest;

/// The length limit of a manifest, in bytes.
pub(crate) const MAX_LEN: usize = 4 << 20;
/// How many layers an image may have, and how many images an index.
const MAX_LAYERS: usize = 128;
const MAX_IMAGES: usize = 512;

/// The supported manifest types, as an `Accept` header.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

const TITLE: &str = "org.opencontainers.image.title";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A blob as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// Its length in bytes.
    pub(crate) size: u64,
}

/// What a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OciManifest {
    /// An index: this is the manifest of the image for the architecture.
    See(Blob),
    /// An artifact: this blob is the disk.
    Disk(Blob),
    /// A container image: the disk is a file in one of these layers, topmost first.
    Layers(Vec<Blob>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenManifest {
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<OciPlatform>,
}

#[derive(Deserialize)]
struct OciPlatform {
    #[serde(default)]
    architecture: String,
}

impl OciManifest {
    /// Parses a manifest or index. `platform` is the architecture as images name it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn read(bytes: &[u8], platform: Option<&str>) -> Result<Self, String> {
        if bytes.len() > MAX_LEN {
            return Err(format!("the manifest is longer than {MAX_LEN} bytes"));
        }
        let written: WrittenManifest = serde_json::from_slice(bytes)
            .map_err(|error| format!("this is not a manifest: {error}"))?;
        match (written.layers, written.manifests) {
            (Some(layers), None) => of_layers(layers),
            (None, Some(manifests)) => of_index(manifests, platform),
            (Some(_), Some(_)) => Err("this is a manifest and an index at once".to_owned()),
            (None, None) => Err("this is neither a manifest nor an index".to_owned()),
        }
    }
}

impl Descriptor {
    fn blob(&self) -> Result<Blob, String> {
        let digest =
            Digest::read(&self.digest).ok_or("a digest of the manifest is not a SHA-256")?;
        Ok(Blob {
            digest,
            size: self.size,
        })
    }

    fn title(&self) -> Option<&str> {
        let title = self.annotations.as_ref()?.get(TITLE)?;
        Some(title.as_str())
    }

    /// Whether it is a single file and not a layer of files. Tools that push files set a title, whatever the
    /// media type is.
    fn is_file(&self) -> bool {
        let layer = self.media_type.contains(".tar") || self.media_type.contains("+tar");
        self.title().is_some() || !layer
    }

    fn is_disk(&self) -> bool {
        let title = self.title().unwrap_or_default();
        let packed = [".gz", ".xz", ".zst"];
        let stem = packed
            .iter()
            .find_map(|end| title.strip_suffix(end))
            .unwrap_or(title);
        [".qcow2", ".img", ".raw"]
            .iter()
            .any(|end| stem.ends_with(end))
    }
}

fn of_layers(mut layers: Vec<Descriptor>) -> Result<OciManifest, String> {
    if layers.len() > MAX_LAYERS {
        return Err(format!("the image has more than {MAX_LAYERS} layers"));
    }
    layers.retain(|layer| layer.media_type != EMPTY);
    let files: Vec<_> = layers.iter().filter(|layer| layer.is_file()).collect();
    let disks: Vec<_> = files.iter().filter(|file| file.is_disk()).collect();
    match (files.as_slice(), disks.as_slice()) {
        ([], _) if layers.is_empty() => Err("the image has no layers".to_owned()),
        ([], _) => {
            let topmost_first = layers.iter().rev();
            let blobs: Result<_, _> = topmost_first.map(Descriptor::blob).collect();
            Ok(OciManifest::Layers(blobs?))
        }
        ([file], _) => Ok(OciManifest::Disk(file.blob()?)),
        (_, [disk]) => Ok(OciManifest::Disk(disk.blob()?)),
        _ => Err(format!(
            "the artifact has {} files, of which {} are named as disks (.qcow2, .img, .raw); it must be one",
            files.len(),
            disks.len()
        )),
    }
}

fn of_index(images: Vec<Descriptor>, platform: Option<&str>) -> Result<OciManifest, String> {
    if images.len() > MAX_IMAGES {
        return Err(format!("the index has more than {MAX_IMAGES} images"));
    }
    let name = |image: &Descriptor| {
        let offered = image.platform.as_ref();
        offered.map_or(String::new(), |offered| offered.architecture.clone())
    };
    // Attestations have the architecture `unknown`.
    let real = |image: &&Descriptor| name(image) != "unknown";
    let images: Vec<_> = images.iter().filter(real).collect();
    let fits = |image: &&&Descriptor| match platform {
        Some(platform) => [platform, ""].contains(&name(image).as_str()),
        None => true,
    };
    let fitting: Vec<_> = images.iter().filter(fits).collect();
    match (fitting.as_slice(), platform) {
        ([first, ..], Some(_)) | ([first], None) => Ok(OciManifest::See(first.blob()?)),
        (_, platform) => {
            let mut names: Vec<_> = images.iter().map(|image| name(image)).collect();
            names.sort();
            names.dedup();
            names.truncate(16);
            let platforms: Vec<_> = names.iter().map(|text| words(text)).collect();
            let list = platforms.join(", ");
            Err(match platform {
                Some(platform) => {
                    format!("the image is not there for {platform}; it is for {list}")
                }
                None => {
                    format!("the image is there for {list}; say which with ?arch=ARCHITECTURE")
                }
            })
        }
    }
}

/// Untrusted text, with only the characters that are safe to show.
fn words(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "_-./".contains(*c);
    text.chars().filter(plain).take(32).collect()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn digest(n: u8) -> String {
        format!("sha256:{}", format!("{n:02x}").repeat(32))
    }

    fn layer(n: u8, kind: &str, title: Option<&str>) -> serde_json::Value {
        let annotations = title.map(|title| serde_json::json!({TITLE: title}));
        serde_json::json!({"mediaType": kind, "digest": digest(n), "size": n, "annotations": annotations})
    }

    fn image(layers: &[serde_json::Value]) -> Result<OciManifest, String> {
        let manifest = serde_json::json!({"schemaVersion": 2, "layers": layers});
        OciManifest::read(manifest.to_string().as_bytes(), None)
    }

    fn blob(n: u8) -> Blob {
        let digest = Digest::read(&digest(n)).unwrap();
        Blob {
            digest,
            size: n.into(),
        }
    }

    #[test]
    fn the_disk_is_an_artifacts_file_or_in_the_layers() {
        let layers = [layer(1, TAR, None), layer(2, TAR, None)];
        assert_eq!(
            image(&layers),
            Ok(OciManifest::Layers(vec![blob(2), blob(1)]))
        );
        let pushed = layer(1, TAR, Some("disk.qcow2"));
        assert_eq!(
            image(std::slice::from_ref(&pushed)),
            Ok(OciManifest::Disk(blob(1)))
        );
        let typed = layer(3, "application/x-qemu-disk", None);
        assert_eq!(
            image(std::slice::from_ref(&typed)),
            Ok(OciManifest::Disk(blob(3)))
        );
        let readme = layer(2, "text/plain", Some("README.md"));
        assert_eq!(
            image(&[readme.clone(), pushed.clone()]),
            Ok(OciManifest::Disk(blob(1)))
        );
        assert!(image(&[pushed.clone(), layer(4, TAR, Some("b.img.gz"))]).is_err());
        assert!(image(&[readme, typed]).is_err());
        assert!(image(&[]).is_err());
        assert!(image(&[layer(2, EMPTY, None)]).is_err());
        assert!(image(&vec![pushed; MAX_LAYERS + 1]).is_err());
    }

    #[test]
    fn an_index_is_searched_by_architecture() {
        let of = |n: u8, arch: &str| serde_json::json!({"digest": digest(n), "size": n, "platform": {"architecture": arch, "os": "linux"}});
        let index =
            serde_json::json!({"manifests": [of(1, "amd64"), of(2, "s390x"), of(3, "unknown")]});
        let find = |arch| OciManifest::read(index.to_string().as_bytes(), arch);
        assert_eq!(find(Some("s390x")), Ok(OciManifest::See(blob(2))));
        let why = find(Some("arm64")).unwrap_err();
        assert!(
            why.contains("amd64, s390x") && !why.contains("unknown"),
            "{why}"
        );
        assert!(find(None).unwrap_err().contains("?arch="));
        let one = serde_json::json!({"manifests": [of(1, "amd64")]});
        assert!(OciManifest::read(one.to_string().as_bytes(), None).is_ok());
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"layers": [], "manifests": []}"#,
            r#"{"layers": [{"digest": "sha256:../../x", "size": 1}]}"#,
            r#"{"layers": [{"digest": "sha512:00", "size": 1}]}"#,
            r#"{"layers": [{"digest": "sha256:00", "size": -1}]}"#,
            r#"{"manifests": []}"#,
        ] {
            assert!(
                OciManifest::read(wrong.as_bytes(), None).is_err(),
                "{wrong}"
            );
        }
        assert!(OciManifest::read(&vec![b' '; MAX_LEN + 1], None).is_err());
    }
}
