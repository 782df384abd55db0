//! What a data disk is filled with when it is made.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, json};

use super::desired::DesiredImage;
use super::image::{Checksum, ImageUrl};
use super::text;

/// What a data disk is filled with, once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum DataDiskSource {
    /// An image.
    Image {
        /// The image.
        image: DesiredImage,
    },
    /// A disk of a snapshot of the same namespace.
    Snapshot {
        /// The snapshot's name.
        name: String,
        /// The disk's name in the snapshot: `boot`, or the name of a data disk.
        disk: String,
    },
    /// Another data disk of the same namespace, copied at that time.
    Disk {
        /// Its name.
        name: String,
    },
}

impl DataDiskSource {
    /// The source, as documents write it.
    pub fn shown(&self) -> Value {
        match self {
            Self::Image { image } => match &image.checksum {
                Some(checksum) => json!({"imageURL": image.url, "imageChecksum": checksum}),
                None => json!({"imageURL": image.url}),
            },
            Self::Snapshot { name, disk } => json!({"snapshot": {"name": name, "disk": disk}}),
            Self::Disk { name } => json!({"disk": name}),
        }
    }
}

/// What a data disk is filled with, as documents write it: exactly one of imageURL, snapshot, disk and blank.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrittenSource {
    /// An image, without password or query: `https://`, `oci://`, `s3://`, `file:///`, or
    /// `upload://NAMESPACE/NAME` for a file that `kubectl vsi image upload` sends.
    #[serde(default, rename = "imageURL")]
    #[schemars(extend("x-example" = "https://images.example.com/data.qcow2", "x-secret" = true))]
    image_url: Option<ImageUrl>,
    /// The SHA-256 the image must have: `sha256:` and 64 hexadecimal digits. Required with `upload://`.
    #[serde(default)]
    image_checksum: Option<Checksum>,
    /// A disk of a snapshot of the same namespace.
    #[serde(default)]
    #[schemars(extend("x-example" = "{name: before-upgrade, disk: data}", "x-expected" = "an object with name and disk"))]
    snapshot: Option<SnapshotDiskFields>,
    /// Another data disk of the same namespace, as it is then. No guest that is on may have it.
    #[serde(default)]
    #[schemars(extend("x-example" = "data"))]
    disk: Option<NamedDisk>,
    /// `true`: nothing.
    #[serde(default)]
    #[schemars(extend("x-example" = true, "x-expected" = "true"))]
    blank: Option<bool>,
    /// Refused with what to do instead.
    #[serde(default)]
    #[schemars(skip)]
    format: Option<String>,
}

/// A disk of a snapshot.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SnapshotDiskFields {
    /// The snapshot.
    #[serde(deserialize_with = "text::host_object")]
    #[schemars(extend("x-example" = "before-upgrade"))]
    name: String,
    /// `boot`, or the name of a data disk.
    #[serde(deserialize_with = "text::host_object")]
    #[schemars(extend("x-example" = "data", "x-expected" = "boot, or the name of a data disk"))]
    disk: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct NamedDisk(#[serde(deserialize_with = "text::host_object")] String);

const ONE: &str = "a source is one of imageURL, snapshot, disk and `blank: true`";
const CREDENTIALS: &str = "the URL of a data disk's image holds no password and no query; put the \
    login into the host's settings (IMAGE_SERVER, IMAGE_USER, IMAGE_PASSWORD)";
const FORMAT: &str = "vsiflow makes no file systems: let the guest format the disk (cloud-init: \
    `fs_setup`), or fill it from an image that holds an empty file system";

pub(super) fn written<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DataDiskSource>, D::Error> {
    let Some(written) = Option::<WrittenSource>::deserialize(deserializer)? else {
        return Ok(None);
    };
    written.source().map_err(D::Error::custom)
}

impl WrittenSource {
    fn source(self) -> Result<Option<DataDiskSource>, &'static str> {
        if self.format.is_some() {
            return Err(FORMAT);
        }
        if self.image_checksum.is_some() && self.image_url.is_none() {
            return Err("imageChecksum belongs to an imageURL");
        }
        match (self.image_url, self.snapshot, self.disk, self.blank) {
            (Some(url), None, None, None) => image(&url, self.image_checksum).map(Some),
            (None, Some(SnapshotDiskFields { name, disk }), None, None) => {
                Ok(Some(DataDiskSource::Snapshot { name, disk }))
            }
            (None, None, Some(NamedDisk(name)), None) => Ok(Some(DataDiskSource::Disk { name })),
            (None, None, None, Some(true)) => Ok(None),
            _ => Err(ONE),
        }
    }
}

fn image(url: &ImageUrl, checksum: Option<Checksum>) -> Result<DataDiskSource, &'static str> {
    if url.with_credentials().is_some() {
        return Err(CREDENTIALS);
    }
    let image = DesiredImage {
        url: url.for_arch(&super::vsi::default_arch()),
        file_name: url.file_name().to_owned(),
        checksum,
    };
    Ok(DataDiskSource::Image { image })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DataDiskSpec;

    fn parse(source: Value) -> Result<Option<DataDiskSource>, String> {
        let spec = serde_json::from_value::<DataDiskSpec>(json!({"source": source}));
        spec.map(|spec| spec.source)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_is_exactly_one_thing() {
        let sum = format!("sha256:{}", "a".repeat(64));
        let image = json!({"imageURL": "https://a.example/d.qcow2", "imageChecksum": sum});
        let parsed = parse(image.clone()).unwrap().unwrap();
        assert_eq!(parsed.shown(), image);
        let stored = serde_json::to_value(&parsed).unwrap();
        assert_eq!(
            serde_json::from_value::<DataDiskSource>(stored).unwrap(),
            parsed
        );
        for source in [
            json!({"snapshot": {"name": "first", "disk": "data"}}),
            json!({"disk": "data"}),
        ] {
            assert_eq!(parse(source.clone()).unwrap().unwrap().shown(), source);
        }
        assert_eq!(parse(json!({"blank": true})), Ok(None));
        assert_eq!(parse(Value::Null), Ok(None));
        for wrong in [
            json!({}),
            json!({"blank": false}),
            json!({"disk": "a", "blank": true}),
            json!({"disk": "a", "imageURL": "https://a.example/d.qcow2"}),
            json!({"imageChecksum": sum}),
            json!({"imageChecksum": sum, "disk": "a"}),
            json!({"snapshot": "first"}),
            json!({"disk": "other/data"}),
            json!({"snapshot": {"name": "other/first", "disk": "boot"}}),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_would_be_a_secret_is_refused_and_not_repeated() {
        for url in [
            "https://me:hunter2@a.example/d.qcow2",
            "https://a.example/d?sig=hunter2",
        ] {
            let error = parse(json!({"imageURL": url})).unwrap_err();
            assert!(
                error.contains("IMAGE_SERVER") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_system_is_refused_with_what_to_do_instead() {
        let error = parse(json!({"blank": true, "format": "ext4"})).unwrap_err();
        assert!(error.contains("fs_setup"), "{error}");
    }
}
