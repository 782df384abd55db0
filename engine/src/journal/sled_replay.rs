//! Opening: what sled lost of the newest batches is taken over from the tail again.

use super::{
    BatchLink, JournalError, Stored,
    sled_store::{Store, changes},
    stage::{Stage, Tip},
    tail::Found,
};
use crate::durable::Durable;

/// Opens the store and brings it to the end of what the tail holds; durable when it returns.
pub(super) fn replay(durable: &Durable, found: Vec<Found>) -> Result<(Store, Tip), JournalError> {
    let (mut store, mut tip) = Store::open(durable.tree().clone())?;
    let mut lost = false;
    for found in found {
        if found.link.first < tip.next {
            agree(&store, &found.link)?;
            continue;
        }
        if found.link.first > tip.next {
            return Err(gap(&tip, &found.link));
        }
        take(durable, &store, &tip, found)?;
        lost = true;
        (store, tip) = Store::open(durable.tree().clone())?;
    }
    if lost {
        durable.sync()?;
    }
    Ok((store, tip))
}

/// Sled holds the same batch.
fn agree(store: &Store, link: &BatchLink) -> Result<(), JournalError> {
    let kept = store.link_at(link.first)?;
    if kept == Some(*link) {
        return Ok(());
    }
    Err(JournalError::Damaged {
        place: format!("the batch at offset {}", link.first),
        why: "the store and the newest events disagree about it".to_owned(),
    })
}

fn gap(tip: &Tip, link: &BatchLink) -> JournalError {
    JournalError::Damaged {
        place: format!("offset {}", tip.next),
        why: format!(
            "nothing is there before offset {}, which was written later",
            link.first
        ),
    }
}

fn take(durable: &Durable, store: &Store, tip: &Tip, found: Found) -> Result<(), JournalError> {
    let records = found
        .records
        .into_iter()
        .map(Stored::parse)
        .collect::<Result<_, _>>()?;
    let mut stage = Stage::new(tip);
    stage.admit_stored(records, |id| store.head(id))?;
    match stage.seal() {
        Some(batch) if batch.link == found.link => durable.apply(changes(&batch)),
        _ => Err(JournalError::Damaged {
            place: format!("the batch at offset {}", found.link.first),
            why: "its link does not match its records".to_owned(),
        }),
    }
}
