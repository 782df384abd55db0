//! Puts a journal's new files in the place of its old ones.
//!
//! The new files are made in `journal.next`, and are worth nothing until they are in place:
//!
//! 1. `journal` is renamed `journal.old`,
//! 2. `journal.next` is renamed `journal`,
//! 3. `journal.old` is removed.
//!
//! Each rename is durable before the next step, and each step is the last one before which the
//! other folder was whole. So whoever opens the state directory after a kill knows what to do:
//! where there is no `journal`, the second step is made up for; then what is left of the others
//! is removed.

use std::{fs, io, path::Path};

use super::{ARCHIVE, JOURNAL};
use crate::files;

/// Where new files are made.
pub(crate) const NEXT: &str = "journal.next";
/// An archive that is being written.
pub(crate) const PART: &str = "archive.part";
/// The old files, until they are removed.
const OLD: &str = "journal.old";

/// Ends a swap that was interrupted. Nobody has the journal open. Blocks.
pub(super) fn settle(state: &Path) -> io::Result<()> {
    let (journal, next, old) = (state.join(JOURNAL), state.join(NEXT), state.join(OLD));
    if !journal.exists() && old.is_dir() {
        let whole = if next.is_dir() { &next } else { &old };
        fs::rename(whole, &journal)?;
        files::sync_dir(state)?;
    }
    if journal.is_dir() {
        remove(&old)?;
        remove(&next)?;
    }
    Ok(())
}

/// The first step: from here on the new files are the journal's. Nobody has either open. Blocks.
pub(crate) fn put_aside(state: &Path) -> io::Result<()> {
    remove(&state.join(OLD))?;
    fs::rename(state.join(JOURNAL), state.join(OLD))?;
    files::sync_dir(state)
}

/// The second step. Blocks.
pub(crate) fn put_in_place(state: &Path) -> io::Result<()> {
    fs::rename(state.join(NEXT), state.join(JOURNAL))?;
    files::sync_dir(state)
}

/// The third step. Blocks.
pub(crate) fn clear_old(state: &Path) -> io::Result<()> {
    remove(&state.join(OLD))
}

/// Ends what was begun, one way or the other, as opening the state directory does. Blocks.
pub(crate) fn abandon(state: &Path) -> io::Result<()> {
    settle(state)?;
    match fs::remove_file(state.join(ARCHIVE).join(PART)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes a folder, also one that is not there. Blocks.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("db"), name).unwrap();
        }
        dir
    }

    /// Whose files are the journal's, and nothing else is there.
    fn settled(names: &[&str]) -> String {
        let dir = folder(names);
        settle(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{names:?}");
        fs::read_to_string(dir.path().join(JOURNAL).join("db")).unwrap()
    }

    #[test]
    fn a_swap_interrupted_anywhere_is_ended_by_the_next_opening() {
        assert_eq!(settled(&[JOURNAL]), JOURNAL);
        assert_eq!(settled(&[JOURNAL, NEXT]), JOURNAL, "not in place yet");
        assert_eq!(settled(&[NEXT, OLD]), NEXT);
        assert_eq!(settled(&[JOURNAL, OLD]), JOURNAL, "in place already");
        assert_eq!(settled(&[OLD]), OLD);
        assert_eq!(settled(&[JOURNAL, NEXT, OLD]), JOURNAL);
    }
}
