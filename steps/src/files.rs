//! Resolves paths to files on the host. A link, a mount or a doubled slash can give one file two paths.
//! Comparing only the texts could delete a file that is in use under its other path.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::model::Failure;

use crate::{
    image::qcow2,
    ports::{FileAt, HostPorts},
};

/// Maximum number of paths in one request to the host.
const PATHS_PER_CALL: usize = 200;
/// Number of bytes to read from a file to find its backing file.
const HEAD: u64 = 16 * 1024;
/// Maximum number of files in a backing chain.
const DEEPEST: usize = 16;
/// Folders that hold no disks of guests.
const NO_DISKS: [&str; 5] = ["/usr/", "/dev/", "/proc/", "/sys/", "/run/"];

/// What the paths resolve to on the host. Empty if the host runs no commands for us; then paths are
/// compared as text, except for doubled slashes.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<String, FileAt>);

impl Files {
    /// Asks the host what these paths resolve to.
    ///
    /// # Errors
    /// Port errors by their kind.
    pub(crate) async fn at(ports: &HostPorts, paths: BTreeSet<String>) -> Result<Self, Failure> {
        let paths: Vec<String> = paths.into_iter().collect();
        let mut files = Self::default();
        for chunk in paths.chunks(PATHS_PER_CALL) {
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
    /// The reason why this is unknown.
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

/// What identifies the file at a path on its host, as device and inode; the path itself if the host runs no
/// commands for us.
///
/// # Errors
/// Port errors by their kind.
pub(crate) async fn identity(ports: &HostPorts, path: &str) -> Result<String, Failure> {
    let files = Files::at(ports, BTreeSet::from([path.to_owned()])).await?;
    Ok(match files.0.get(path) {
        Some(FileAt::Is(identity)) => identity.clone(),
        _ => path.to_owned(),
    })
}

/// A path without doubled slashes and `.` parts.
pub(crate) fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !["", "."].contains(part));
    parts.fold(String::new(), |plain, part| format!("{plain}/{part}"))
}

/// The path of a backing file, relative to the folder of the file that names it.
pub(crate) fn below(file: &str, backing: &str) -> String {
    let backing = backing.strip_prefix("file:").unwrap_or(backing);
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    if backing.starts_with('/') {
        backing.to_owned()
    } else {
        format!("{folder}/{backing}")
    }
}

/// Whether more than a path describes the backing file: then it may be any file.
pub(crate) fn is_opaque(backing: &str) -> bool {
    backing.starts_with("json:")
}

/// Every file that this one reads through to, by the headers of the files outside of pools.
///
/// # Errors
/// The inner error, in words, if a header cannot be read; port errors by their kind.
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
    Ok(Err(format!("{path} has too many layers")))
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
