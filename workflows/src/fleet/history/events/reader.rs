//! Reads the events of the whole journal, page by page.

use std::collections::BTreeSet;

use vsiflow_engine::{
    journal::{Missing, Offset, Record},
    model::{EntityId, Name, RunId, StreamId},
};

use super::{HistoryLine, missing_line, render::HistoryLines};
use crate::fleet::{Fleet, FleetError, HistoryHandle};

/// How many open runs are remembered, with their beginnings, to compute durations. Beyond that number, all
/// are dropped and read again.
const MAX_REMEMBERED: usize = 20_000;

/// Reads the events of the whole journal in its order, from an offset on.
pub struct EventReader {
    fleet: Fleet,
    lines: HistoryLines,
    /// The entity of events that belong to the journal itself.
    journal_entity: EntityId,
    from: Offset,
}

impl HistoryHandle<'_> {
    /// The events of the whole journal from an offset on.
    ///
    /// # Errors
    /// Only on a defect of vsiflow.
    pub fn events(self, from: Offset) -> Result<EventReader, FleetError> {
        let journal_entity = EntityId::new(Name::of("engine"), "journal");
        Ok(EventReader {
            fleet: self.fleet.clone(),
            lines: HistoryLines::default(),
            journal_entity: journal_entity
                .map_err(|error| FleetError::defect(error.to_string()))?,
            from,
        })
    }

    /// The offset that the next event will have.
    pub fn end(self) -> Offset {
        self.fleet.engine.end()
    }
}

impl EventReader {
    /// The offset of the next event that this reader reads.
    pub fn from(&self) -> Offset {
        self.from
    }

    /// At most `limit` events, and a line of the kind `missing` for each range between them that cannot be
    /// read any more; nothing if there are none yet. For runs that began before the first page, their
    /// beginnings are read, so durations are the same wherever a reader began. Not cancel safe: a page that
    /// is dropped is not read again.
    ///
    /// # Errors
    /// When the journal cannot be read; the next call reads the same page again.
    pub async fn page(&mut self, limit: usize) -> Result<Vec<HistoryLine>, FleetError> {
        let records = self.fleet.history().recorded(self.from, limit).await?;
        let Some(last) = records.last().map(|record| record.offset) else {
            return Ok(Vec::new());
        };
        let missing = self.fleet.journal.missing().await?;
        let (from, to) = (self.from, last);
        let between = |range: &&Missing| range.from >= from && range.from < to;
        if self.lines.remembered() > MAX_REMEMBERED {
            self.lines = HistoryLines::default();
        }
        self.read_back(&records).await?;
        let gaps = missing.iter().filter(between);
        let mut lines: Vec<_> = gaps
            .map(|range| missing_line(&self.journal_entity, range))
            .collect();
        lines.extend(records.iter().map(|record| self.line(record)));
        lines.sort_by_key(|line| line.offset);
        self.from = last.saturating_add(1);
        Ok(lines)
    }

    /// Reads the earlier events of the runs in these records.
    async fn read_back(&mut self, records: &[Record]) -> Result<(), FleetError> {
        let mut seen = BTreeSet::new();
        for record in records {
            let StreamId::Run(run) = record.stream else {
                continue;
            };
            // The events of a run within this page are in the order of its stream.
            let is_first = seen.insert(run);
            if !is_first || record.seq == 0 || self.lines.knows(run) {
                continue;
            }
            let before = self.fleet.readable_records(&record.stream).await?;
            for earlier in before.iter().filter(|earlier| earlier.seq < record.seq) {
                self.lines.line(&self.journal_entity, earlier);
            }
        }
        Ok(())
    }

    fn line(&mut self, record: &Record) -> HistoryLine {
        let mut line = self.lines.line(&self.journal_entity, record);
        // The run's beginning was not read, but the engine knows its entity.
        if let StreamId::Run(run) = record.stream
            && !self.lines.knows(run)
        {
            self.complete(&mut line, run);
        }
        line
    }

    fn complete(&self, line: &mut HistoryLine, run: RunId) {
        let Some(state) = self.fleet.engine.run(run) else {
            return;
        };
        if let Some(entity) = &state.entity {
            line.entity = entity.to_string();
        }
        line.workflow = line
            .workflow
            .take()
            .or_else(|| state.graph.as_ref().map(|graph| graph.workflow.to_string()));
    }
}
