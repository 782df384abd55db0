//! Reads a folder of documents at one moment.

use std::{
    fmt::{self, Write as _},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use vsiflow_engine::model::Hash;
use vsiflow_file::{Diagnostic, Input, InputText};
use vsiflow_workflows::spec::{Directory, ProblemCode};

use super::git;
use crate::{exit::ExitProblem, work::off_runtime};

/// The version of a folder that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FolderVersion {
    /// A commit, by its ID.
    Commit(String),
    /// Files, by a hash of their names, lengths and times.
    Files(Hash),
}

impl fmt::Display for FolderVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(id) => write!(f, "commit {}", id.get(..12).unwrap_or(id)),
            Self::Files(_) => f.write_str("its files"),
        }
    }
}

/// The documents of one reading, file by file.
#[derive(Debug)]
pub(super) struct FolderReading {
    pub(super) directory: Directory,
    pub(super) files: Vec<Result<InputText, Diagnostic>>,
}

/// A folder that is read repeatedly.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) recursive: bool,
}

impl Folder {
    /// The current version.
    ///
    /// # Errors
    /// When it cannot be determined.
    pub(super) async fn version(&self) -> Result<FolderVersion, Diagnostic> {
        let (path, recursive) = (self.path.clone(), self.recursive);
        let seen = self.blocking(move || {
            let in_git = git::is_work_tree(&path);
            in_git.map(|in_git| (!in_git).then(|| hash_of(&path, recursive)))
        });
        match seen.await? {
            Ok(Some(hash)) => Ok(FolderVersion::Files(hash?)),
            Ok(None) => {
                let head = git::head(&self.path).await;
                head.map(FolderVersion::Commit)
                    .map_err(|why| self.unreadable(&why))
            }
            Err(error) => Err(self.unreadable(&error.to_string())),
        }
    }

    /// The documents of that version.
    ///
    /// # Errors
    /// When the folder cannot be read at all.
    pub(super) async fn read(&self, version: &FolderVersion) -> Result<FolderReading, Diagnostic> {
        let (path, recursive) = (self.path.clone(), self.recursive);
        let files = match version {
            FolderVersion::Commit(id) => {
                let read = git::documents(&self.path, id, recursive).await;
                let read = read.map_err(|why| self.unreadable(&why))?;
                let odd = |(name, why): (String, String)| unreadable(&name, &why);
                read.into_iter().map(|file| file.map_err(odd)).collect()
            }
            FolderVersion::Files(_) => {
                self.blocking(move || vsiflow_file::read_folder(&path, recursive))
                    .await?
            }
        };
        let input = [Input::Path(self.path.clone())];
        let found = self
            .blocking(move || vsiflow_file::directory(&input, recursive))
            .await?;
        match found {
            Ok(Some(directory)) => Ok(FolderReading { directory, files }),
            Ok(None) => Err(self.unreadable("it is not a directory")),
            Err(error) => Err(self.unreadable(&error.to_string())),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Diagnostic> {
        let done = off_runtime(work).await;
        done.map_err(|ExitProblem { message, .. }| self.unreadable(&message))
    }

    fn unreadable(&self, why: &str) -> Diagnostic {
        unreadable(&self.path.display().to_string(), why)
    }
}

/// A hash of names, lengths and times, which changes when a file changes.
fn hash_of(path: &Path, recursive: bool) -> Result<Hash, Diagnostic> {
    let files = vsiflow_file::manifests(path, recursive)?;
    let mut all = String::new();
    let mut add = |entry: &Path| -> Result<(), Diagnostic> {
        let name = entry.display().to_string();
        // A deleted or inaccessible file is reported when it is read.
        let Ok(meta) = fs::metadata(entry) else {
            return Ok(());
        };
        let parts = (
            meta.dev(),
            meta.ino(),
            meta.len(),
            (meta.mtime(), meta.mtime_nsec()),
        );
        writeln!(
            all,
            "{name:?} {parts:?} {} {}",
            meta.ctime(),
            meta.ctime_nsec()
        )
        .map_err(|error| unreadable(&name, &error.to_string()))
    };
    files.iter().try_for_each(|file| add(file))?;
    Ok(Hash::of(all.as_bytes()))
}

fn unreadable(name: &str, why: &str) -> Diagnostic {
    let message = format!("{name} cannot be read: {why}");
    let remedy = "what was applied from it stays as it is until it can be read";
    Diagnostic::of_file(name, ProblemCode::CannotRead, message, remedy)
}
