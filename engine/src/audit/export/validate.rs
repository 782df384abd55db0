//! Checks the lines of an export, each against the lines before it.

mod omissions;

use std::collections::{HashMap, HashSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use self::omissions::Announced;
use super::{
    super::{AuditAnchor, AuditError, Flaw, InvalidHead, Violation, payloads},
    Omissions,
    line::{BLOB_MAX, BatchLine, BlobLine, EventLine, HeadLine},
    lines::{ExportLine, parse},
    omissions::UndecodableLine,
};
use crate::{
    journal::{BatchLink, Missing, Offset, States, Stored, StreamHead},
    model::{EventKind, Hash, Payload},
};

/// The most bytes of records in one batch; no batch was ever written larger.
const BATCH_MAX: usize = 256 << 20;

/// What a line adds to the journal.
pub(super) enum ExportPart {
    /// Nothing yet: the line belongs to a later one.
    Nothing,
    /// The content of a blob.
    Blob(Vec<u8>),
    /// A whole batch.
    Batch(Vec<Stored>),
    /// A missing range, the link that the next batch continues, and the head of each stream there.
    Missing(Missing, Hash, Vec<StreamHead>),
    /// A base.
    Base(States),
    /// The audit anchor at the end.
    Head(AuditAnchor),
}

/// State of the validation of the lines after the header.
pub(super) struct ExportValidator {
    journal_id: String,
    known_blobs: HashSet<Hash>,
    /// Blobs that no event has named yet.
    unclaimed: HashSet<Hash>,
    batch: Vec<Stored>,
    bytes: usize,
    events: u64,
    link: Option<BatchLink>,
    /// The lines that a missing range or a base announced and that have not been read yet.
    announced: Option<Announced>,
    /// Bases that no event has committed to yet.
    uncommitted: HashMap<Offset, Hash>,
    lacks: Omissions,
}

impl ExportValidator {
    /// The state before the first line after the header.
    pub(super) fn new(journal_id: String) -> Self {
        Self {
            journal_id,
            known_blobs: HashSet::new(),
            unclaimed: HashSet::new(),
            batch: Vec::new(),
            bytes: 0,
            events: 0,
            link: None,
            announced: None,
            uncommitted: HashMap::new(),
            lacks: Omissions::default(),
        }
    }

    /// The link of the newest batch.
    pub(super) fn link(&self) -> Option<BatchLink> {
        self.link
    }

    /// How many events were read.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// How many different blobs were read.
    pub(super) fn blobs(&self) -> u64 {
        let lost = self.lacks.blobs.len() as u64;
        (self.known_blobs.len() as u64).saturating_sub(lost)
    }

    /// What the export reports as missing.
    pub(super) fn omissions(&self) -> Omissions {
        self.lacks.clone()
    }

    /// Checks one line; the head is the last.
    pub(super) fn take(&mut self, line: &ExportLine) -> Result<ExportPart, AuditError> {
        let kind = line.kind.as_str();
        if self.announced.is_some() && !["stream", "state", "blob", "lost_blob"].contains(&kind) {
            return Err(missing("lines that were announced are missing before it"));
        }
        match kind {
            "blob" => self.blob(&parse(&line.text)?),
            "lost_blob" => self.lost_blob(&parse(&line.text)?),
            "missing" => self.missing(&parse(&line.text)?),
            "stream" => self.stream(&parse(&line.text)?),
            "base" => self.base(&parse(&line.text)?),
            "state" => self.state(&parse(&line.text)?),
            "undecodable" => self.undecodable(&parse(&line.text)?),
            "event" => self.event(&parse(&line.text)?),
            "batch" => self.batch(&parse(&line.text)?),
            "head" => self.head(&parse(&line.text)?).map(ExportPart::Head),
            _ => Err(changed("no export has such a line")),
        }
    }

    fn blob(&mut self, line: &BlobLine) -> Result<ExportPart, AuditError> {
        let content = BASE64_STANDARD
            .decode(&line.content)
            .map_err(|_| changed("its content is not base64"))?;
        let hash = Hash::of(&content);
        let len = content.len() as u64;
        if hash.to_string() != line.hash || len != line.len || len > BLOB_MAX {
            return Err(changed("its content does not match its hash"));
        }
        if self.known_blobs.insert(hash) {
            self.unclaimed.insert(hash);
        }
        Ok(ExportPart::Blob(content))
    }

    fn event(&mut self, line: &EventLine) -> Result<ExportPart, AuditError> {
        let stored = self.stored(&line.record)?;
        if EventLine::new(&stored)? != *line {
            let message = "its fields differ from its record";
            return Err(Violation::of_record(Flaw::Changed, &stored, message).into());
        }
        let record = stored.record()?;
        let claimed = self.claim(payloads(&record.event.kind));
        claimed.map_err(|(flaw, what)| Violation::of_record(flaw, &stored, what))?;
        if let EventKind::BaseWritten { as_of, hash, .. } = record.event.kind
            && self.uncommitted.get(&as_of) == Some(&hash)
        {
            self.uncommitted.remove(&as_of);
        }
        self.batch.push(stored);
        Ok(ExportPart::Nothing)
    }

    fn undecodable(&mut self, line: &UndecodableLine) -> Result<ExportPart, AuditError> {
        let stored = self.stored(&line.record)?;
        if UndecodableLine::new(&stored) != *line || !self.unclaimed.is_empty() {
            let message = "its fields differ from its record";
            return Err(Violation::of_record(Flaw::Changed, &stored, message).into());
        }
        self.lacks.undecodable.push(stored.offset);
        self.batch.push(stored);
        Ok(ExportPart::Nothing)
    }

    fn stored(&mut self, record: &str) -> Result<Stored, AuditError> {
        let bytes = BASE64_STANDARD
            .decode(record)
            .map_err(|_| changed("its record is not base64"))?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BATCH_MAX {
            return Err(changed("its batch is larger than any that was written"));
        }
        Ok(Stored::parse(bytes)?)
    }

    /// Every blob that the payloads name must come before them, and they must name every blob
    /// before them.
    fn claim(&mut self, payloads: Vec<&Payload>) -> Result<(), (Flaw, String)> {
        for payload in payloads {
            let Payload::Blob { hash, .. } = payload else {
                continue;
            };
            if !self.known_blobs.contains(hash) {
                let message = format!("the blob {hash} that it names is missing");
                return Err((Flaw::Missing, message));
            }
            self.unclaimed.remove(hash);
        }
        if self.unclaimed.is_empty() {
            return Ok(());
        }
        let message = "it does not name the blob before it";
        Err((Flaw::Reordered, message.to_owned()))
    }

    fn batch(&mut self, line: &BatchLine) -> Result<ExportPart, AuditError> {
        let link = line.link().ok_or_else(|| changed("a hash in it is none"))?;
        if !self.unclaimed.is_empty() {
            let message = "a blob before it is named by no event";
            return Err(Violation::of(Flaw::Reordered, message).into());
        }
        let prev = self
            .link
            .map(|last_link| last_link.hash)
            .unwrap_or_default();
        let hashes = self.batch.iter().map(|record| &record.hash);
        let computed_link = BatchLink::new(prev, link.first, link.last, hashes);
        let first = self.batch.first().map(|record| record.offset);
        let last = self.batch.last().map(|record| record.offset);
        if computed_link != link || first != Some(link.first) || last != Some(link.last) {
            let message = "the events before it are not those that it links to";
            return Err(Violation::of(Flaw::Changed, message).at(link.first).into());
        }
        let batch = std::mem::take(&mut self.batch);
        self.events = self.events.saturating_add(batch.len() as u64);
        self.bytes = 0;
        self.link = Some(link);
        Ok(ExportPart::Batch(batch))
    }

    fn head(&self, line: &HeadLine) -> Result<AuditAnchor, AuditError> {
        let head: AuditAnchor = line
            .head
            .parse()
            .map_err(|e: InvalidHead| changed(e.to_string()))?;
        if !self.batch.is_empty() || !self.unclaimed.is_empty() {
            let message = "the batch before it has no link";
            return Err(Violation::of(Flaw::Missing, message).into());
        }
        if !self.uncommitted.is_empty() {
            return Err(missing(
                "no event of the journal commits to a base in the export",
            ));
        }
        if head.journal != self.journal_id || !head.is_at(self.link.as_ref()) {
            let message = "the journal before it ends elsewhere";
            return Err(Violation::of(Flaw::RolledBack, message).into());
        }
        Ok(head)
    }
}

fn missing(what: &str) -> AuditError {
    Violation::of(Flaw::Missing, what).into()
}

fn changed(what: impl Into<String>) -> AuditError {
    Violation::of(Flaw::Changed, what).into()
}
