//! Replaces damaged segments by repaired ones. A crash at any moment leaves one of the two, and
//! another repair continues.

use std::io;

use super::{LogChange, log_files::content};
use crate::journal::{
    JournalError,
    log::{FOLDER, disk::LogDisk, error::storage},
};

/// The folder for damaged files, below the state directory.
const ASIDE: &str = "damaged";
/// The temporary name of a repaired segment.
const PART: &str = "repair.part";

/// Carries out one change; durable when it returns. Returns the new names of the damaged files.
pub(super) fn carry_out(
    disk: &dyn LogDisk,
    change: &LogChange,
) -> Result<Vec<String>, JournalError> {
    let mut set_aside = Vec::new();
    for name in &change.aside {
        set_aside.push(link_damaged(disk, name)?);
    }
    let in_place = change.segment.as_ref().map(|(name, _)| name.clone());
    if let Some((name, bytes)) = &change.segment {
        put(disk, name, bytes).map_err(|e| storage(name, &e))?;
    }
    let gone = change
        .aside
        .iter()
        .filter(|name| Some(*name) != in_place.as_ref());
    for name in gone {
        remove(disk, name).map_err(|e| storage(name, &e))?;
    }
    Ok(set_aside)
}

/// Links a damaged file to a free name in the folder for damaged files, and returns that name.
fn link_damaged(disk: &dyn LogDisk, name: &str) -> Result<String, JournalError> {
    let failed = |e: io::Error| storage(name, &e);
    let bytes = content(disk, name)?;
    disk.make_folder(ASIDE).map_err(failed)?;
    let mut number = 0_u32;
    loop {
        let linked = match number {
            0 => format!("{ASIDE}/{}", name.replace('/', "-")),
            _ => format!("{ASIDE}/{}.{number}", name.replace('/', "-")),
        };
        match content(disk, &linked)? {
            None => disk.link(name, &linked).map_err(failed)?,
            // An interrupted repair has already linked it.
            Some(there) if Some(&there) == bytes.as_ref() => {}
            Some(_) => {
                number = number.saturating_add(1);
                continue;
            }
        }
        disk.sync_folder(ASIDE).map_err(failed)?;
        disk.sync_folder("").map_err(failed)?;
        return Ok(linked);
    }
}

fn put(disk: &dyn LogDisk, name: &str, bytes: &[u8]) -> io::Result<()> {
    // The table describes the old content.
    disk.remove(&format!("{name}.table"))?;
    disk.remove(PART)?;
    disk.make_folder(FOLDER)?;
    let file = disk.create(PART)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    disk.sync_folder(FOLDER)?;
    disk.rename(PART, name)?;
    disk.sync_folder(FOLDER)?;
    disk.sync_folder("")
}

fn remove(disk: &dyn LogDisk, name: &str) -> io::Result<()> {
    disk.remove(&format!("{name}.table"))?;
    disk.remove(name)?;
    disk.sync_folder(name.split('/').next().unwrap_or(FOLDER))
}
