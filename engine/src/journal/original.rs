//! A journal's files as they were before it was opened.
//!
//! Sled mends what it opens: what it takes for a torn write it cuts off or writes over. Whether it
//! was one is known only afterwards, from the chain and the tail. So the files are copied before
//! (where the file system shares blocks, that costs nothing), put back where opening finds damage,
//! and forgotten where it succeeds: what is damaged stays as it was found, for whoever repairs it.
//!
//! An opening that was killed is undone by the next one, unless the machine was restarted in
//! between: nobody knows what was left of the copy then.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::files;

/// The copy, complete once it bears this name.
const KEPT: &str = "opening";
/// The copy while it is made or removed.
const PART: &str = "opening.part";
/// In the copy: the boot of the machine in which it was made.
const BOOT: &str = "boot";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A complete copy of a journal's files, beside them.
pub(super) struct Original {
    dir: PathBuf,
}

impl Original {
    /// Undoes an opening that was killed, and copies the files in `dir`. Nobody may have the
    /// journal open. Blocks.
    ///
    /// # Errors
    /// Where there is no room for the copy or the folder cannot be written. The files are as they
    /// were then.
    pub(super) fn keep(dir: &Path) -> io::Result<Self> {
        files::create_dir(dir)?;
        let original = Self {
            dir: dir.to_owned(),
        };
        if original.kept().is_dir() {
            original.undo()?;
        }
        let part = original.part();
        remove(&part)?;
        let made = copy(dir, &part)
            .and_then(|()| fs::copy(BOOT_ID, part.join(BOOT)))
            .and_then(|_| fs::rename(&part, original.kept()));
        made.map(|()| original)
            .inspect_err(|_| drop(remove(&dir.join(PART))))
    }

    /// Puts the files back as they were; durable when it returns. Nobody may have the journal
    /// open. Blocks.
    pub(super) fn put_back(&self) -> io::Result<()> {
        for name in names(&self.kept())? {
            if name != BOOT {
                self.put_one_back(&name)?;
            }
        }
        for name in names(&self.dir)? {
            if name.starts_with("snap.") && !self.kept().join(&name).exists() {
                fs::remove_file(self.dir.join(&name))?;
            }
        }
        files::sync_dir(&self.dir)?;
        self.forget()
    }

    /// Removes the copy: the journal may be written from now on. Blocks.
    pub(super) fn forget(&self) -> io::Result<()> {
        remove(&self.part())?;
        fs::rename(self.kept(), self.part())?;
        remove(&self.part())
    }

    fn undo(&self) -> io::Result<()> {
        let boot = fs::read(self.kept().join(BOOT)).unwrap_or_default();
        if fs::read(BOOT_ID)? == boot {
            self.put_back()
        } else {
            self.forget()
        }
    }

    /// The copy stays whole until all files are back, so that this can be done again.
    fn put_one_back(&self, name: &str) -> io::Result<()> {
        let (copy, back) = (self.kept().join(name), self.dir.join("opening.back"));
        File::open(&copy)?.sync_all()?;
        remove(&back)?;
        fs::hard_link(&copy, &back)?;
        fs::rename(&back, self.dir.join(name))
    }

    fn kept(&self) -> PathBuf {
        self.dir.join(KEPT)
    }

    fn part(&self) -> PathBuf {
        self.dir.join(PART)
    }
}

/// Copies the files in `from`, not its folders, into a new folder. Blocks.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    files::create_dir(to)?;
    for name in names(from)? {
        fs::copy(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

/// Removes a file or a folder, also one that is not there. Blocks.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The files in a folder. One whose name is no text is nobody's here.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("db"), "old").unwrap();
        fs::write(dir.path().join("snap.1"), "snapshot").unwrap();
        dir
    }

    fn content(dir: &tempfile::TempDir) -> Vec<(String, String)> {
        let mut all: Vec<_> = names(dir.path())
            .unwrap()
            .into_iter()
            .map(|name| {
                let text = fs::read_to_string(dir.path().join(&name)).unwrap();
                (name, text)
            })
            .collect();
        all.sort();
        all
    }

    fn mend(dir: &tempfile::TempDir) {
        fs::write(dir.path().join("db"), "new").unwrap();
        fs::remove_file(dir.path().join("snap.1")).unwrap();
        fs::write(dir.path().join("snap.2"), "another").unwrap();
    }

    #[test]
    fn what_was_mended_is_put_back_and_no_copy_is_left() {
        let dir = folder();
        let before = content(&dir);
        let original = Original::keep(dir.path()).unwrap();
        mend(&dir);
        original.put_back().unwrap();
        assert_eq!(content(&dir), before);
        assert!(!dir.path().join(KEPT).exists() && !dir.path().join(PART).exists());
    }

    #[test]
    fn an_opening_that_was_killed_is_undone_by_the_next() {
        let dir = folder();
        let before = content(&dir);
        Original::keep(dir.path()).unwrap();
        mend(&dir);
        Original::keep(dir.path()).unwrap().forget().unwrap();
        assert_eq!(content(&dir), before);
    }

    #[test]
    fn a_copy_made_before_the_machine_restarted_is_not_trusted() {
        let dir = folder();
        Original::keep(dir.path()).unwrap();
        fs::write(dir.path().join(KEPT).join(BOOT), "another boot\n").unwrap();
        mend(&dir);
        let mended = content(&dir);
        Original::keep(dir.path()).unwrap().forget().unwrap();
        assert_eq!(content(&dir), mended);
    }

    #[test]
    fn a_copy_that_was_cut_short_is_made_anew() {
        let dir = folder();
        fs::create_dir(dir.path().join(PART)).unwrap();
        fs::write(dir.path().join(PART).join("db"), "o").unwrap();
        let before = content(&dir);
        let original = Original::keep(dir.path()).unwrap();
        original.put_back().unwrap();
        assert_eq!(content(&dir), before);
    }
}
