//! The files of a target's corpus.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

/// The stored inputs of a target, unpacked, in the order of their names.
pub(crate) struct Corpus {
    pub(crate) seeds: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    /// Reads the corpus with this name, and unpacks files that end with `.gz`.
    pub(crate) fn load(name: &str) -> Self {
        let folder = folder(name);
        let seeds = read(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        assert!(!seeds.is_empty(), "{} is empty", folder.display());
        Self { seeds }
    }
}

fn read(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        seeds.push((name.to_string_lossy().into_owned(), content(&path)?));
    }
    seeds.sort();
    Ok(seeds)
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut GzDecoder::new(fs::File::open(path)?), &mut bytes)?;
    Ok(bytes)
}

/// Writes an input that broke a target into the corpus, and returns its path.
pub(crate) fn keep(name: &str, input: &[u8]) -> io::Result<PathBuf> {
    let path = folder(name).join(format!("found-{:016x}", digest(input)));
    fs::write(&path, input)?;
    Ok(path)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    folder.join(name)
}

/// FNV-1a, so that the same input gets the same file name.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
