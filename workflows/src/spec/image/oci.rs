//! Images in registries: `oci://registry/repository:tag@digest`.

use url::Url;

use super::{Checksum, ImageUrl};

/// Whether a URL is of a registry; `oci+http:` is a registry without TLS.
pub(super) fn is_oci(url: &Url) -> bool {
    matches!(url.scheme(), "oci" | "oci+http")
}

/// Parses the URL of an image in a registry.
pub(super) fn image(text: &str, url: &Url) -> Result<ImageUrl, String> {
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        let secret = "credentials of a registry are in the host's settings, not in the URL";
        return Err(secret.to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the registry is missing: oci://registry/repository:tag".to_owned());
    }
    let word = |arch: &str| arch.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let arch = |query: &str| query.strip_prefix("arch=").is_some_and(word);
    if !url.query().is_none_or(arch) {
        return Err("only ?arch=ARCHITECTURE may follow the reference".to_owned());
    }
    let file_name = file_name(url.path())?;
    Ok(ImageUrl {
        stored: text.to_owned(),
        file_name,
        full: None,
    })
}

/// The last name of the repository, with the tag, else with 12 digits of the digest.
fn file_name(path: &str) -> Result<String, String> {
    let (path, digest) = match path.split_once('@') {
        Some((path, digest)) => (path, Some(digest.parse::<Checksum>()?)),
        None => (path, None),
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let (name, tag) = last.split_once(':').unwrap_or((last, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || last.ends_with(':') || !format!("{name}{tag}").chars().all(plain) {
        return Err("the reference is not of the form oci://registry/repository:tag".to_owned());
    }
    let digits = digest.map(|digest| digest.hex().chars().take(12).collect::<String>());
    Ok(match (tag, digits) {
        ("", Some(digits)) => [name, digits.as_str()].join("-"),
        ("", None) => format!("{name}-latest"),
        (tag, _) => format!("{name}-{tag}"),
    })
}

/// Adds an architecture to the URL of a registry's image, unless it has one. Other URLs are unchanged.
pub(super) fn for_arch(url: &str, arch: &str) -> String {
    let registry = url.starts_with("oci://") || url.starts_with("oci+http://");
    if registry && !url.contains('?') {
        format!("{url}?arch={arch}")
    } else {
        url.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_after_repository_and_tag() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (url, name) in [
            ("oci://r.example:5000/a/fedora:40", "fedora-40"),
            ("oci://r.example/fedora", "fedora-latest"),
            (
                "oci+http://127.0.0.1:5000/fedora:40?arch=s390x",
                "fedora-40",
            ),
            (
                &format!("oci://r.example/fedora@{digest}"),
                "fedora-0a0a0a0a0a0a",
            ),
            (&format!("oci://r.example/fedora:40@{digest}"), "fedora-40"),
        ] {
            let image: ImageUrl = url.parse().unwrap();
            assert_eq!((image.file_name(), image.stored()), (name, url));
            assert!(image.with_credentials().is_none());
        }
    }

    #[test]
    fn the_architecture_is_part_of_what_is_stored() {
        let of = |url: &str| url.parse::<ImageUrl>().unwrap().for_arch("s390x");
        assert_eq!(of("oci://r.example/a:b"), "oci://r.example/a:b?arch=s390x");
        assert_eq!(
            of("oci://r.example/a:b?arch=x86_64"),
            "oci://r.example/a:b?arch=x86_64"
        );
        assert_eq!(of("https://r.example/a"), "https://r.example/a");
        let stored = super::super::shown("oci://r.example/a:b?arch=s390x");
        assert_eq!(stored, "oci://r.example/a:b?arch=s390x");
    }

    #[test]
    fn what_is_no_reference_is_refused_without_repeating_it() {
        for text in [
            "oci:///a:b",
            "oci://r.example",
            "oci://r.example/",
            "oci://r.example/a:",
            "oci://r.example/a@sha256:00",
            "oci://r.example/a:b?token=secret",
            "oci://me:secret@r.example/a:b",
            "oci://r.example/a%2fsecret:b",
        ] {
            let problem = text.parse::<ImageUrl>().unwrap_err();
            assert!(!problem.contains("secret"), "{text}");
        }
    }
}
