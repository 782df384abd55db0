//! Makes the files of a compacted journal, beside those of the journal it is made from.
//!
//! Everything blocks. Until [`SledBuilder::finish`] has returned, what is in the folder is worth
//! nothing, so that nothing is synced before.

use std::{fs::File, path::Path};

use super::{
    Append, BatchLink, Horizon, JournalError, Seal, Stored, sled_keys as keys,
    sled_replay::replay,
    sled_store::{Store, changes},
    stage::{Batch, Draft, Stage, Tip},
    tail::Tail,
};
use crate::{
    durable::Durable,
    files,
    model::{Event, StreamId},
};

/// What is given to sled at once, in bytes, roughly.
const CHUNK: usize = 256 << 10;

/// A journal in the making.
pub(crate) struct SledBuilder {
    durable: Durable,
    batch: sled::Batch,
    weight: usize,
    tip: Tip,
}

impl SledBuilder {
    /// Begins in an empty folder with a horizon.
    pub(crate) fn begin(dir: &Path, horizon: &Horizon) -> Result<Self, JournalError> {
        let durable = Durable::open(dir, File::sync_data)?;
        let mut builder = Self {
            durable,
            batch: sled::Batch::default(),
            weight: 0,
            tip: Tip {
                next: horizon.offset,
                link: Some(horizon.link),
            },
        };
        for archive in &horizon.archives {
            let key = keys::archive(archive.first);
            builder.put(&key, keys::archive_value(archive, &key)?)?;
        }
        builder.put(keys::FORMAT, keys::COMPACTED.to_be_bytes().to_vec())?;
        builder.put(keys::HORIZON, keys::horizon_value(horizon)?)?;
        Ok(builder)
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), JournalError> {
        self.weight = self
            .weight
            .saturating_add(key.len())
            .saturating_add(value.len());
        self.batch.insert(key, value);
        if self.weight < CHUNK {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.weight = 0;
        self.durable.apply(std::mem::take(&mut self.batch))
    }

    /// Takes in a seal; they come in the order of their keys.
    pub(crate) fn seal(&mut self, seal: &Seal) -> Result<(), JournalError> {
        let key = keys::seal(&seal.stream);
        self.put(&key, keys::seal_value(seal, &key)?)
    }

    /// Takes in a record below the horizon.
    pub(crate) fn keep(&mut self, stored: &Stored) -> Result<(), JournalError> {
        let key = keys::place(&stored.stream, stored.seq);
        let place = keys::Place {
            offset: stored.offset,
            hash: stored.hash,
        };
        self.put(&key, place.to_value(&key))?;
        self.put(&keys::record(stored.offset), stored.bytes.clone())
    }

    /// Takes in a batch above the horizon, which has to follow the one before.
    pub(crate) fn batch(
        &mut self,
        link: BatchLink,
        records: &[Stored],
    ) -> Result<(), JournalError> {
        if link.first != self.tip.next || Some(link.prev) != self.tip.link.map(|link| link.hash) {
            return Err(JournalError::Damaged {
                place: format!("the batch at offset {}", link.first),
                why: "it does not follow the one before it".to_owned(),
            });
        }
        records.iter().try_for_each(|stored| self.keep(stored))?;
        let key = keys::batch(link.first);
        self.put(&key, keys::link_value(&link, &key))?;
        self.tip = Tip {
            next: link.last.saturating_add(1),
            link: Some(link),
        };
        Ok(())
    }

    /// Appends an event of the journal's own stream, makes everything durable and looks whether
    /// the journal opens as it should.
    pub(crate) fn finish(mut self, dir: &Path, event: Event) -> Result<(), JournalError> {
        self.flush()?;
        let batch = self.last(event)?;
        self.durable.apply(changes(&batch))?;
        self.durable.sync()?;
        drop(self.durable);
        check(dir, &batch)?;
        sync_all(dir).map_err(|e| JournalError::Storage(format!("{}: {e}", dir.display())))
    }

    fn last(&self, event: Event) -> Result<Batch, JournalError> {
        let (store, _) = Store::open(self.durable.tree().clone())?;
        let head = store.head(&StreamId::Journal)?;
        let append = Append {
            stream: StreamId::Journal,
            expected_seq: head.next_seq,
            events: vec![event],
        };
        let mut stage = Stage::new(&self.tip);
        stage.admit(Draft::all(vec![append])?, |stream| store.head(stream))?;
        let nothing = || JournalError::Storage("nothing was appended".to_owned());
        stage.seal().ok_or_else(nothing)
    }
}

/// Opens the new files as a journal is opened, and closes them again.
fn check(dir: &Path, newest: &Batch) -> Result<(), JournalError> {
    let durable = Durable::open(dir, File::sync_data)?;
    let opened = Tail::open(dir, File::sync_data);
    let (_, found) = opened.map_err(|e| JournalError::Storage(e.to_string()))?;
    let (_, tip) = replay(&durable, found)?;
    if tip.link == Some(newest.link) && tip.next == newest.tip.next {
        return Ok(());
    }
    Err(JournalError::Damaged {
        place: dir.display().to_string(),
        why: "what was written does not read back".to_owned(),
    })
}

fn sync_all(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            File::open(path)?.sync_all()?;
        }
    }
    files::sync_dir(dir)?;
    files::sync_parent(dir)
}
