//! What is of no use any more once a compaction is done.

use std::{collections::HashSet, io, path::Path};

use super::{PAGE, off_runtime};
use crate::{
    audit::{AuditError, payloads},
    blob::DirBlobs,
    files,
    journal::{Archive, Journal as _, Rest, Seal, SledJournal},
    model::{Hash, Payload, StreamId},
    state_dir::StateDir,
};

/// Removes blobs that nothing in the journal names, and archives that an earlier attempt left.
pub(super) async fn sweep(state: &StateDir, archive: &Archive) -> Result<(), AuditError> {
    let journal = state.journal().await?;
    let named = named_blobs(&journal).await;
    journal.close().await;
    let named = named?;
    let blobs: DirBlobs = state.blobs().await?;
    blobs.retain(named).await?;
    let (dir, archive) = (state.archives(), *archive);
    off_runtime("cleared", move || remove_others(&dir, &archive)).await
}

async fn named_blobs(journal: &SledJournal) -> Result<HashSet<Hash>, AuditError> {
    let mut named = HashSet::new();
    let mut note = |payload: &Payload| {
        if let Payload::Blob { hash, .. } = payload {
            named.insert(*hash);
        }
    };
    let mut after: Option<StreamId> = None;
    loop {
        let page = journal.seals(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.stream.clone());
        page.iter().filter_map(wanted).for_each(&mut note);
    }
    let mut from = 0;
    loop {
        let page = journal.read_all(from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.offset.saturating_add(1);
        let kinds = page.iter().map(|record| &record.event.kind);
        kinds.flat_map(payloads).for_each(&mut note);
    }
    Ok(named)
}

/// What is still wanted of a sealed entity.
fn wanted(seal: &Seal) -> Option<&Payload> {
    match &seal.rest {
        Rest::Entity(snapshot) => snapshot
            .state
            .desired
            .as_ref()
            .map(|wanted| &wanted.desired),
        _ => None,
    }
}

/// Removes archives that begin where this one does: killed attempts wrote them, and what they
/// hold is in this one, too. Blocks.
fn remove_others(dir: &Path, archive: &Archive) -> io::Result<()> {
    let (own, begin) = (archive.file_name(), format!("{:012}-", archive.first));
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let other = name.to_str().is_some_and(|name| {
            name != own && name.starts_with(&begin) && name.ends_with(".jsonl.gz")
        });
        // One that reaches further belongs to a journal that was put back to an older copy.
        let shorter = name.to_str().is_some_and(|name| *name < *own);
        if other && shorter {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    files::sync_dir(dir)
}
