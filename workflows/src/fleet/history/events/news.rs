//! Followed histories: one is read again only if it may have new lines.

use vsiflow_engine::{
    journal::{Offset, Record},
    model::{EntityId, EntityState, StreamId},
};

use super::{LinePage, LineRange, PAGE};
use crate::fleet::{Fleet, FleetError, HistoryHandle};

/// How many new events of a journal are looked through. If there are more, the history is read.
const EVENTS_MAX: u64 = 1_000;

impl HistoryHandle<'_> {
    /// The first `most` lines of an object's history from an offset on. Without new events of the object, only what the
    /// journal has from that offset on is read.
    ///
    /// # Errors
    /// As for [`HistoryHandle::lines`].
    pub async fn lines_since(
        self,
        namespace: &str,
        name: &str,
        from: Offset,
        most: usize,
    ) -> Result<LinePage, FleetError> {
        let end = self.end();
        let named = self.fleet.entities_named(namespace, name).await?;
        let mut changed = Vec::new();
        for (entity, state) in named {
            if self.fleet.may_have_lines(&entity, &state, from).await? {
                changed.push((entity, state));
            }
        }
        let range = LineRange::since(from, end, most);
        self.fleet.lines_together(&changed, range).await
    }

    /// The same of this entity alone, whatever its name.
    ///
    /// # Errors
    /// When the entity is not known, or the journal cannot be read.
    pub async fn lines_of_since(
        self,
        entity: &EntityId,
        from: Offset,
        most: usize,
    ) -> Result<LinePage, FleetError> {
        let range = LineRange::since(from, self.end(), most);
        let state = self.fleet.engine.entity(entity);
        let state = state.ok_or_else(|| FleetError::not_found("entity", &entity.to_string()))?;
        let is_changed = self.fleet.may_have_lines(entity, &state, from).await?;
        let changed = is_changed.then(|| (entity.clone(), state));
        self.fleet.lines_together(changed.as_slice(), range).await
    }
}

impl Fleet {
    /// Whether an entity's history may have lines from an offset on.
    async fn may_have_lines(
        &self,
        entity: &EntityId,
        state: &EntityState,
        from: Offset,
    ) -> Result<bool, FleetError> {
        let end = self.engine.end();
        if from >= end {
            return Ok(false);
        }
        // An open run may wait for runs of other entities.
        let is_working = state.active.is_some();
        if from == 0 || is_working || end.saturating_sub(from) > EVENTS_MAX {
            return Ok(true);
        }
        let missing = self.journal.missing().await?;
        if missing.iter().any(|range| range.to > from) {
            return Ok(true);
        }
        let mut next = from;
        loop {
            let records = self.history().recorded(next, PAGE).await?;
            let Some(last) = records.last() else {
                return Ok(false);
            };
            next = last.offset.saturating_add(1);
            if records.iter().any(|record| is_of(record, entity, state)) {
                return Ok(true);
            }
        }
    }
}

/// Whether an event is the entity's own, or one of its runs.
fn is_of(record: &Record, entity: &EntityId, state: &EntityState) -> bool {
    match &record.stream {
        StreamId::Entity(other) => other == entity,
        StreamId::Run(run) => state.runs.contains(run),
        StreamId::Journal => false,
    }
}
