//! How the tree is laid out: what it says of itself, and what a batch looks like in it.

use crate::{
    durable::sled_error,
    journal::{
        Horizon, JournalError,
        sled_keys::{self as keys, Place},
        stage::Batch,
    },
};

pub(super) fn check_layout(tree: &sled::Tree) -> Result<(), JournalError> {
    let what = || "the journal's layout".to_owned();
    match tree.get(keys::FORMAT).map_err(sled_error)? {
        Some(value) => match <[u8; 4]>::try_from(&*value).map(u32::from_be_bytes) {
            Ok(keys::LAYOUT | keys::COMPACTED) => Ok(()),
            Ok(found) if found > keys::COMPACTED => Err(JournalError::Newer {
                what: what(),
                found,
                known: keys::COMPACTED,
            }),
            _ => Err(JournalError::Damaged {
                place: what(),
                why: "no version wrote it".to_owned(),
            }),
        },
        None if tree.is_empty() => Ok(()),
        None => Err(JournalError::Damaged {
            place: what(),
            why: "it is missing".to_owned(),
        }),
    }
}

/// The horizon and its archives, where the layout has one.
pub(super) fn read_horizon(tree: &sled::Tree) -> Result<Option<Horizon>, JournalError> {
    let layout = tree.get(keys::FORMAT).map_err(sled_error)?;
    let compacted = layout.is_some_and(|value| *value == keys::COMPACTED.to_be_bytes());
    let value = tree.get(keys::HORIZON).map_err(sled_error)?;
    let (Some(value), true) = (&value, compacted) else {
        return match (value, compacted) {
            (None, false) => Ok(None),
            _ => Err(keys::damaged(
                keys::HORIZON,
                "it is not what the layout says",
            )),
        };
    };
    let (mut horizon, archives) = keys::horizon_of(value)?;
    for entry in tree.scan_prefix(keys::ARCHIVES) {
        let (key, value) = entry.map_err(sled_error)?;
        horizon.archives.push(keys::archive_of(&key, &value)?);
    }
    if horizon.archives.len() as u64 == archives {
        Ok(Some(horizon))
    } else {
        Err(keys::damaged(keys::HORIZON, "archives of it are not named"))
    }
}

/// A batch as the tree takes it.
pub(in crate::journal) fn changes(batch: &Batch) -> sled::Batch {
    let mut changes = sled::Batch::default();
    for stored in &batch.records {
        let key = keys::place(&stored.stream, stored.seq);
        let place = Place {
            offset: stored.offset,
            hash: stored.hash,
        };
        changes.insert(&keys::record(stored.offset), stored.bytes.as_slice());
        changes.insert(key.as_slice(), place.to_value(&key));
    }
    let key = keys::batch(batch.link.first);
    changes.insert(&key, keys::link_value(&batch.link, &key));
    if batch.link.first == 0 {
        changes.insert(keys::FORMAT, &keys::LAYOUT.to_be_bytes());
    }
    changes
}
