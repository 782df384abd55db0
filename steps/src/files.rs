//! Which file a path leads to. Two paths of one file, by a link, a mount or a doubled slash, are one:
//! whoever compares their texts deletes what somebody uses by the other.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::model::Failure;

use crate::{
    image::qcow2,
    ports::{FileAt, HostPorts},
};

/// Paths that the host is asked about at once.
const AT_ONCE: usize = 200;
/// Bytes in which a file names the one below it.
const HEAD: u64 = 16 * 1024;
/// Files that lie over one another.
const DEEPEST: usize = 16;
/// Places where no disk of a guest is.
const NO_DISKS: [&str; 5] = ["/usr/", "/dev/", "/proc/", "/sys/", "/run/"];

/// What the host said of paths; of none where it runs no commands for us. Then paths are compared as
/// they are written, but for doubled slashes.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<String, FileAt>);

impl Files {
    /// Asks the host where these lead.
    ///
    /// # Errors
    /// Port errors by their kind.
    pub(crate) async fn at(ports: &HostPorts, paths: BTreeSet<String>) -> Result<Self, Failure> {
        let paths: Vec<String> = paths.into_iter().collect();
        let mut files = Self::default();
        for chunk in paths.chunks(AT_ONCE) {
            let Some(found) = ports.storage.files(chunk).await? else {
                return Ok(Self::default());
            };
            files.0.extend(chunk.iter().cloned().zip(found));
        }
        Ok(files)
    }

    /// Whether both lead to one file.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(crate) fn same(&self, one: &str, other: &str) -> Result<bool, String> {
        if plain(one) == plain(other) {
            return Ok(true);
        }
        match (self.0.get(one), self.0.get(other)) {
            (Some(FileAt::Is(one)), Some(FileAt::Is(other))) => Ok(one == other),
            (Some(FileAt::Unknown(why)), _) => Err(format!("{one} cannot be resolved: {why}")),
            (_, Some(FileAt::Unknown(why))) => Err(format!("{other} cannot be resolved: {why}")),
            _ => Ok(false),
        }
    }
}

/// A path without doubled slashes and dots that change nothing.
pub(crate) fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !["", "."].contains(part));
    parts.fold(String::new(), |plain, part| format!("{plain}/{part}"))
}

/// The path of a backing file as the file that names it means it.
pub(crate) fn below(file: &str, backing: &str) -> String {
    let backing = backing.strip_prefix("file:").unwrap_or(backing);
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    if backing.starts_with('/') {
        backing.to_owned()
    } else {
        format!("{folder}/{backing}")
    }
}

/// Whether a backing file is described by more than a path: it may be any.
pub(crate) fn is_opaque(backing: &str) -> bool {
    backing.starts_with("json:")
}

/// Every file that this one reads through to, by the headers of those outside of pools.
///
/// # Errors
/// In words, where one cannot be read; port errors by their kind.
pub(crate) async fn chain(
    ports: &HostPorts,
    path: &str,
) -> Result<Result<Vec<String>, String>, Failure> {
    let (mut found, mut next) = (Vec::new(), path.to_owned());
    while found.len() < DEEPEST {
        if NO_DISKS.iter().any(|place| next.starts_with(place)) {
            return Ok(Ok(found));
        }
        let Some(head) = ports.storage.head(&next, HEAD).await? else {
            return Ok(Ok(found));
        };
        match qcow2::backing(&head) {
            Ok(None) => return Ok(Ok(found)),
            Ok(Some(backing)) if is_opaque(&backing) => {
                let why = format!("{next} describes the file below it in a way that is not read");
                return Ok(Err(why));
            }
            Ok(Some(backing)) => next = below(&next, &backing),
            Err(unfit) => return Ok(Err(format!("{next} cannot be read: {unfit}"))),
        }
        found.push(next.clone());
    }
    Ok(Err(format!("{path} is over too many layers")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cannot_be_resolved_are_neither_the_same_nor_others() {
        let is = |id: &str| FileAt::Is(id.to_owned());
        let known = [
            ("/a", is("1")),
            ("/link", is("1")),
            ("/b", is("2")),
            ("/gone", FileAt::Nothing),
            ("/closed", FileAt::Unknown("Permission denied".to_owned())),
        ];
        let files = Files(known.map(|(path, at)| (path.to_owned(), at)).into());
        assert_eq!(files.same("/a", "/link"), Ok(true));
        assert_eq!(files.same("//a", "/./a"), Ok(true));
        assert_eq!(files.same("/a", "/b"), Ok(false));
        assert_eq!(files.same("/a", "/gone"), Ok(false));
        assert!(files.same("/a", "/closed").is_err());
        assert_eq!(Files::default().same("/a", "/link"), Ok(false));
    }

    #[test]
    fn a_backing_file_is_named_from_where_its_layer_lies() {
        assert_eq!(below("/i/over", "base"), "/i/base");
        assert_eq!(below("/i/over", "file:/x/base"), "/x/base");
    }
}
