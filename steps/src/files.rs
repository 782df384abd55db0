//! Resolves paths to files on the host. A link, a mount or a doubled slash can give one file two paths.
//! Comparing only the texts could delete a file that is in use under its other path.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::model::Failure;

use crate::{
    image::qcow2,
    ports::{DomainInfo, FileAt, FileHead, FileIdentity, HostPorts, VolumeInfo},
};

/// Maximum number of paths in one request to the host.
const PATHS_PER_CALL: usize = 200;
/// Maximum number of files whose beginnings are read with one request to the host.
const HEADS_PER_CALL: usize = 50;
/// Number of bytes to read from a file to find its backing file.
const HEAD: u64 = 16 * 1024;
/// Maximum number of files in a backing chain.
const DEEPEST: usize = 16;
/// Folders in which the files of a domain that are not its disks are no images: programs, firmware,
/// consoles, sockets.
const NO_IMAGES: [&str; 5] = ["/usr/", "/dev/", "/proc/", "/sys/", "/run/"];

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
            let Some(chunk_files) = ports.storage.files(chunk).await? else {
                return Ok(Self::default());
            };
            files.0.extend(chunk.iter().cloned().zip(chunk_files));
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
            (Some(FileAt::Is(one)), Some(FileAt::Is(other))) => Ok(one.place == other.place),
            (Some(FileAt::Unknown(why)), _) => Err(format!("{one} cannot be resolved: {why}")),
            (_, Some(FileAt::Unknown(why))) => Err(format!("{other} cannot be resolved: {why}")),
            _ => Ok(false),
        }
    }

    /// Whether the host reports that there is no file; `None` if it does not say.
    pub(crate) fn is_absent(&self, path: &str) -> Option<bool> {
        match self.0.get(path)? {
            FileAt::Nothing => Some(true),
            FileAt::Is(_) => Some(false),
            FileAt::Unknown(_) => None,
        }
    }
}

/// What identifies the file at a path on its host; `None` if the host does not tell.
///
/// # Errors
/// Port errors by their kind.
pub(crate) async fn identity(
    ports: &HostPorts,
    path: &str,
) -> Result<Option<FileIdentity>, Failure> {
    let mut files = Files::at(ports, BTreeSet::from([path.to_owned()])).await?;
    Ok(match files.0.remove(path) {
        Some(FileAt::Is(identity)) => Some(identity),
        _ => None,
    })
}

/// A path without doubled slashes and `.` parts.
pub(crate) fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !["", "."].contains(part));
    parts.fold(String::new(), |plain, part| format!("{plain}/{part}"))
}

/// The path of a backing file, relative to the folder of the file that names it.
pub(crate) fn below(file: &str, backing: &str) -> String {
    let path = backing.strip_prefix("file:").unwrap_or(backing);
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}/{path}")
    }
}

/// Whether more than a path describes the backing file: then it may be any file.
pub(crate) fn is_opaque(backing: &str) -> bool {
    backing.starts_with("json:")
}

/// Whether a file that a domain names, but not as a disk, may be an image.
pub(crate) fn may_be_image(path: &str) -> bool {
    !NO_IMAGES.iter().any(|place| path.starts_with(place))
}

/// Whether libvirt reads no header of a volume at this path, so that its backing file is unknown.
pub(crate) fn is_device(path: &str) -> bool {
    path.starts_with("/dev/")
}

/// What is directly below a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Below {
    /// This file.
    File(String),
    /// No file.
    Nothing,
    /// It is unknown, with the reason.
    Unknown(String),
}

/// What is below files: from the definitions of running guests, whose chains the host itself has read, and
/// from the headers of all others.
#[derive(Debug, Default)]
pub(crate) struct Chains(BTreeMap<String, Below>);

impl Chains {
    /// Reads the chains of these files. A file that the account cannot read is read through libvirt if it
    /// is one of these volumes.
    ///
    /// # Errors
    /// Port errors by their kind.
    pub(crate) async fn read(
        ports: &HostPorts,
        domains: &[&DomainInfo],
        volumes: &[VolumeInfo],
        paths: BTreeSet<String>,
    ) -> Result<Self, Failure> {
        let mut chains = Self::default();
        chains.learn_from(domains);
        let mut unread = paths;
        for _ in 0..DEEPEST {
            unread = chains.next_below(unread);
            if unread.is_empty() {
                break;
            }
            let next_paths: Vec<String> = unread.iter().cloned().collect();
            for chunk in next_paths.chunks(HEADS_PER_CALL) {
                let heads = ports.storage.heads(chunk, HEAD).await?;
                for (path, head) in chunk.iter().zip(heads) {
                    let head = through_libvirt(ports, volumes, path, head).await;
                    chains.0.insert(path.clone(), directly_below(path, head));
                }
            }
        }
        Ok(chains)
    }

    /// Takes over the chains of running guests. Their files are often readable by their host alone.
    fn learn_from(&mut self, domains: &[&DomainInfo]) {
        for chain in domains.iter().flat_map(|domain| &domain.chains) {
            let below = chain
                .iter()
                .skip(1)
                .map(|path| Below::File(plain(path)))
                .chain(std::iter::once(Below::Nothing));
            self.0
                .extend(chain.iter().map(|path| plain(path)).zip(below));
        }
    }

    /// The first files at and below these that were not read yet.
    fn next_below(&self, paths: BTreeSet<String>) -> BTreeSet<String> {
        let unread = |path: String| {
            let mut next = path;
            for _ in 0..DEEPEST {
                match self.0.get(&next) {
                    Some(Below::File(below)) => next.clone_from(below),
                    Some(_) => return None,
                    None => return Some(next),
                }
            }
            None
        };
        paths.into_iter().filter_map(unread).collect()
    }

    /// Whether the file was read.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Every file that this one reads through to.
    ///
    /// # Errors
    /// The reason, in words, if a file of the chain cannot be read.
    pub(crate) fn below(&self, path: &str) -> Result<Vec<String>, String> {
        let (mut chain, mut next) = (Vec::new(), path);
        while chain.len() < DEEPEST {
            match self.0.get(next) {
                Some(Below::File(below)) => {
                    chain.push(below.clone());
                    next = below;
                }
                Some(Below::Nothing) => return Ok(chain),
                Some(Below::Unknown(why)) => return Err(why.clone()),
                None => break,
            }
        }
        Err(format!("{path} has too many layers"))
    }
}

/// The start of a file that cannot be read by its path, if it is the file of a volume.
async fn through_libvirt(
    ports: &HostPorts,
    volumes: &[VolumeInfo],
    path: &str,
    head: FileHead,
) -> FileHead {
    let is_its = |volume: &&VolumeInfo| plain(&volume.path) == path;
    let volume = match &head {
        FileHead::Unknown(_) => volumes.iter().find(is_its),
        _ => None,
    };
    let Some(volume) = volume else { return head };
    match ports.storage.read(&volume.key, 0, HEAD).await {
        Ok(bytes) => FileHead::Bytes(bytes),
        Err(_) => head,
    }
}

fn directly_below(path: &str, head: FileHead) -> Below {
    let head = match head {
        FileHead::Bytes(head) => head,
        FileHead::Nothing => return Below::Nothing,
        FileHead::Unknown(why) => {
            let remedy =
                "let the account read it (`setfacl -m u:ACCOUNT:r FILE` and `x` on its folders)";
            return Below::Unknown(format!("{path} cannot be read: {why}; {remedy}"));
        }
    };
    match qcow2::backing(&head) {
        Ok(None) => Below::Nothing,
        Ok(Some(backing)) if is_opaque(&backing) => Below::Unknown(format!(
            "{path} describes the file below it in a way that is not read"
        )),
        Ok(Some(backing)) => Below::File(below(path, &backing)),
        Err(unfit) => Below::Unknown(format!("{path} cannot be read: {unfit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_cannot_be_resolved_are_neither_the_same_nor_others() {
        let is = |place: &str| {
            FileAt::Is(FileIdentity {
                place: place.to_owned(),
                born: None,
            })
        };
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
