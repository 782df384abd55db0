//! Goes over a log from its first byte to its last, and says what takes the place of what is
//! damaged. Nothing is written here, and no table is believed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Finding, Known, Lost,
    batch::{self, FoundBatch},
    fill::{End, Item, fill},
    found::{self, Files},
};
use crate::{
    journal::{
        BatchLink, JournalError, Offset, Stored, chain,
        log::{
            FOLDER,
            disk::LogDisk,
            error::damaged,
            frame::{self, Body, FramePart},
            header::{self, SegmentHeader},
            scan::{ScannedFrame, frames, position_of, synced},
        },
    },
    model::{Hash, StreamId},
};

/// What is to be done about one segment.
pub(super) enum Plan {
    /// Some of its bytes are replaced; all others stay where they are.
    Patch {
        header: SegmentHeader,
        bytes: Vec<u8>,
        patches: Vec<Patch>,
        aside: Vec<String>,
    },
    /// It is made anew.
    New(New),
    /// Another segment holds all of it already.
    Leftover { aside: Vec<String> },
}

/// Bytes of a segment and what comes in their place.
pub(super) struct Patch {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) items: Vec<Item>,
    /// The number of the finding.
    pub(super) finding: usize,
}

/// A segment in the place of lost ones.
pub(super) struct New {
    pub(super) first: Offset,
    pub(super) before: Option<BatchLink>,
    /// Where the segment before it ends.
    pub(super) position: u64,
    /// Where the one after it begins.
    pub(super) until: Option<u64>,
    pub(super) bases: Vec<(FramePart, Vec<u8>)>,
    pub(super) items: Vec<Item>,
    pub(super) finding: usize,
    pub(super) aside: Vec<String>,
}

/// How far a stream was seen to go.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) next_seq: u64,
    pub(super) hash: Hash,
    /// How many findings there were by then.
    pub(super) findings: usize,
}

/// The end of a segment that is not what was written.
struct Tail {
    first: Offset,
    name: String,
    bytes: Vec<u8>,
    at: usize,
    /// Where the segment begins in the log, and the parts of bases in it: where no event of it is
    /// whole, another takes its place.
    position: u64,
    bases: Vec<(FramePart, Vec<u8>)>,
}

/// A segment as far as it was read.
struct Open<'a> {
    first: Offset,
    header: &'a SegmentHeader,
    bytes: &'a [u8],
    after: Option<&'a SegmentHeader>,
    found: &'a [ScannedFrame<'a>],
}

/// What stands before the first segment that is there.
struct Front {
    header: SegmentHeader,
    pending: Vec<Offset>,
}

/// See the module's text.
pub(super) struct Walk<'a> {
    disk: &'a dyn LogDisk,
    journal: &'a str,
    offered: &'a [FoundBatch],
    known: Option<Known>,
    files: BTreeMap<Offset, Files>,
    pub(super) next: Offset,
    link: Option<BatchLink>,
    position: u64,
    begun: bool,
    front: Option<Front>,
    tail: Option<Tail>,
    /// Whether something followed the newest segment that is there.
    tail_is_lost: bool,
    bases: HashMap<Offset, (u32, BTreeSet<u32>)>,
    pub(super) streams: HashMap<StreamId, Seen>,
    pub(super) findings: Vec<Finding>,
    pub(super) plans: Vec<Plan>,
    /// Whether the log has a batch that ends where the known states stand, with their link.
    pub(super) known_fits: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn over(
        disk: &'a dyn LogDisk,
        journal: &'a str,
        offered: &'a [FoundBatch],
        known: Option<Known>,
    ) -> Result<Self, JournalError> {
        let mut walk = Self {
            disk,
            journal,
            offered,
            known,
            files: found::find(disk)?,
            next: 0,
            link: None,
            position: 0,
            begun: false,
            front: None,
            tail: None,
            tail_is_lost: false,
            bases: HashMap::new(),
            streams: HashMap::new(),
            findings: Vec::new(),
            plans: Vec::new(),
            known_fits: known.is_some_and(|known| known.as_of == 0),
        };
        walk.all()?;
        Ok(walk)
    }

    fn all(&mut self) -> Result<(), JournalError> {
        let there = self.files.iter().filter(|(_, files)| files.is_there());
        let firsts: Vec<_> = there.map(|(first, _)| *first).collect();
        let mut pending = Vec::new();
        for first in firsts {
            let good = self.files.get(&first).and_then(Files::good);
            let Some(header) = good.map(|(_, header)| header.clone()) else {
                if self.begun && first < self.next {
                    let aside = self.names(&[first]);
                    self.plans.push(Plan::Leftover { aside });
                } else {
                    pending.push(first);
                }
                continue;
            };
            self.begin(&header, std::mem::take(&mut pending))?;
            self.segment(first, &header)?;
        }
        self.end(pending)
    }

    fn names(&self, firsts: &[Offset]) -> Vec<String> {
        let files = firsts.iter().filter_map(|first| self.files.get(first));
        files
            .flat_map(Files::files)
            .map(|file| file.name.clone())
            .collect()
    }

    fn prev(&self) -> Hash {
        self.link.map(|link| link.hash).unwrap_or_default()
    }

    /// Holds a segment against what comes before it, and fills what is missing there.
    fn begin(&mut self, header: &SegmentHeader, pending: Vec<Offset>) -> Result<(), JournalError> {
        let name = found_name(&self.files, header.first);
        if header.journal != self.journal {
            let (ours, theirs) = (self.journal, &header.journal);
            let why =
                format!("it is a segment of the journal {theirs}, and this is the journal {ours}");
            return Err(damaged(&name, why));
        }
        if header.first < self.next {
            let why = format!(
                "it begins at offset {}, where the one before it goes up to {}",
                header.first, self.next
            );
            return Err(damaged(&name, why));
        }
        if !self.begun {
            if header.first > 0 {
                let header = header.clone();
                self.front = Some(Front { header, pending });
            }
        } else if header.first > self.next || !pending.is_empty() {
            let hash = header.before.map(|link| link.hash).unwrap_or_default();
            let end = End::At(header.first, hash);
            self.region(end, &pending, Some(header.position))?;
        } else if !same_end(header.before, self.link) {
            let why = "it does not follow the segment before it: segments of two logs are mixed";
            return Err(damaged(&name, why));
        }
        self.tail = None;
        (self.begun, self.next, self.link) = (true, header.first, header.before);
        self.position = header.position;
        Ok(())
    }

    fn segment(&mut self, first: Offset, header: &SegmentHeader) -> Result<(), JournalError> {
        let Some((name, bytes, spoiled)) = self.read(first)? else {
            return Ok(());
        };
        let after = self.after(first);
        let found = frames(&bytes, header);
        let open = Open {
            first,
            header,
            bytes: &bytes,
            after: after.as_ref(),
            found: &found,
        };
        let (mut patches, mut end) = self.frames(&open)?;
        let position = position_of(header, end);
        self.position = position;
        match after.as_ref().filter(|after| !after.repaired) {
            Some(after) if position < after.position => {
                if self.next == after.first {
                    let to = place_of(header, after.position);
                    let goal = End::At(self.next, self.prev());
                    patches.push(self.patch(&open, end, to, goal)?);
                    end = to;
                    self.position = position_of(header, end);
                } else {
                    self.tail = Some(tail(&open, name.clone(), end));
                }
            }
            Some(_) => {}
            // Whatever comes behind the newest may take its place.
            None => {
                self.tail = Some(tail(&open, name.clone(), end));
                self.tail_is_lost = self.is_not_the_last(first);
            }
        }
        let replaced = after.is_some() && self.tail.is_some() && self.next == header.first;
        // An archived one of which a block cannot be unpacked is written anew, even where no frame
        // was in it.
        if (!patches.is_empty() || spoiled) && !replaced {
            self.plans.push(Plan::Patch {
                header: header.clone(),
                bytes,
                patches,
                aside: vec![name],
            });
        }
        Ok(())
    }

    /// The name and the bytes of a segment, and whether some of them could not be read.
    fn read(&self, first: Offset) -> Result<Option<(String, Vec<u8>, bool)>, JournalError> {
        let Some((file, _)) = self.files.get(&first).and_then(Files::good) else {
            return Ok(None);
        };
        let (bytes, spoiled) = file.read(self.disk)?;
        Ok(Some((file.name.clone(), bytes, spoiled)))
    }

    /// The header of the next segment that has one.
    fn after(&self, first: Offset) -> Option<SegmentHeader> {
        let later = self.files.range(first.saturating_add(1)..);
        later
            .filter_map(|(_, files)| files.good())
            .map(|(_, header)| header.clone())
            .next()
    }

    /// Whether another segment followed the newest that is there.
    fn is_not_the_last(&self, first: Offset) -> bool {
        let files = self.files.get(&first);
        files.is_some_and(|files| files.was_full() || files.log.is_none())
    }

    /// Takes in every frame; what comes in the place of bad ones, and where the frames end.
    fn frames(&mut self, open: &Open<'_>) -> Result<(Vec<Patch>, usize), JournalError> {
        let synced = synced(open.found, open.header, open.after);
        let (mut patches, mut end, mut at) = (Vec::new(), header::LEN, 0);
        while let Some(found) = open.found.get(at) {
            if found.at > end {
                if position_of(open.header, end) >= synced {
                    break;
                }
                let (to, next, goal) = self.bad(open, at);
                patches.push(self.patch(open, end, to, goal)?);
                (end, at) = (to, next);
                continue;
            }
            self.take(found)?;
            end = found.at.saturating_add(found.frame.len);
            at = at.saturating_add(1);
        }
        Ok((patches, end))
    }

    /// Up to which byte what is before a frame is bad, with which frame it goes on, and which
    /// offsets are concerned.
    fn bad(&self, open: &Open<'_>, at: usize) -> (usize, usize, End) {
        let found = open.found.get(at..).unwrap_or_default();
        let begin = found.first().map_or(0, |found| found.at);
        let linked = found.iter().position(|found| first_link(found).is_some());
        let until = linked.map_or(found.len(), |linked| linked.saturating_add(1));
        let row = found.get(..until).unwrap_or(found);
        let one = row.windows(2).all(|pair| match pair {
            [one, other] => one.at.saturating_add(one.frame.len) == other.at,
            _ => true,
        });
        let link = linked
            .and_then(|linked| found.get(linked))
            .and_then(|found| Some((found.at, first_link(found)?)));
        if let (Some(linked), Some((place, link))) = (linked, link) {
            let goal = End::At(link.first, link.prev);
            return match one {
                true => (begin, at, goal),
                false => (place, at.saturating_add(linked), goal),
            };
        }
        let last = row
            .last()
            .map_or(begin, |found| found.at.saturating_add(found.frame.len));
        match open.after {
            // What was in between goes on behind this segment.
            Some(after) if self.is_apart(open.first, after.first) => match one {
                true => (begin, at, End::Here),
                false => (last, open.found.len(), End::Here),
            },
            Some(after) => {
                let hash = after.before.map(|link| link.hash).unwrap_or_default();
                let goal = End::At(after.first, hash);
                let place = place_of(open.header, after.position);
                match (one, after.repaired) {
                    (true, _) if after.repaired || last == place => (begin, at, goal),
                    (_, true) => (last, open.found.len(), goal),
                    _ => (place, open.found.len(), goal),
                }
            }
            None if one => (begin, at, self.open_end(0)),
            None => (last, open.found.len(), self.open_end(0)),
        }
    }

    /// Whether there are files of segments between two, which cannot be read.
    fn is_apart(&self, first: Offset, after: Offset) -> bool {
        let between = self.files.range(first.saturating_add(1)..after);
        between.into_iter().any(|(_, files)| files.is_there())
    }

    /// Where a log ends of which nobody can tell.
    fn open_end(&self, least: Offset) -> End {
        let bases = self.bases.keys().copied().max().unwrap_or_default();
        match self.known {
            Some(known) if known.as_of > self.next.max(bases).max(least) => {
                End::At(known.as_of, known.hash)
            }
            _ => End::NotBefore(least.max(bases).max(self.next.saturating_add(1))),
        }
    }

    /// What comes in the place of some bytes of a segment.
    fn patch(
        &mut self,
        open: &Open<'_>,
        from: usize,
        to: usize,
        goal: End,
    ) -> Result<Patch, JournalError> {
        let name = found_name(&self.files, open.first);
        let (mut trusted, _) = batch::in_a_row(open.bytes, from);
        trusted.extend(self.of_copy(open.first)?);
        let mut others = batch::anywhere(open.bytes, from, to);
        others.extend(self.offered.iter().cloned());
        let streams = self.streams_between(open.first, from, to);
        let why = "bytes of it are not what was written";
        let finding = self.findings.len();
        let room = Some(to.saturating_sub(from));
        let place = (name, why.to_owned());
        let items = self.fill(goal, &trusted, &others, place, streams, room);
        Ok(Patch {
            from,
            to,
            items,
            finding,
        })
    }

    /// The batches of the other copy of a segment.
    fn of_copy(&self, first: Offset) -> Result<Vec<FoundBatch>, JournalError> {
        let Some(files) = self.files.get(&first) else {
            return Ok(Vec::new());
        };
        let (Some(_), Some(copy)) = (&files.log, &files.archive) else {
            return Ok(Vec::new());
        };
        match &copy.header {
            Ok(header) => {
                let bytes = copy.bytes(self.disk)?;
                Ok(batch::of_copy(&bytes, header, super::RepairSource::Archive))
            }
            Err(_) => Ok(Vec::new()),
        }
    }

    fn streams_between(&self, first: Offset, from: usize, to: usize) -> BTreeSet<StreamId> {
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let files = self.files.get(&first);
        files
            .map(|files| files.streams(at(from), at(to)).collect())
            .unwrap_or_default()
    }

    /// Fills what is lost from here on, and notes what was found.
    fn fill(
        &mut self,
        goal: End,
        trusted: &[FoundBatch],
        others: &[FoundBatch],
        (file, why): (String, String),
        mut streams: BTreeSet<StreamId>,
        room: Option<usize>,
    ) -> Vec<Item> {
        let from = self.next;
        // A frame that holds no event, such as a part of a base.
        let none = matches!(goal, End::At(to, _) if to <= from);
        let mut items = match none {
            true => Vec::new(),
            false => fill(from, self.prev(), goal, trusted, others),
        };
        if let (End::Here, Some(room)) = (goal, room) {
            while taken(&items) > room || room.saturating_sub(taken(&items)) == frame::ALIGN {
                items.pop();
            }
        }
        let mut open_ended = matches!(goal, End::NotBefore(_));
        // Where no further batch would have had room none is lost.
        if open_ended && room.is_some_and(|room| !leaves_room(&items, room)) {
            items.pop();
            open_ended = false;
        }
        let mut finding = Finding {
            from,
            to: from,
            open_ended,
            file,
            why,
            streams: Vec::new(),
            regained: Vec::new(),
            lost: Vec::new(),
        };
        let number = self.findings.len();
        for item in &items {
            let link = *item.link();
            finding.to = link.last.saturating_add(1);
            match item {
                Item::Batch(batch) => {
                    finding.regain(link.first, finding.to, batch.source);
                    for bytes in &batch.records {
                        self.record(bytes, number);
                    }
                }
                Item::Gap(_) => finding.lost.push(Lost {
                    from: link.first,
                    to: finding.to,
                }),
            }
            self.reach(link);
        }
        streams.retain(|_| !finding.lost.is_empty());
        finding.streams = streams.into_iter().collect();
        self.findings.push(finding);
        items
    }

    fn reach(&mut self, link: BatchLink) {
        self.next = link.last.saturating_add(1);
        self.link = Some(link);
        if let Some(known) = self.known.filter(|known| known.as_of == self.next) {
            self.known_fits = known.hash == link.hash;
        }
    }

    /// A segment in the place of what is missing from here on.
    fn region(
        &mut self,
        goal: End,
        pending: &[Offset],
        until: Option<u64>,
    ) -> Result<(), JournalError> {
        let (first, before, mut position) = (self.next, self.link, self.position);
        let (mut aside, mut bases) = (self.names(pending), Vec::new());
        let (mut trusted, mut others) = (Vec::new(), self.offered.to_vec());
        let mut streams = BTreeSet::new();
        let mut place = (FOLDER.to_owned(), "a segment is missing".to_owned());
        if let Some(tail) = self.tail.take() {
            trusted.extend(batch::in_a_row(&tail.bytes, tail.at).0);
            others.extend(batch::anywhere(&tail.bytes, tail.at, tail.bytes.len()));
            streams.extend(self.streams_between(tail.first, tail.at, usize::MAX));
            if tail.first == first {
                aside.extend(self.names(&[first]));
                (position, bases) = (tail.position, tail.bases);
            }
            if tail.bytes.get(tail.at..).is_some_and(is_used) {
                let why = "its end is not what was written";
                place = (tail.name, why.to_owned());
            }
        }
        for first in pending {
            let files: Vec<_> = self.files.get(first).into_iter().collect();
            for file in files.iter().flat_map(|files| files.files()) {
                let bytes = file.bytes(self.disk)?;
                trusted.extend(batch::in_a_row(&bytes, header::LEN).0);
                others.extend(batch::anywhere(&bytes, header::LEN, bytes.len()));
                if let Err(why) = &file.header {
                    place = (file.name.clone(), why.clone());
                }
            }
        }
        let to = match goal {
            End::At(to, _) => to,
            End::NotBefore(_) | End::Here => Offset::MAX,
        };
        for (_, files) in self.files.range(first..to) {
            streams.extend(files.streams(0, u32::MAX));
        }
        let finding = self.findings.len();
        let items = self.fill(goal, &trusted, &others, place, streams, None);
        self.plans.push(Plan::New(New {
            first,
            before,
            position,
            until,
            bases,
            items,
            finding,
            aside,
        }));
        Ok(())
    }

    /// After the newest segment that can be read, and before the oldest.
    fn end(&mut self, pending: Vec<Offset>) -> Result<(), JournalError> {
        if !self.begun && pending.is_empty() {
            return Err(damaged(FOLDER, "the log is gone: it has no segment"));
        }
        if let Some(last) = pending.last() {
            let goal = match self.ends_well(&pending)? {
                true => End::Here,
                false => self.open_end(last.saturating_add(1)),
            };
            self.region(goal, &pending, None)?;
        } else if self.tail_is_lost {
            let goal = self.open_end(0);
            self.region(goal, &[], None)?;
        }
        self.begun = true;
        self.fill_front()
    }

    /// Whether the newest segment, whose header is bad, has whole batches and then nothing.
    fn ends_well(&self, pending: &[Offset]) -> Result<bool, JournalError> {
        let [only] = pending else { return Ok(false) };
        let mut files = self.files.get(only).into_iter().flat_map(Files::files);
        let Some(file) = files.next() else {
            return Ok(false);
        };
        let bytes = file.bytes(self.disk)?;
        let (batches, end) = batch::in_a_row(&bytes, header::LEN);
        let head = bytes.get(..header::LEN).unwrap_or_default();
        let rest = bytes.get(end..).unwrap_or_default();
        let follows = batches
            .first()
            .is_none_or(|first| first.link.first == self.next && first.link.prev == self.prev());
        let any = !batches.is_empty() || is_used(head);
        Ok(follows && any && !rest.is_empty() && !is_used(rest))
    }

    /// What is missing before the first segment is in order where a base stands for it.
    fn fill_front(&mut self) -> Result<(), JournalError> {
        let Some(Front { header, pending }) = self.front.take() else {
            return Ok(());
        };
        if pending.is_empty() && self.newest_base() >= Some(header.first) {
            return Ok(());
        }
        let (next, link, position) = (self.next, self.link, self.position);
        let streams = std::mem::take(&mut self.streams);
        (self.next, self.link, self.position) = (0, None, 0);
        let hash = header.before.map(|link| link.hash).unwrap_or_default();
        let goal = End::At(header.first, hash);
        self.region(goal, &pending, Some(header.position))?;
        (self.next, self.link, self.position) = (next, link, position);
        self.streams = streams;
        Ok(())
    }

    /// The offset that the newest base of which every part is there is as of.
    fn newest_base(&self) -> Option<Offset> {
        let whole = |(_, (of, parts)): &(&Offset, &(u32, BTreeSet<u32>))| {
            (0..*of).all(|number| parts.contains(&number))
        };
        let whole = self.bases.iter().filter(whole);
        whole.map(|(as_of, _)| *as_of).max()
    }

    fn take(&mut self, found: &ScannedFrame<'_>) -> Result<(), JournalError> {
        match found.frame.body {
            Body::Batch(link, records) => {
                let number = self.findings.len();
                for (_, record) in frame::records(records) {
                    self.record(record, number);
                }
                self.reach(link);
            }
            Body::Gap(link, _, heads) => {
                for head in frame::heads(heads) {
                    let seen = Seen {
                        next_seq: head.next_seq,
                        hash: head.hash,
                        findings: self.findings.len(),
                    };
                    self.streams.insert(head.stream, seen);
                }
                self.reach(link);
            }
            Body::Base(part, _) => {
                let parts = self.bases.entry(part.as_of).or_default();
                parts.0 = part.of;
                parts.1.insert(part.number);
            }
            Body::Mark => {}
        }
        Ok(())
    }

    /// A record that goes on later than its stream did lacks what was found in between.
    fn record(&mut self, bytes: &[u8], findings: usize) {
        let Some(peeked) = Stored::peek(bytes) else {
            return;
        };
        let hash = chain::link(peeked.prev, &peeked.stream, peeked.seq, bytes);
        let before = self.streams.get(&peeked.stream);
        let (expected, since) = before.map_or((0, 0), |seen| (seen.next_seq, seen.findings));
        if peeked.seq > expected {
            let lacking = self.findings.get_mut(since..).unwrap_or_default();
            for finding in lacking.iter_mut().filter(|f| !f.lost.is_empty()) {
                if !finding.streams.contains(&peeked.stream) {
                    finding.streams.push(peeked.stream.clone());
                }
            }
        }
        let seen = Seen {
            next_seq: peeked.seq.saturating_add(1),
            hash,
            findings,
        };
        self.streams.insert(peeked.stream, seen);
    }
}

fn tail(open: &Open<'_>, name: String, at: usize) -> Tail {
    Tail {
        first: open.first,
        name,
        bytes: open.bytes.to_vec(),
        at,
        position: open.header.position,
        bases: open.found.iter().filter_map(base_of).collect(),
    }
}

/// Whether a gap has room behind the batches that are regained.
fn leaves_room(items: &[Item], room: usize) -> bool {
    room.saturating_sub(taken(items)) >= frame::gap_len(&[])
}

fn taken(items: &[Item]) -> usize {
    let taken = items.iter().map(|item| match item {
        Item::Batch(batch) => batch.frame_len(),
        Item::Gap(_) => 0,
    });
    taken.sum()
}

fn is_used(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte != 0)
}

/// Where a position of the log is in a segment's file.
fn place_of(header: &SegmentHeader, position: u64) -> usize {
    let within = position.saturating_sub(header.position);
    usize::try_from(within)
        .unwrap_or(usize::MAX)
        .saturating_add(header::LEN)
}

fn first_link(found: &ScannedFrame<'_>) -> Option<BatchLink> {
    match found.frame.body {
        Body::Batch(link, _) | Body::Gap(link, ..) => Some(link),
        Body::Base(..) | Body::Mark => None,
    }
}

fn base_of(found: &ScannedFrame<'_>) -> Option<(FramePart, Vec<u8>)> {
    match found.frame.body {
        Body::Base(part, bytes) => Some((part, bytes.to_vec())),
        _ => None,
    }
}

/// Whether two links end alike: a gap's stands for several.
fn same_end(one: Option<BatchLink>, other: Option<BatchLink>) -> bool {
    let end = |link: BatchLink| (link.last, link.hash);
    one.map(end) == other.map(end)
}

fn found_name(files: &BTreeMap<Offset, Files>, first: Offset) -> String {
    let files = files.get(&first).and_then(Files::good);
    files.map_or_else(|| FOLDER.to_owned(), |(file, _)| file.name.clone())
}
