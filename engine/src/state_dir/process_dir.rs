//! The folder of a process whose journal is stored elsewhere: its lock, its socket, simulated
//! hosts. It may be lost without harm.

use std::path::Path;

use super::{FORMAT, SECRETS, StateDir, StateDirError, find_data, format::Format, lock::Lock};
use crate::{files, lease::Lease, room::Room};

/// The file with the identity of the journal that the folder belongs to.
const JOURNAL: &str = "JOURNAL";
/// The folder that holds one such folder for each journal of a set, named by its number.
pub const BESIDE_SEVERAL: &str = "journals";

/// What is known of a journal that is stored elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalElsewhere {
    /// Its identity.
    pub journal_id: String,
    /// 1, and one more for each restore of a backup.
    pub incarnation: u32,
    /// Whether it was restored from a backup and has not been confirmed yet.
    pub observe_only: bool,
}

impl StateDir {
    /// Opens or creates the folder for a journal that is stored elsewhere. Its methods for a
    /// journal, blobs and checkpoints cannot be used. Blocks.
    ///
    /// # Errors
    /// [`StateDirError::OwnJournal`] if the folder holds a journal or belongs to another one,
    /// [`StateDirError::InUse`] while another process has it.
    pub fn beside(
        path: impl AsRef<Path>,
        journal: &JournalElsewhere,
    ) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
        check(path, journal)?;
        files::create_dir(path).map_err(io("created"))?;
        let lock = Lock::take(path)?;
        check(path, journal)?;
        if !path.join(JOURNAL).is_file() {
            if let Some(data) = find_data(path).map_err(io("read"))? {
                let why = format!("it belongs to no journal, but contains {data}");
                return Err(StateDirError::damaged(path, why));
            }
            std::fs::write(path.join(JOURNAL), &journal.journal_id).map_err(io("written"))?;
        }
        files::create_dir(&path.join(SECRETS)).map_err(io("created"))?;
        Ok(Self::state_beside(path, journal, Some(lock)))
    }

    /// The same to read: nothing is written, and the folder need not exist.
    ///
    /// # Errors
    /// [`StateDirError::OwnJournal`] as for [`StateDir::beside`].
    pub fn open_beside_to_read(
        path: impl AsRef<Path>,
        journal: &JournalElsewhere,
    ) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        check(path, journal)?;
        Ok(Self::state_beside(path, journal, None))
    }

    fn state_beside(path: &Path, journal: &JournalElsewhere, lock: Option<Lock>) -> Self {
        let mut format = Format::of(journal.journal_id.clone());
        format.incarnation = journal.incarnation;
        format.observe_only = journal.observe_only;
        Self {
            path: path.to_owned(),
            format,
            room: match lock {
                Some(_) => Room::open(path),
                None => Room::seen_from_outside(path),
            },
            lock,
            lease: Lease::endless(),
        }
    }
}

/// Whether a folder belongs to a journal that is stored elsewhere, or to several.
pub(super) fn is_beside(path: &Path) -> bool {
    let is_one = |folder: &Path| folder.join(JOURNAL).is_file();
    let folders = std::fs::read_dir(path.join(BESIDE_SEVERAL));
    let mut entries = folders.into_iter().flatten().flatten();
    is_one(path) || entries.any(|entry| is_one(&entry.path()))
}

fn check(path: &Path, journal: &JournalElsewhere) -> Result<(), StateDirError> {
    let is_of_other =
        std::fs::read_to_string(path.join(JOURNAL)).is_ok_and(|id| id.trim() != journal.journal_id);
    if is_of_other || path.join(FORMAT).exists() {
        Err(StateDirError::OwnJournal {
            path: path.to_owned(),
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(id: &str) -> JournalElsewhere {
        JournalElsewhere {
            journal_id: id.to_owned(),
            incarnation: 2,
            observe_only: false,
        }
    }

    #[test]
    fn a_folder_stands_beside_one_journal_and_is_no_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("beside");
        let state = StateDir::beside(&path, &journal("A")).unwrap();
        assert_eq!((state.journal_id(), state.incarnation()), ("A", 2));
        let held = StateDir::beside(&path, &journal("A"));
        assert!(matches!(held, Err(StateDirError::InUse { .. })), "{held:?}");
        drop(state);
        StateDir::beside(&path, &journal("A")).unwrap();
        for refused in [
            StateDir::beside(&path, &journal("B")),
            StateDir::open_beside_to_read(&path, &journal("B")),
        ] {
            assert!(matches!(refused, Err(StateDirError::OwnJournal { .. })));
        }
        let alone = StateDir::open_anywhere(&path);
        assert!(matches!(alone, Err(StateDirError::OwnJournal { .. })));
    }

    #[test]
    fn a_folder_with_those_beside_several_journals_is_no_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join(BESIDE_SEVERAL).join("2");
        std::fs::create_dir_all(&one).unwrap();
        drop(StateDir::beside(&one, &journal("A")).unwrap());
        let alone = StateDir::open_anywhere(dir.path());
        assert!(matches!(alone, Err(StateDirError::OwnJournal { .. })));
    }

    #[test]
    fn a_state_directory_with_a_journal_stands_beside_none() {
        let dir = tempfile::tempdir().unwrap();
        drop(StateDir::open_anywhere(dir.path()).unwrap());
        let refused = StateDir::beside(dir.path(), &journal("A"));
        assert!(matches!(refused, Err(StateDirError::OwnJournal { .. })));
    }
}
