//! Finds the files with documents and reads their bytes.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vsiflow_workflows::spec::{Diagnostic, Diagnostics, ProblemCode};

/// The size limit of a file: 4 MiB.
pub const LARGEST_FILE: u64 = 4 << 20;

/// Where documents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, or a directory with files that end in `.yaml`, `.yml` or `.json`.
    Path(PathBuf),
    /// A text that was already read.
    Text(InputText),
}

impl From<&str> for Input {
    /// `-` is standard input.
    fn from(text: &str) -> Self {
        if text == "-" {
            Self::Stdin
        } else {
            Self::Path(PathBuf::from(text))
        }
    }
}

/// The bytes of a file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputText {
    /// The name that diagnostics use for it.
    pub name: String,
    /// The content of the file.
    pub bytes: Vec<u8>,
}

/// Reads all files that an input names; each one that cannot be read becomes a diagnostic.
pub(crate) fn read(
    input: &Input,
    recursive: bool,
    stdin: &mut dyn Read,
) -> Vec<Result<InputText, Diagnostic>> {
    match input {
        Input::Stdin => vec![bytes("standard input", stdin)],
        Input::Path(path) if path.is_dir() => directory(path, recursive),
        Input::Path(path) => vec![file(path)],
        Input::Text(text) => vec![Ok(text.clone())],
    }
}

/// Reads all files that the inputs name, without parsing them.
///
/// # Errors
/// A diagnostic for each file that cannot be read.
pub fn gather(
    inputs: &[Input],
    recursive: bool,
    stdin: &mut dyn Read,
) -> Result<Vec<InputText>, Diagnostics> {
    let all = inputs
        .iter()
        .flat_map(|input| read(input, recursive, stdin));
    let (mut texts, mut wrong) = (Vec::new(), Vec::new());
    for text in all {
        match text {
            Ok(text) => texts.push(text),
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    if wrong.is_empty() {
        Ok(texts)
    } else {
        Err(Diagnostics(wrong))
    }
}

/// The files with documents in a directory, sorted by name. With `recursive`, files in subdirectories too.
///
/// # Errors
/// If a directory cannot be read.
pub fn manifests(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut files = Vec::new();
    let walked = walk(path, recursive, &mut files);
    walked.map_err(|(unread, error)| cannot_read(&unread.display().to_string(), &error))?;
    Ok(files)
}

/// Reads each file with documents in a directory; each one that cannot be read becomes a diagnostic.
pub fn read_folder(path: &Path, recursive: bool) -> Vec<Result<InputText, Diagnostic>> {
    match manifests(path, recursive) {
        Ok(files) => files.iter().map(|manifest| file(manifest)).collect(),
        Err(diagnostic) => vec![Err(diagnostic)],
    }
}

fn file(path: &Path) -> Result<InputText, Diagnostic> {
    let name = path.display().to_string();
    match fs::File::open(path) {
        Ok(mut file) => bytes(&name, &mut file),
        Err(error) => Err(cannot_read(&name, &error)),
    }
}

fn bytes(name: &str, from: &mut dyn Read) -> Result<InputText, Diagnostic> {
    let mut bytes = Vec::new();
    let read = from.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| cannot_read(name, &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST_FILE) {
        return Ok(InputText {
            name: name.to_owned(),
            bytes,
        });
    }
    let message = format!("{name} is larger than 4 MiB");
    let remedy = "use manifests only, or split the file";
    Err(Diagnostic::of_file(
        name,
        ProblemCode::CannotRead,
        message,
        remedy,
    ))
}

fn cannot_read(name: &str, error: &io::Error) -> Diagnostic {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check who may read it",
        _ => "check that it can be read",
    };
    let message = format!("{name} cannot be read: {error}");
    Diagnostic::of_file(name, ProblemCode::CannotRead, message, remedy)
}

fn directory(path: &Path, recursive: bool) -> Vec<Result<InputText, Diagnostic>> {
    let name = path.display().to_string();
    let files = match manifests(path, recursive) {
        Ok(files) => files,
        Err(diagnostic) => return vec![Err(diagnostic)],
    };
    if files.is_empty() {
        let message = format!("{name} holds no file that ends in .yaml, .yml or .json");
        let remedy = if recursive {
            "check the path"
        } else {
            "check the path, or give -R"
        };
        return vec![Err(Diagnostic::of_file(
            &name,
            ProblemCode::NothingToApply,
            message,
            remedy,
        ))];
    }
    files.iter().map(|manifest| file(manifest)).collect()
}

/// Collects files by name, a file before a directory of the same name. Skips hidden entries: a mounted
/// ConfigMap has every file twice, once below a hidden name.
fn walk(
    path: &Path,
    recursive: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (path.to_owned(), error);
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    paths.sort();
    for entry in paths.into_iter().filter(|entry| !is_hidden(entry)) {
        if entry.is_dir() {
            // A link to a directory may form a cycle.
            if recursive && !entry.is_symlink() {
                walk(&entry, recursive, files)?;
            }
        } else if is_manifest(&entry) {
            files.push(entry);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .and_then(OsStr::to_str)
        .is_some_and(|name| name.starts_with('.'))
}

/// Whether the file's extension says that it holds documents.
pub fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}
