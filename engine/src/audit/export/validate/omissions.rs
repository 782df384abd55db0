//! Checks the lines of an export that report omissions.

use super::{
    super::{
        super::{AuditError, Flaw, Violation, payloads_of},
        omissions::{BaseLine, LostBlobLine, MissingLine, StateLine, StreamLine},
    },
    ExportPart, ExportValidator, changed,
};
use crate::{
    journal::{BatchLink, Missing, Offset, States, StreamHead, base_hash},
    model::Hash,
};

/// The lines that were announced, and how many have not been read yet.
pub(super) enum Announced {
    /// The stream lines of a missing range.
    Streams(u64, Missing, Hash, Vec<StreamHead>),
    /// The state lines of a base.
    States(u64, States, Hash),
}

impl ExportValidator {
    /// The offset of the next event; an error in the middle of a batch.
    fn next(&self) -> Result<Offset, AuditError> {
        if self.batch.is_empty() && self.unclaimed.is_empty() {
            return Ok(self.link.map_or(0, |link| link.last.saturating_add(1)));
        }
        let message = "the batch before it has no link";
        Err(Violation::of(Flaw::Missing, message).into())
    }

    pub(super) fn lost_blob(&mut self, line: &LostBlobLine) -> Result<ExportPart, AuditError> {
        let hash = line.read().ok_or_else(|| changed("a hash in it is none"))?;
        if self.known_blobs.insert(hash) {
            self.unclaimed.insert(hash);
            self.lacks.blobs.push(hash);
        }
        Ok(ExportPart::Nothing)
    }

    pub(super) fn missing(&mut self, line: &MissingLine) -> Result<ExportPart, AuditError> {
        let (range, link) = line
            .read()
            .ok_or_else(|| changed("it is not such a range"))?;
        if range.from != self.next()? {
            let message = "the range does not begin where the events before it end";
            return Err(Violation::of(Flaw::Reordered, message)
                .at(range.from)
                .into());
        }
        self.lacks.missing.push(range.clone());
        // Of the last batch in the range only its end and its link are known.
        let last = range.to.saturating_sub(1);
        self.link = Some(BatchLink {
            first: last,
            last,
            prev: Hash::default(),
            hash: link,
        });
        self.announced = Some(Announced::Streams(line.streams, range, link, Vec::new()));
        Ok(self.complete())
    }

    pub(super) fn stream(&mut self, line: &StreamLine) -> Result<ExportPart, AuditError> {
        let head = line.read().ok_or_else(|| changed("it names no stream"))?;
        match &mut self.announced {
            Some(Announced::Streams(left, _, _, heads)) => {
                heads.push(head);
                *left = left.saturating_sub(1);
                Ok(self.complete())
            }
            _ => Err(unannounced()),
        }
    }

    pub(super) fn base(&mut self, line: &BaseLine) -> Result<ExportPart, AuditError> {
        let (states, hash) = line.read().ok_or_else(|| changed("a hash in it is none"))?;
        let ends = |link: Option<BatchLink>| link.map(|link| (link.last, link.hash));
        if states.as_of != self.next()? || ends(states.link) != ends(self.link) {
            let message = "the base does not stand where the events before it end";
            return Err(Violation::of(Flaw::Reordered, message)
                .at(states.as_of)
                .into());
        }
        self.announced = Some(Announced::States(line.states, states, hash));
        self.complete_base()
    }

    pub(super) fn state(&mut self, line: &StateLine) -> Result<ExportPart, AuditError> {
        let state = line.read()?.ok_or_else(|| changed("it is not a state"))?;
        let claimed = self.claim(payloads_of(&state));
        claimed.map_err(|(flaw, what)| Violation::of(flaw, what))?;
        match &mut self.announced {
            Some(Announced::States(left, states, _)) => {
                states.streams.push(state);
                *left = left.saturating_sub(1);
                self.complete_base()
            }
            _ => Err(unannounced()),
        }
    }

    /// The missing range, once every announced stream was read.
    fn complete(&mut self) -> ExportPart {
        match self.announced.take() {
            Some(Announced::Streams(0, range, link, heads)) => {
                ExportPart::Missing(range, link, heads)
            }
            other => {
                self.announced = other;
                ExportPart::Nothing
            }
        }
    }

    /// The base, once every announced state was read; the states must match its hash.
    fn complete_base(&mut self) -> Result<ExportPart, AuditError> {
        match self.announced.take() {
            Some(Announced::States(0, states, hash)) => {
                if base_hash(&states)? != hash {
                    let message = "the states of the base do not match its hash";
                    return Err(Violation::of(Flaw::Changed, message)
                        .at(states.as_of)
                        .into());
                }
                self.uncommitted.insert(states.as_of, hash);
                Ok(ExportPart::Base(states))
            }
            other => {
                self.announced = other;
                Ok(ExportPart::Nothing)
            }
        }
    }
}

fn unannounced() -> AuditError {
    Violation::of(Flaw::Reordered, "nothing before it announced such a line").into()
}
