//! Builds the bytes of repaired segments from the repair plans.

use super::{
    LogChange,
    fill::FillItem,
    plan::{New, Patch, RepairPlan},
    walk::StreamSeen,
};
use crate::{
    journal::{
        JournalError, MissingCause, Offset, StreamHead,
        log::{
            FIRST_SIZE, FOLDER,
            error::damaged,
            frame::{self, ALIGN, FILLER, FramePosition},
            header::{self, SegmentHeader},
            scan::position_of,
            segment::name_of,
            writer::salt,
        },
    },
    model::StreamId,
};

/// The heads of streams whose newest events are lost, to be recorded in gaps. Each has the number of
/// the first finding that may contain these events.
pub(super) struct Heads(Vec<(usize, StreamHead)>);

impl Heads {
    /// The heads of the streams whose known state is later than their newest record in the log.
    pub(super) fn beyond<'a>(
        known: impl Iterator<Item = (StreamId, StreamHead)>,
        seen: impl Fn(&StreamId) -> Option<&'a StreamSeen>,
    ) -> Self {
        let later = known.filter_map(|(stream, head)| {
            let (next_seq, since) = seen(&stream).map_or((0, 0), |s| (s.next_seq, s.findings));
            (head.next_seq > next_seq).then_some((since, head))
        });
        Self(later.collect())
    }

    /// Whether every head was recorded in a gap.
    pub(super) fn all_recorded(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the heads that may be recorded in the gap of a finding, as far as there is room.
    fn for_gap(&mut self, finding: usize, room: Option<usize>) -> Vec<StreamHead> {
        let mut free = room.unwrap_or(usize::MAX);
        let (mut recorded, mut rest) = (Vec::new(), Vec::new());
        for (since, head) in self.0.drain(..) {
            let len = frame::head_len(&head);
            if since <= finding && len <= free {
                free = free.saturating_sub(len);
                recorded.push(head);
            } else {
                rest.push((since, head));
            }
        }
        self.0 = rest;
        recorded
    }
}

/// The change of the log for a plan.
pub(super) fn change_of(
    journal: &str,
    plan: &RepairPlan,
    heads: &mut Heads,
) -> Result<LogChange, JournalError> {
    match plan {
        RepairPlan::Patch {
            header,
            bytes,
            patches,
            aside,
        } => patched(header, bytes, patches, aside, heads),
        RepairPlan::New(new) => Ok(made(journal, new, heads)),
        RepairPlan::Leftover { aside } => Ok(LogChange {
            segment: None,
            aside: aside.clone(),
        }),
    }
}

fn patched(
    header: &SegmentHeader,
    bytes: &[u8],
    patches: &[Patch],
    aside: &[String],
    heads: &mut Heads,
) -> Result<LogChange, JournalError> {
    let mut content = bytes.to_vec();
    for patch in patches {
        let laid = in_place(header, patch, heads)?;
        if content.len() < patch.to {
            content.resize(patch.to, 0);
        }
        if let Some(place) = content.get_mut(patch.from..patch.to) {
            place.copy_from_slice(&laid);
        }
    }
    let name = name_of(FOLDER, header.first);
    Ok(LogChange {
        segment: Some((name, content)),
        aside: aside.to_vec(),
    })
}

/// The bytes of the items, with exactly the length of the patched range. A gap or an empty frame
/// fills the rest.
fn in_place(
    header: &SegmentHeader,
    patch: &Patch,
    heads: &mut Heads,
) -> Result<Vec<u8>, JournalError> {
    let len = patch.to.saturating_sub(patch.from);
    let needed: usize = patch.items.iter().map(least).sum();
    let fits = len.checked_sub(needed).filter(|spare| {
        let gap = patch.items.iter().any(is_gap);
        spare.is_multiple_of(ALIGN) && (gap || *spare == 0 || *spare >= FILLER)
    });
    let Some(mut spare) = fits else {
        let why = "what was found does not fit into its place; restore a backup";
        return Err(damaged(&name_of(FOLDER, header.first), why));
    };
    let mut out = Vec::with_capacity(len);
    for item in &patch.items {
        let position = position_of(header, patch.from.saturating_add(out.len()));
        let lost_heads = if is_gap(item) {
            heads.for_gap(patch.finding, Some(spare))
        } else {
            Vec::new()
        };
        let whole = if is_gap(item) {
            least(item).saturating_add(std::mem::take(&mut spare))
        } else {
            0
        };
        put(&mut out, &header.salt, position, item, &lost_heads, whole);
    }
    if spare > 0 {
        let position = position_of(header, patch.from.saturating_add(out.len()));
        let place = FramePosition {
            salt: &header.salt,
            position,
        };
        frame::encode_filler(&mut out, place, position, spare);
    }
    Ok(out)
}

fn made(journal: &str, new: &New, heads: &mut Heads) -> LogChange {
    let all_heads = new.items.iter().map(|item| {
        if is_gap(item) {
            heads.for_gap(new.finding, None)
        } else {
            Vec::new()
        }
    });
    let all_heads: Vec<_> = all_heads.collect();
    let bases = new
        .bases
        .iter()
        .map(|(_, bytes)| frame::part_len(bytes.len()));
    let items = new
        .items
        .iter()
        .zip(&all_heads)
        .map(|(item, lost_heads)| match item {
            FillItem::Gap(_) => frame::gap_len(lost_heads),
            FillItem::Batch(batch) => batch.frame_len(),
        });
    let len = bases.chain(items).sum::<usize>() as u64;
    let position = new
        .until
        .map_or(new.position, |until| until.saturating_sub(len));
    let header = SegmentHeader {
        salt: salt(),
        first: new.first,
        position,
        before: new.before,
        journal: journal.to_owned(),
        repaired: true,
    };
    let mut bytes = header.encode();
    for (part, content) in &new.bases {
        let payload_at = position_of(&header, bytes.len());
        let place = FramePosition {
            salt: &header.salt,
            position: payload_at,
        };
        frame::encode_part(&mut bytes, place, payload_at, *part, content);
    }
    for (item, lost_heads) in new.items.iter().zip(&all_heads) {
        let item_position = position_of(&header, bytes.len());
        put(&mut bytes, &header.salt, item_position, item, lost_heads, 0);
    }
    if new.until.is_none() {
        let size = usize::try_from(FIRST_SIZE).unwrap_or_default();
        bytes.resize(bytes.len().saturating_add(header::LEN).max(size), 0);
    }
    LogChange {
        segment: Some((name_of(FOLDER, new.first), bytes)),
        aside: new.aside.clone(),
    }
}

fn put(
    out: &mut Vec<u8>,
    salt: &[u8; 16],
    position: u64,
    item: &FillItem,
    heads: &[StreamHead],
    len: usize,
) {
    let place = FramePosition { salt, position };
    match item {
        FillItem::Batch(batch) => {
            let records = batch.records.iter().map(Vec::as_slice);
            frame::encode_batch(out, place, position, &batch.link, records);
        }
        FillItem::Gap(link) => {
            frame::encode_gap_of(out, place, position, link, MissingCause::Lost, heads, len);
        }
    }
}

fn is_gap(item: &FillItem) -> bool {
    matches!(item, FillItem::Gap(_))
}

fn least(item: &FillItem) -> usize {
    match item {
        FillItem::Batch(batch) => batch.frame_len(),
        FillItem::Gap(_) => frame::gap_len(&[]),
    }
}

/// The first offset of a plan's segment; none if its files are only set aside.
pub(super) fn first(plan: &RepairPlan) -> Option<Offset> {
    match plan {
        RepairPlan::Patch { header, .. } => Some(header.first),
        RepairPlan::New(new) => Some(new.first),
        RepairPlan::Leftover { .. } => None,
    }
}
