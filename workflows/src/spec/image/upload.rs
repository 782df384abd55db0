//! Images that users upload: `upload://NAMESPACE/NAME`.

use super::ImageUrl;
use crate::spec::meta::{check_label, check_subdomain};

const SCHEME: &str = "upload://";

/// The URL of a file that is uploaded to a namespace under a name.
pub fn upload_url(namespace: &str, name: &str) -> String {
    format!("{SCHEME}{namespace}/{name}")
}

/// Namespace and name in such a URL.
pub(super) fn parts(url: &str) -> Option<(&str, &str)> {
    let (namespace, name) = url.strip_prefix(SCHEME)?.split_once('/')?;
    let whole = check_label(namespace).is_ok() && check_subdomain(name).is_ok();
    whole.then_some((namespace, name))
}

pub(super) fn image(text: &str) -> Result<ImageUrl, String> {
    let form = "write upload://NAMESPACE/NAME, both of lower-case letters, digits, `-` and, in the name, `.`";
    let (_, name) = parts(text).ok_or(form)?;
    Ok(ImageUrl {
        stored: text.to_owned(),
        file_name: name.to_owned(),
        full: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_send_is_named_by_namespace_and_name_and_nothing_else() {
        let url: ImageUrl = "upload://shop/disk.qcow2".parse().unwrap();
        assert_eq!(url.uploaded(), Some(("shop", "disk.qcow2")));
        assert_eq!(url.file_name(), "disk.qcow2");
        assert_eq!(url.stored(), upload_url("shop", "disk.qcow2"));
        assert!(url.file_path().is_none());
        for wrong in [
            "upload:///disk",
            "upload://shop",
            "upload://shop/",
            "upload://shop/a/b",
            "upload://shop/../other/b",
            "upload://shop/%2e%2e",
            "upload://shop/a?b",
            "upload://me@shop/a",
            "upload://shop:1/a",
            "upload://shop.x/a",
            "upload://Shop/a",
            "upload:shop/a",
        ] {
            assert!(wrong.parse::<ImageUrl>().is_err(), "{wrong}");
        }
        let other: ImageUrl = "https://shop/disk.qcow2".parse().unwrap();
        assert_eq!(other.uploaded(), None);
    }
}
