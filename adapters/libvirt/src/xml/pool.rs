//! Parses pools: <https://libvirt.org/formatstorage.html#storage-pool-xml>.

use std::borrow::Cow;

use super::{XmlDocument, XmlError};

/// Where a pool stores its volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PoolPlace {
    /// In files of this directory, whether the pool is active or not.
    Folder(String),
    /// In files of a file system that is mounted while the pool is active.
    Mount,
    /// Not in files.
    NoFiles,
}

/// Parses where a pool stores its volumes.
pub(crate) fn place(xml: &str) -> Result<PoolPlace, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let kind = root.attribute("type").unwrap_or_default();
    let path = || root.verbatim_text_at(&["target", "path"]);
    match kind {
        "dir" => match path() {
            Some(path) if path.starts_with('/') => Ok(PoolPlace::Folder(path.into_owned())),
            _ => Err(XmlError("a folder without a path".to_owned())),
        },
        "fs" | "netfs" | "vstorage" => Ok(PoolPlace::Mount),
        "" => Err(XmlError("a pool without a type".to_owned())),
        _ => Ok(PoolPlace::NoFiles),
    }
}

/// The directory of an active pool whose volumes are files in it.
pub(crate) fn folder(xml: &str) -> Result<Option<String>, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let kind = root.attribute("type").unwrap_or_default();
    let path = root
        .verbatim_text_at(&["target", "path"])
        .filter(|path| path.starts_with('/') && matches!(kind, "dir" | "fs" | "netfs"));
    Ok(path.map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_its_volumes_where_its_type_says() {
        let of = |xml: &str| place(xml).ok();
        let in_files = |xml: &str| folder(xml).unwrap();
        for kind in ["dir", "fs", "netfs"] {
            let xml = format!("<pool type='{kind}'><target><path>/srv/a b</path></target></pool>");
            assert_eq!(in_files(&xml), Some("/srv/a b".to_owned()));
        }
        assert_eq!(in_files("<pool type='dir'/>"), None);
        assert_eq!(
            in_files("<pool type='logical'><target><path>/dev/vg</path></target></pool>"),
            None
        );
        let folder = "<pool type='dir'><target><path>/srv/it&apos;s</path></target></pool>";
        assert_eq!(of(folder), Some(PoolPlace::Folder("/srv/it's".to_owned())));
        assert_eq!(of("<pool type='netfs'/>"), Some(PoolPlace::Mount));
        assert_eq!(of("<pool type='logical'/>"), Some(PoolPlace::NoFiles));
        for odd in [
            "<pool/>",
            "<pool type='dir'/>",
            "<pool type='dir'><target><path>srv</path></target></pool>",
        ] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }
}
