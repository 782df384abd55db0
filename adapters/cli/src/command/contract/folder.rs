//! Reads the files of a folder that becomes the archive of a contract.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use vsiflow_steps::contract::PackedFile;

use super::source::unreadable;
use crate::exit::{Exit, ExitProblem};

/// The most bytes that are read in total: compose files have a few kilobytes.
const ALL_MAX: u64 = 16 * 1024 * 1024;
/// The most files that are read: the user may have named a wrong folder.
const FILES_MAX: usize = 10_000;

/// Every regular file below a folder.
///
/// # Errors
/// `VSI0805` when something cannot be read, is neither a file nor a folder (such as a link), or exceeds the
/// limits.
pub(super) fn files(folder: &Path) -> Result<Vec<PackedFile>, ExitProblem> {
    let mut reading = ContractFolder::default();
    reading.folder(folder, "")?;
    Ok(reading.files)
}

#[derive(Default)]
struct ContractFolder {
    files: Vec<PackedFile>,
    bytes: u64,
}

impl ContractFolder {
    fn folder(&mut self, folder: &Path, below: &str) -> Result<(), ExitProblem> {
        let failed = |error: std::io::Error| unreadable(folder, &error.to_string());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let Some(name) = entry
                .file_name()
                .to_str()
                .map(|name| format!("{below}{name}"))
            else {
                return Err(unreadable(&path, "its name is not UTF-8"));
            };
            if kind.is_dir() {
                self.folder(&path, &format!("{name}/"))?;
            } else if kind.is_file() {
                self.file(&path, name)?;
            } else {
                return Err(refused(&path, "is neither a regular file nor a folder"));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), ExitProblem> {
        let failed = |error: std::io::Error| unreadable(path, &error.to_string());
        let file = fs::File::open(path).map_err(failed)?;
        let executable = file.metadata().map_err(failed)?.permissions().mode() & 0o111 != 0;
        let mut data = Vec::new();
        let left = ALL_MAX.saturating_sub(self.bytes);
        file.take(left.saturating_add(1))
            .read_to_end(&mut data)
            .map_err(failed)?;
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        if self.bytes > ALL_MAX || self.files.len() >= FILES_MAX {
            return Err(refused(
                path,
                "is more than the 16 MiB or 10,000 files of a contract",
            ));
        }
        self.files.push(PackedFile {
            path: name,
            data,
            executable,
        });
        Ok(())
    }
}

fn refused(path: &Path, why: &str) -> ExitProblem {
    let message = format!("{} {why}", path.display());
    let remedy = "name a folder that holds the compose file and what it needs, as regular files";
    ExitProblem::new(Exit::Usage, "VSI0805", message, remedy)
}
