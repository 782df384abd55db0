//! Packs the archive: tar in gzip. Equal files give equal bytes: the archive does not reveal the user, the
//! order of folders or the time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flate2::{Compression, GzBuilder};

use crate::{exit::ExitProblem, user_file::unwritable};

/// The folder in the archive.
const FOLDER: &str = "vsiflow-support";

/// Writes a new file that only its owner may read; it gets its name once it is complete. Blocks.
///
/// # Errors
/// `VSI0908`, also if the file exists.
pub(super) fn write(path: &Path, files: Vec<(String, Vec<u8>)>) -> Result<(), ExitProblem> {
    let part = part(path).map_err(|error| unwritable(path, &error))?;
    let written = write_part(&part, files).and_then(|()| std::fs::hard_link(&part, path));
    let _ = std::fs::remove_file(&part);
    written.map_err(|error| unwritable(path, &error))
}

fn part(path: &Path) -> io::Result<std::path::PathBuf> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(name))
}

fn write_part(part: &Path, files: Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = packed(options.open(part)?, files)?;
    file.sync_all()
}

fn packed(file: File, mut files: Vec<(String, Vec<u8>)>) -> io::Result<File> {
    files.sort();
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(io::BufWriter::new(file), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for (name, bytes) in &files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, format!("{FOLDER}/{name}"), bytes.as_slice())?;
    }
    let mut encoder = tar.into_inner()?.finish()?;
    encoder.flush()?;
    encoder.into_inner().map_err(io::IntoInnerError::into_error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn equal_files_make_equal_bytes_that_only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        let (a, b) = (("a".to_owned(), vec![1]), ("b".to_owned(), vec![2, 3]));
        write(&one, vec![a.clone(), b.clone()]).unwrap();
        write(&two, vec![b, a]).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let mode = std::fs::metadata(&one).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(write(&one, Vec::new()).unwrap_err().code, "VSI0908");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
