//! What is below the horizon: seals, the records that were kept, and archives.

use std::collections::HashMap;

use super::{
    AuditError, Flaw, Violation,
    archive::AsyncSeen,
    lines::Line,
    reading::Part,
    records::{PAGE, violation},
    streams::Streams,
    verify::Verifier,
};
use crate::{
    compact::fold::Fold,
    journal::{BatchLink, Commitment, Horizon, JournalError, Offset, Seal},
    model::{Hash, StreamId},
};

impl Verifier<'_> {
    /// Holds what stands for archived events against the archives that are at hand, and takes it
    /// over as what the rest of the journal goes on from.
    pub(super) async fn below(&mut self) -> Result<(), JournalError> {
        let Some(horizon) = self.horizon.clone() else {
            return Ok(());
        };
        self.report.archived = horizon.offset;
        self.meet(&horizon);
        let archived = self.read_archives(&horizon).await?;
        let kept = self.read_seals(&horizon, archived.as_ref()).await?;
        self.read_kept(horizon.offset, &kept).await
    }

    /// A kept head may end where an archive does.
    fn meet(&mut self, horizon: &Horizon) {
        let Some(offset) = self.kept.and_then(|kept| kept.offset) else {
            return;
        };
        let ends = |archive: &&crate::journal::Archive| offset.checked_add(1) == Some(archive.end);
        self.met = horizon
            .archives
            .iter()
            .find(ends)
            .map(|archive| archive.link);
    }

    /// Every archived event folded, where every archive is at hand.
    async fn read_archives(&mut self, horizon: &Horizon) -> Result<Option<Fold>, JournalError> {
        let at_hand = |name: &String| {
            let dir = self.audit.archives;
            dir.is_some_and(|dir| dir.join(name).is_file())
        };
        let names = horizon.archives.iter().map(|archive| archive.file_name());
        self.report.unread = names.filter(|name| !at_hand(name)).collect();
        if !self.report.unread.is_empty() {
            return Ok(None);
        }
        let mut seen = Archived {
            fold: Fold::default(),
            wanted: self.kept.and_then(|kept| kept.offset),
            met: None,
        };
        match self.audit.each_archive(horizon, &mut seen).await {
            Ok(()) => {
                self.met = self.met.or(seen.met);
                Ok(Some(seen.fold))
            }
            Err(AuditError::Violation(violation)) => {
                self.findings.add_beside(violation);
                Ok(None)
            }
            Err(AuditError::Journal(JournalError::Damaged { place, why })) => {
                self.findings.add_beside(violation(&place, &why));
                Ok(None)
            }
            Err(AuditError::Journal(error)) => Err(error),
            Err(other) => Err(JournalError::Storage(other.to_string())),
        }
    }

    /// Takes over the seals; those of streams whose records were kept come back.
    async fn read_seals(
        &mut self,
        horizon: &Horizon,
        archived: Option<&Fold>,
    ) -> Result<HashMap<StreamId, Seal>, JournalError> {
        let mut commitment = Commitment::new(&horizon.link, &horizon.archives);
        let (mut kept, mut after, mut count) = (HashMap::new(), None, 0_usize);
        loop {
            let page = match self.audit.journal.seals(after.as_ref(), PAGE).await {
                Err(JournalError::Damaged { place, why }) => {
                    self.findings.add_beside(violation(&place, &why));
                    return Ok(kept);
                }
                page => page?,
            };
            let Some(last) = page.last() else { break };
            after = Some(last.stream.clone());
            count = count.saturating_add(page.len());
            for seal in page {
                commitment.add(&seal)?;
                self.take_seal(&seal, archived);
                if seal.is_kept() {
                    kept.insert(seal.stream.clone(), seal);
                }
            }
        }
        let missing = archived.is_some_and(|fold| fold.streams() != count);
        if missing || commitment.hash() != horizon.sealed {
            let what = "what stands for the archived events is not what it was";
            self.findings.add_beside(Violation::of(Flaw::Changed, what));
        }
        Ok(kept)
    }

    fn take_seal(&mut self, seal: &Seal, archived: Option<&Fold>) {
        if archived.is_some_and(|fold| !fold.bears_out(seal)) {
            let what = "what stands for its archived events is not what they come to";
            let found = Violation::of(Flaw::Changed, what);
            let last = seal.next_seq.saturating_sub(1);
            self.findings
                .add_beside(found.in_stream(seal.stream.clone(), last));
        }
        self.streams.resume(seal);
    }

    /// Follows the records that were kept, which have to go as far as their seals say.
    async fn read_kept(
        &mut self,
        end: Offset,
        kept: &HashMap<StreamId, Seal>,
    ) -> Result<(), JournalError> {
        let (mut followed, mut from) = (Streams::default(), 0);
        while from < end && !self.findings.is_full() {
            let page = match self.audit.journal.read_stored(from, PAGE).await {
                Err(JournalError::Damaged { place, why }) => {
                    self.findings.add(violation(&place, &why));
                    return Ok(());
                }
                page => page?,
            };
            from = page
                .last()
                .map_or(end, |last| last.offset.saturating_add(1));
            for stored in page.iter().take_while(|stored| stored.offset < end) {
                self.report.records = self.report.records.saturating_add(1);
                if !kept.contains_key(&stored.stream) {
                    let what = "its stream is archived up to the horizon";
                    self.findings.accuse(Flaw::Reordered, stored, what);
                }
                match stored.record() {
                    Ok(record) => self.named_blobs(&record).await?,
                    Err(JournalError::Damaged { why, .. }) => {
                        self.findings.accuse(Flaw::Changed, stored, why);
                    }
                    Err(other) => return Err(other),
                }
                followed.follow(stored, false, &mut self.findings);
            }
        }
        followed.name_gaps(&mut self.findings);
        for seal in kept.values() {
            self.hold_kept(seal, &followed);
        }
        Ok(())
    }

    fn hold_kept(&mut self, seal: &Seal, followed: &Streams) {
        let head = followed.heads.get(&seal.stream);
        let whole = head.is_some_and(|h| h.next_seq == seal.next_seq && h.hash == seal.hash);
        let last = seal.next_seq.saturating_sub(1);
        if !whole && !self.findings.is_named(&seal.stream, last) {
            let what = "its events before the horizon are not those that were kept";
            let found = Violation::of(Flaw::Missing, what);
            self.findings
                .add(found.in_stream(seal.stream.clone(), last));
        }
    }
}

/// What archives hold, as it is read.
struct Archived {
    fold: Fold,
    /// The offset of the head kept elsewhere.
    wanted: Option<Offset>,
    /// The link of the batch that ends there.
    met: Option<Hash>,
}

impl AsyncSeen for &mut Archived {
    async fn see(&mut self, _: Line, part: Part) -> Result<(), AuditError> {
        if let Part::Batch(BatchLink { last, hash, .. }, records) = part {
            if self.wanted == Some(last) {
                self.met = Some(hash);
            }
            records
                .iter()
                .try_for_each(|stored| self.fold.take(stored))?;
        }
        Ok(())
    }
}
