//! Exports the states of a projection for the index and for bases.

use std::collections::BTreeSet;

use super::Projection;
use crate::{
    journal::{States, StatesUpdate, StreamState},
    model::{RunId, StreamId},
};

impl Projection {
    fn update<'a>(&self, streams: impl Iterator<Item = &'a StreamId>) -> StatesUpdate {
        StatesUpdate {
            as_of: self.as_of,
            link: None,
            changed: streams.filter_map(|stream| self.state(stream)).collect(),
            forgotten: Vec::new(),
        }
    }

    /// The first update for an index: the streams in which it lags behind, or all.
    pub(in crate::executor) fn first_update(&mut self, all: bool) -> StatesUpdate {
        let lagging = std::mem::take(&mut self.lagging);
        if all {
            self.whole_update()
        } else {
            self.update(lagging.iter())
        }
    }

    /// Drops the states of runs; only their ids are remembered.
    pub(in crate::executor) fn forget(&mut self, runs: &BTreeSet<RunId>) -> StatesUpdate {
        for run in runs {
            self.runs.remove(run);
        }
        self.forgotten.extend(runs);
        StatesUpdate {
            as_of: self.as_of,
            forgotten: runs.iter().map(|run| StreamId::Run(*run)).collect(),
            ..StatesUpdate::default()
        }
    }

    /// All states as an update for an index. The journal adds the link.
    pub(in crate::executor) fn whole_update(&self) -> StatesUpdate {
        StatesUpdate {
            as_of: self.as_of,
            changed: self.states().streams,
            ..StatesUpdate::default()
        }
    }

    /// All states, for a base.
    pub(in crate::executor) fn states(&self) -> States {
        let entities = (self.entities.iter())
            .map(|(id, folded)| StreamState::Entity(id.clone(), folded.clone()));
        let runs = (self.runs.iter()).map(|(id, folded)| StreamState::Run(*id, folded.clone()));
        let journal = self.state(&StreamId::Journal);
        States {
            as_of: self.as_of,
            link: None,
            streams: entities.chain(runs).chain(journal).collect(),
        }
    }

    fn state(&self, stream: &StreamId) -> Option<StreamState> {
        match stream {
            StreamId::Entity(id) => {
                let folded = self.entities.get(id)?.clone();
                Some(StreamState::Entity(id.clone(), folded))
            }
            StreamId::Run(id) => Some(StreamState::Run(*id, self.runs.get(id)?.clone())),
            StreamId::Journal => {
                let (next_seq, hash) = self.own;
                (next_seq > 0).then_some(StreamState::Journal { next_seq, hash })
            }
        }
    }
}
