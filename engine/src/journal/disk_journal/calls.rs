//! [`Journal`] and [`ChainedJournal`] for the journal on disk: passes each call to the writer, the
//! reader or the index.

use std::sync::PoisonError;

use async_trait::async_trait;

use super::{BASE_LEAST, DiskJournal, unexpected};
use crate::{
    blocking::blocking,
    journal::{
        Append, BatchLink, ChainedJournal, Entry, Journal, JournalError, Missing, Offset, Record,
        States, StatesUpdate, Stored, StreamHead,
        log::{self, AloneWrite, LogWriteReply, LogWriteRequest, SegmentReader},
        stage::StagedDraft,
        states::EncodedStates,
    },
    model::{Hash, StreamId},
};

#[async_trait]
impl Journal for DiskJournal {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        match self
            .write(LogWriteRequest::Append(StagedDraft::all(batch)?))
            .await?
        {
            LogWriteReply::Appended(records) => Ok(records),
            _ => Err(unexpected()),
        }
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let stream = stream.clone();
        self.with_reader(move |reader| reader.read(&stream, from_seq, limit))
            .await
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        let read_page = move |reader: &SegmentReader| {
            let page = reader.read_stored(from, limit)?;
            page.iter().map(Stored::record).collect()
        };
        self.with_reader(read_page).await
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        self.with_reader(SegmentReader::streams).await
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let read_page = move |reader: &SegmentReader| {
            let page = reader.read_stored(from, limit)?;
            page.iter().map(Entry::of).collect()
        };
        self.with_reader(read_page).await
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        if at.is_none() {
            let loaded = self
                .found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(loaded) = loaded {
                return Ok(loaded);
            }
        }
        self.with_reader(move |reader| reader.base(at.unwrap_or(Offset::MAX)))
            .await
    }

    fn publish(&self, update: StatesUpdate) {
        let reader = self.reader.try_read();
        let Some(reader) = reader.ok().and_then(|reader| reader.clone()) else {
            return;
        };
        if let Some(index) = &self.index {
            // Without the link, the index is not used when it is opened again.
            let link = reader.link_before(update.as_of).flatten();
            index.publish(StatesUpdate { link, ..update });
        }
    }

    fn wants_all_states(&self) -> bool {
        self.index.is_some() && !self.index_was_found
    }

    fn base_is_due(&self) -> bool {
        let reader = self.reader.try_read();
        self.writer.is_some()
            && reader.is_ok_and(|reader| {
                reader
                    .as_ref()
                    .is_some_and(|reader| reader.outgrew_base(BASE_LEAST))
            })
    }

    async fn write_base(&self, mut states: States) -> Result<Option<Hash>, JournalError> {
        let as_of = states.as_of;
        let link = self
            .with_reader(move |reader| Ok(reader.link_before(as_of)))
            .await?;
        // No batch may end there, if batches of several callers were written together.
        let Some(link) = link else { return Ok(None) };
        states.link = link;
        let (hash, parts) = blocking(move || {
            let states = EncodedStates::new(&states)?;
            Ok((states.hash(), log::base::parts(&states)?))
        })
        .await?;
        let total = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        for (part, bytes) in parts {
            match self
                .write_alone(AloneWrite::Base { part, bytes, total })
                .await?
            {
                LogWriteReply::Part(true) => {}
                LogWriteReply::Part(false) => return Ok(None),
                _ => return Err(unexpected()),
            }
        }
        Ok(Some(hash))
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        self.with_reader(|reader| Ok(reader.missing())).await
    }
}

#[async_trait]
impl ChainedJournal for DiskJournal {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        self.with_reader(move |reader| reader.read_stored(from, limit))
            .await
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        self.with_reader(move |reader| reader.read_links(from, limit))
            .await
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        self.with_reader(|reader| Ok(reader.head())).await
    }

    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        let request = batch
            .into_iter()
            .map(Stored::parse)
            .collect::<Result<_, _>>()?;
        match self.write_alone(AloneWrite::Restore(request)).await? {
            LogWriteReply::Restored(link) => Ok(link),
            _ => Err(unexpected()),
        }
    }

    async fn restore_missing(
        &self,
        missing: Missing,
        link: Hash,
        heads: Vec<StreamHead>,
    ) -> Result<(), JournalError> {
        self.write_alone(AloneWrite::Gap {
            missing,
            link,
            heads,
        })
        .await
        .map(drop)
    }
}
