//! Parses `oci:` URLs into references.

use url::Url;

/// The URL schemes and the schemes of their requests. `oci+http` is for a registry without TLS.
const SCHEMES: [(&str, &str); 2] = [("oci", "https"), ("oci+http", "http")];

/// The name of Docker's registry in references, and the server that answers for it.
const DOCKER: &str = "docker.io";
const DOCKER_REGISTRY: &str = "registry-1.docker.io";

/// A SHA-256 digest as registries write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    /// Parses `sha256:` and 64 hexadecimal digits.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (digits.len() == 64 && digits.bytes().all(lower)).then(|| Self(text.to_owned()))
    }

    /// The digest of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        Self::ended(Sha256::new_with_prefix(bytes))
    }

    /// The digest of a finished hash.
    pub(crate) fn ended(hash: sha2::Sha256) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut text = "sha256:".to_owned();
        for byte in hash.finalize() {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The text: `sha256:` and the digits.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// A tag or digest in a repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `https://registry:5000/`.
    pub(crate) registry: Url,
    pub(crate) repository: String,
    /// The tag; `latest` if the URL has none.
    pub(crate) tag: String,
    /// The digest. If it is present, the tag is ignored.
    pub(crate) digest: Option<Digest>,
    /// The architecture, in libvirt's notation.
    pub(crate) arch: Option<String>,
}

impl Reference {
    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it, without repeating any part of the URL.
    pub(crate) fn read(url: &Url) -> Result<Self, &'static str> {
        let (_, scheme) = SCHEMES
            .into_iter()
            .find(|(own, _)| *own == url.scheme())
            .ok_or("this is not an oci: URL")?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(
                "write oci://registry/repository:tag; credentials are in the host's settings",
            );
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or("the registry is missing")?;
        let docker = [DOCKER, "index.docker.io"].contains(&host);
        let host = if docker { DOCKER_REGISTRY } else { host };
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let registry = Url::parse(&format!("{scheme}://{host}{port}/"))
            .map_err(|_| "the registry is not the name of a server")?;
        let path = url.path().trim_start_matches('/');
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                let digest = Digest::read(digest);
                let not_a_digest = "the digest is not sha256: and 64 hexadecimal digits";
                (path, Some(digest.ok_or(not_a_digest)?))
            }
            None => (path, None),
        };
        let (repository, tag) = path.rsplit_once(':').unwrap_or((path, "latest"));
        if !is_repository(repository) {
            return Err("the repository is not a path of lower-case names");
        }
        if !is_tag(tag) {
            return Err("the tag is not a word of at most 128 letters, digits, `.`, `_` and `-`");
        }
        let official = registry.host_str() == Some(DOCKER_REGISTRY) && !repository.contains('/');
        let folder = if official { "library/" } else { "" };
        Ok(Self {
            registry,
            repository: format!("{folder}{repository}"),
            tag: tag.to_owned(),
            digest,
            arch: arch(url)?,
        })
    }

    /// The URL of a manifest: of `digest`, otherwise of the reference itself.
    pub(crate) fn manifest(&self, digest: Option<&Digest>) -> Option<Url> {
        let own_version = self.digest.as_ref().map_or(self.tag.as_str(), Digest::text);
        let which = digest.map_or(own_version, Digest::text);
        self.below("manifests", which)
    }

    /// The URL of a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> Option<Url> {
        self.below("blobs", digest.text())
    }

    fn below(&self, kind: &str, which: &str) -> Option<Url> {
        let path = format!("v2/{}/{kind}/{which}", self.repository);
        self.registry.join(&path).ok()
    }

    /// The architecture in the notation of images.
    pub(crate) fn platform(&self) -> Option<&str> {
        Some(match self.arch.as_deref()? {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "armv7l" => "arm",
            "i686" => "386",
            same => same,
        })
    }
}

/// Whether a URL names an image in a registry.
pub(crate) fn is_oci(url: &Url) -> bool {
    SCHEMES.iter().any(|(own, _)| *own == url.scheme())
}

fn arch(url: &Url) -> Result<Option<String>, &'static str> {
    let Some(query) = url.query() else {
        return Ok(None);
    };
    let word = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let arch = query.strip_prefix("arch=").filter(|arch| !arch.is_empty());
    match arch.filter(word) {
        Some(arch) => Ok(Some(arch.to_owned())),
        None => Err("the only thing that may follow the reference is ?arch=ARCHITECTURE"),
    }
}

fn is_repository(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        let within = |b: u8| plain(b) || b"._-".contains(&b);
        ends.iter().all(|b| b.is_some_and(plain)) && part.bytes().all(within)
    };
    text.len() <= 255 && text.split('/').all(part) && !text.contains("..")
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(word);
    first && text.len() <= 128 && text.bytes().all(|b| word(b) || b".-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reference, &'static str> {
        Reference::read(&Url::parse(text).unwrap())
    }

    #[test]
    fn a_reference_names_registry_repository_tag_digest_and_architecture() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let one = read(&format!("oci://r.example:5000/a/b:v1@{digest}?arch=x86_64")).unwrap();
        assert_eq!(one.registry.as_str(), "https://r.example:5000/");
        assert_eq!((one.repository.as_str(), one.tag.as_str()), ("a/b", "v1"));
        assert_eq!(one.platform(), Some("amd64"));
        assert_eq!(
            one.manifest(None).unwrap().as_str(),
            format!("https://r.example:5000/v2/a/b/manifests/{digest}")
        );
        let two = read("oci+http://127.0.0.1/a").unwrap();
        assert_eq!(
            two.manifest(None).unwrap().as_str(),
            "http://127.0.0.1/v2/a/manifests/latest"
        );
        let hub = read("oci://docker.io/debian:12").unwrap();
        assert_eq!(hub.repository, "library/debian");
        assert_eq!(hub.registry.host_str(), Some("registry-1.docker.io"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for wrong in [
            "oci:///a:b",
            "oci://r.example/",
            "oci://r.example/A:b",
            "oci://r.example/a//b",
            "oci://r.example/a:",
            "oci://r.example/a:b/c",
            "oci://r.example/a@sha256:00",
            "oci://r.example/a@md5:00",
            "oci://r.example/a:b?token=x",
            "oci://r.example/a:b?arch=",
            "oci://r.example/a:b#c",
            "oci://me:secret@r.example/a:b",
            "oci://r.example/a%2f..%2fb:c",
            "https://r.example/a:b",
        ] {
            let why = read(wrong).unwrap_err();
            assert!(!why.contains("secret"), "{wrong}");
        }
    }
}
