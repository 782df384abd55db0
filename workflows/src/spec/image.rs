//! URLs and checksums of images.

mod oci;
mod upload;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;
use vsiflow_engine::{model::Hash, secret::Secret};

pub use upload::upload_url;

/// The URL of an image. Credentials are split off: the stored, compared and shown form never holds
/// them.
#[derive(Clone, JsonSchema)]
#[schemars(with = "String", extend("x-example" = "https://images.example.com/hpcr.qcow2", "x-expected" = "a URL"))]
pub struct ImageUrl {
    stored: String,
    file_name: String,
    full: Option<Secret>,
}

impl ImageUrl {
    /// The URL without credentials; the user's own text if it had none.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// The last segment of the path; the image has this name on a host.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The stored URL for an architecture, as libvirt names it. If an image has several, the
    /// architecture is part of the URL.
    pub fn for_arch(&self, arch: &str) -> String {
        oci::for_arch(&self.stored, arch)
    }

    /// The file that it names on the machine that vsiflow runs on, if it is a `file:` URL.
    pub fn file_path(&self) -> Option<PathBuf> {
        let url = Url::parse(&self.stored).ok()?;
        let is_file = url.scheme() == "file";
        // A `file:` URL whose path is not valid is still not an address of a server.
        is_file.then(|| url.to_file_path().unwrap_or_default())
    }

    /// Namespace and name, if it is an `upload:` URL.
    pub fn uploaded(&self) -> Option<(&str, &str)> {
        upload::parts(&self.stored)
    }

    /// The URL with its credentials, if it has any; the image is opened with it.
    pub fn with_credentials(&self) -> Option<&Secret> {
        self.full.as_ref()
    }
}

impl FromStr for ImageUrl {
    type Err = String;

    /// The error never repeats the text, because it may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text.trim()).map_err(|error| format!("this is not a URL: {error}"))?;
        let known = match url.scheme() {
            "http" | "https" => true,
            "file" => matches!(url.host_str(), None | Some("" | "localhost")),
            "s3" => {
                let bare =
                    url.query().is_none() && url.username().is_empty() && url.port().is_none();
                if !bare || url.host_str().is_none_or(str::is_empty) || url.password().is_some() {
                    let form =
                        "write s3://bucket/key; the key that signs is in the host's settings";
                    return Err(form.to_owned());
                }
                true
            }
            "upload" => return upload::image(text.trim()),
            _ if oci::is_oci(&url) => return oci::image(text.trim(), &url),
            _ => {
                let known = "the URL must begin with http://, https://, oci://, s3://, file:/// or, in a cluster, \
                             upload://NAMESPACE/";
                return Err(known.to_owned());
            }
        };
        if !known {
            return Err("a file: URL names a path here, not another machine".to_owned());
        }
        let file_name = file_name(&url).ok_or("the URL has no file name at its end")?;
        let (stored, full) = split(text.trim(), url);
        Ok(Self {
            stored,
            file_name,
            full,
        })
    }
}

fn file_name(url: &Url) -> Option<String> {
    let last = url.path_segments()?.next_back()?;
    let slash = last.to_ascii_lowercase().contains("%2f");
    (!last.is_empty() && !slash).then(|| last.to_owned())
}

/// Whether a parameter of this name grants access, as in presigned URLs. Another value of it is not
/// another image.
fn opens(name: &str) -> bool {
    const OPENING: [&str; 18] = [
        "access_key",
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "credential",
        "jwt",
        "password",
        "private_token",
        "secret",
        "sig",
        "signature",
        "token",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-signature",
    ];
    OPENING.contains(&name.to_ascii_lowercase().as_str())
}

/// Splits a URL into the part that may be stored and the secret. Any query may grant access, so every
/// query is secret.
fn split(text: &str, url: Url) -> (String, Option<Secret>) {
    let plain = url.username().is_empty() && url.password().is_none();
    if plain && oci::is_oci(&url) {
        return (text.to_owned(), None);
    }
    if plain && url.query().is_none_or(is_stand_in) {
        return (text.to_owned(), None);
    }
    let full = Secret::new(text.as_bytes().to_vec());
    (without_secrets(url), Some(full))
}

/// The URL without credentials. A query without a known credential is replaced by a few digits of its
/// hash, so that another query is another image.
fn without_secrets(mut url: Url) -> String {
    let opening = url.query_pairs().any(|(name, _)| opens(&name));
    let digits = url.query().filter(|_| !opening).map(stand_in);
    url.set_query(digits.as_deref());
    // These fail only for URLs without a host, which have no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

const STAND_IN: &str = "hidden-";

/// Replaces a query by 32 bits of its hash. That is too few to confirm a guessed query with certainty.
fn stand_in(query: &str) -> String {
    if is_stand_in(query) {
        return query.to_owned();
    }
    let hash = Hash::of(query.as_bytes()).to_string();
    STAND_IN.chars().chain(hash.chars().take(8)).collect()
}

fn is_stand_in(query: &str) -> bool {
    let digits = query.strip_prefix(STAND_IN);
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The form of a recorded URL that may be shown; it may be from a version that stored queries.
pub(crate) fn shown(recorded: &str) -> String {
    match Url::parse(recorded) {
        Ok(url) => split(recorded, url).0,
        Err(_) => recorded.to_owned(),
    }
}

/// Deserializes a stored URL; one from a version that stored queries reads the same.
pub(super) fn stored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(shown(&String::deserialize(deserializer)?))
}

impl fmt::Debug for ImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageUrl({:?})", self.stored)
    }
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The SHA-256 checksum of an image: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("x-example" = "sha256: and 64 hexadecimal digits"))]
pub struct Checksum(String);

impl Checksum {
    /// The 64 digits, in lower case.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text
            .strip_prefix("sha256:")
            .ok_or("a checksum begins with `sha256:`")?;
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("a checksum is `sha256:` and 64 hexadecimal digits".to_owned());
        }
        Ok(Self(hex.to_ascii_lowercase()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_text_is_kept_where_it_holds_no_credentials() {
        for text in [
            "http://hpcr-qcow2-image.default:8080/hpcr.qcow2",
            "file:///var/lib/images/hpcr.qcow2",
            "s3://images/hpcr.qcow2",
        ] {
            let url: ImageUrl = text.parse().unwrap();
            assert_eq!(url.stored(), text);
            assert!(url.with_credentials().is_none());
        }
    }

    #[test]
    fn credentials_are_split_off() {
        let text = "https://me:pa%2Fss@images.example/hpcr.qcow2";
        let url: ImageUrl = text.parse().unwrap();
        assert_eq!(url.stored(), "https://images.example/hpcr.qcow2");
        assert_eq!(url.file_name(), "hpcr.qcow2");
        assert_eq!(url.with_credentials().unwrap().expose(), text.as_bytes());
        assert!(!format!("{url:?}").contains("pa%2Fss"));
    }

    #[test]
    fn a_signature_is_split_off_with_what_it_signs() {
        for query in [
            "X-Amz-Expires=60&X-Amz-Signature=5ecret",
            "sv=1&sig=5ecret",
            "token=5ecret",
        ] {
            let text = format!("https://images.example/hpcr.qcow2?{query}");
            let url: ImageUrl = text.parse().unwrap();
            assert_eq!(url.stored(), "https://images.example/hpcr.qcow2");
            assert_eq!(url.with_credentials().unwrap().expose(), text.as_bytes());
        }
    }

    #[test]
    fn any_query_is_a_secret_and_another_one_another_image() {
        let stored = |query: &str| {
            let text = format!("https://images.example/hpcr.qcow2?{query}");
            let url: ImageUrl = text.parse().unwrap();
            assert_eq!(url.with_credentials().unwrap().expose(), text.as_bytes());
            assert!(!format!("{url:?}").contains(query), "{url:?}");
            url.stored().to_owned()
        };
        assert_ne!(stored("version=1"), stored("version=2"));
        assert_eq!(stored("k3y=5ecret"), stored("k3y=5ecret"));
        // A renewed credential does not change the image.
        assert_eq!(stored("api_key=one5ecret"), stored("api_key=two5ecret"));
        assert_eq!(
            stored("private_token=5ecret"),
            "https://images.example/hpcr.qcow2"
        );
    }

    #[test]
    fn what_was_recorded_before_reads_as_what_is_recorded_now() {
        let read = |url: &str| {
            let image = serde_json::json!({"url": url, "fileName": "a"});
            serde_json::from_value::<super::super::DesiredImage>(image)
                .unwrap()
                .url
        };
        let now: ImageUrl = "https://images.example/a?version=2".parse().unwrap();
        for recorded in ["https://images.example/a?version=2", now.stored()] {
            assert_eq!(read(recorded), now.stored());
        }
        for same in ["https://images.example/a", "file:///a b", "not a url"] {
            assert_eq!(read(same), same);
        }
    }

    #[test]
    fn what_is_no_image_url_is_refused_without_repeating_it() {
        for text in [
            "...",
            "hpcr.qcow2",
            "ftp://images.example/hpcr.qcow2",
            "http://images.example",
            "http://images.example/dir/",
            "http://me:secret@images.example/",
            "http://me:secret@images.example/a%2Fb",
            "http://me:secret@:99999/x",
            "file://elsewhere/hpcr.qcow2",
            "s3://bucket/",
            "s3:///key",
            "s3://bucket/key?token=secret",
            "s3://me:secret@bucket/key",
        ] {
            let problem = text.parse::<ImageUrl>().unwrap_err();
            assert!(!problem.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_checksum_is_kept_in_lower_case() {
        let text = format!("sha256:{}", "AB".repeat(32));
        let checksum: Checksum = text.parse().unwrap();
        assert_eq!(
            checksum.to_string(),
            text.to_lowercase().replace("SHA", "sha")
        );
        for bad in ["", "sha256:", "sha256:zz", "md5:00", &"a".repeat(64)] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
    }
}
