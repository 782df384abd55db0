//! Determines the directory that documents are read from, and its mount point.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vsiflow_workflows::spec::Directory;

use crate::Input;

/// The directory if `inputs` is exactly one directory, otherwise `None`.
///
/// # Errors
/// If the directory cannot be read.
pub fn directory(inputs: &[Input], recursive: bool) -> io::Result<Option<Directory>> {
    let [Input::Path(path)] = inputs else {
        return Ok(None);
    };
    if !path.is_dir() {
        return Ok(None);
    }
    let path = fs::canonicalize(path)?;
    let mount = mount(&path)?;
    Ok(Some(Directory {
        path: path.display().to_string(),
        mount: mount.display().to_string(),
        recursive,
    }))
}

/// The mount point: the highest parent directory on the same device.
fn mount(path: &Path) -> io::Result<PathBuf> {
    let device = fs::metadata(path)?.dev();
    let mut top = path;
    while let Some(parent) = top.parent() {
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        top = parent;
    }
    Ok(top.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_its_place_and_its_file_system() {
        let found = |path: &str| directory(&[Input::from(path)], false).unwrap();
        let process = found("/proc/self/../sys/kernel").unwrap();
        assert_eq!(
            (process.path.as_str(), process.mount.as_str()),
            ("/proc/sys/kernel", "/proc")
        );
        assert_eq!(found("/proc/version"), None, "a file");
        assert_eq!(found("-"), None, "standard input");
        let two = [Input::from("/proc"), Input::from("/dev")];
        assert_eq!(directory(&two, true).unwrap(), None);
    }
}
