//! The `FORMAT` file, which identifies a state directory.

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{FORMAT, StateDirError};
use crate::files;

/// The format of a state directory that this version creates. From format 3 on, the journal has the orders to
/// destroy what guests wrote: a version that does not know them would destroy without one.
const KNOWN: u32 = 3;
/// The oldest format that this version reads. In format 1, which was never released, the journal was a database.
const OLDEST: u32 = 2;

/// The content of `FORMAT`. Fields are only ever added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Format {
    /// The format's number.
    format: u32,
    /// The journal's identity.
    pub(super) journal: String,
    /// The version that created the directory.
    pub(super) written_by: String,
    /// 1, and one more for each restore of a backup.
    #[serde(default = "first")]
    pub(super) incarnation: u32,
    /// Whether it was restored and has not been confirmed yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) observe_only: bool,
}

fn first() -> u32 {
    1
}

/// The part of `FORMAT` that every version can read.
#[derive(Deserialize)]
struct Outline {
    format: u32,
    #[serde(default)]
    written_by: String,
}

impl Format {
    /// The same, as this version writes it; `None` if it is so already.
    pub(super) fn upgraded(&self) -> Option<Self> {
        (self.format < KNOWN).then(|| Self {
            format: KNOWN,
            ..self.clone()
        })
    }

    fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or_default();
        Self::of(Ulid::from_parts(millis, rand::random()).to_string())
    }

    /// The format that this version creates, for a journal with that identity.
    pub(super) fn of(journal: String) -> Self {
        Self {
            format: KNOWN,
            journal,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: first(),
            observe_only: false,
        }
    }
}

/// Reads `FORMAT`; `None` if there is no such file.
pub(super) fn read(dir: &Path) -> Result<Option<Format>, StateDirError> {
    let path = dir.join(FORMAT);
    match std::fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StateDirError::io(&path, "read", &e)),
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Format, StateDirError> {
    let damaged = |e: serde_json::Error| StateDirError::damaged(path, e.to_string());
    let outline: Outline = serde_json::from_slice(bytes).map_err(damaged)?;
    match outline.format {
        OLDEST..=KNOWN => serde_json::from_slice(bytes).map_err(damaged),
        found if found > KNOWN => {
            let format = format!(
                "the state directory format, written by {},",
                outline.written_by
            );
            Err(StateDirError::Newer {
                path: path.to_owned(),
                what: format,
                found,
                known: KNOWN,
            })
        }
        found @ 1 => Err(StateDirError::Older {
            path: path.parent().unwrap_or(path).to_owned(),
            found,
            known: KNOWN,
        }),
        found => Err(StateDirError::damaged(
            path,
            format!("no version wrote format {found}"),
        )),
    }
}

fn part(dir: &Path) -> PathBuf {
    dir.join(format!("{FORMAT}.part"))
}

/// Whether the creation of the directory began and did not end.
pub(super) fn is_drafted(dir: &Path) -> bool {
    part(dir).is_file()
}

/// Draws the journal's identity and writes it to the draft of `FORMAT`. An existing draft is
/// overwritten in place, so that there is always one.
pub(super) fn draft(dir: &Path) -> io::Result<Format> {
    let format = Format::new();
    let mut text = serde_json::to_string_pretty(&format)?;
    text.push('\n');
    files::rewrite(&part(dir), text.as_bytes())?;
    Ok(format)
}

/// Writes `FORMAT` as the last step of a rebuild, or replaces an older one; the file is always
/// complete.
pub(super) fn write(dir: &Path, format: &Format) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(format)?;
    text.push('\n');
    let draft = dir.join(format!("{FORMAT}.rebuilt"));
    files::replace(&dir.join(FORMAT), &draft, text.as_bytes())
}

/// Renames the draft to `FORMAT`.
pub(super) fn settle(dir: &Path) -> io::Result<()> {
    std::fs::rename(part(dir), dir.join(FORMAT))?;
    files::sync_dir(dir)
}
