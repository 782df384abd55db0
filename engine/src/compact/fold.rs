//! What the events before an offset come to, stream by stream.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    audit::{AuditError, Flaw, Violation},
    journal::{ChainedJournal, Offset, Rest, RunEnd, Seal, Snapshot, Stored},
    model::{EntityId, EntityState, EventKind, Hash, Name, RunId, RunState, StreamId, Timestamp},
};

/// What is read at once.
const PAGE: usize = 1_000;

/// How far a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    next_seq: u64,
    hash: Hash,
    first: Offset,
    last: Offset,
}

impl Span {
    fn of_seal(seal: &Seal) -> Self {
        Self {
            next_seq: seal.next_seq,
            hash: seal.hash,
            first: seal.first,
            last: seal.last,
        }
    }

    /// The span with one more record, which has to follow.
    fn with(span: Option<Self>, stored: &Stored) -> Result<Self, AuditError> {
        let (next, hash) = span.map_or((0, Hash::default()), |span| (span.next_seq, span.hash));
        if stored.seq != next || stored.prev != hash {
            let what = "it does not follow the record before it";
            return Err(Violation::of_record(Flaw::Reordered, stored, what).into());
        }
        Ok(Self {
            next_seq: next.saturating_add(1),
            hash: stored.hash,
            first: span.map_or(stored.offset, |span| span.first),
            last: stored.offset,
        })
    }

    fn seal(self, stream: StreamId, rest: Rest) -> Seal {
        Seal {
            stream,
            next_seq: self.next_seq,
            hash: self.hash,
            first: self.first,
            last: self.last,
            rest,
        }
    }
}

#[derive(Debug)]
struct Entity {
    span: Span,
    snapshot: Snapshot,
}

#[derive(Debug)]
struct Run {
    span: Span,
    /// None of one that is archived.
    workflow: Option<Name>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Open(Box<RunState>),
    Over(RunEnd),
    /// Over, and its records are not in the journal any more.
    Archived(RunEnd),
}

/// Every stream, folded up to an offset.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    entities: BTreeMap<EntityId, Entity>,
    runs: BTreeMap<RunId, Run>,
    own: Option<Span>,
    /// Records that were taken in and are still in the journal.
    pub(super) standing: u64,
}

impl Fold {
    /// What the journal holds below its horizon; nothing where it has none.
    pub(super) async fn below(journal: &dyn ChainedJournal) -> Result<Self, AuditError> {
        let mut fold = Self::default();
        let Some(horizon) = journal.horizon().await? else {
            return Ok(fold);
        };
        let mut after = None;
        loop {
            let page = journal.seals(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.stream.clone());
            page.into_iter().for_each(|seal| fold.take_over(seal));
        }
        for stored in kept(journal, horizon.offset).await? {
            fold.take(&stored)?;
        }
        Ok(fold)
    }

    fn take_over(&mut self, seal: Seal) {
        let span = Span::of_seal(&seal);
        match (seal.stream, seal.rest) {
            (StreamId::Entity(id), Rest::Entity(snapshot)) => {
                let snapshot = *snapshot;
                self.entities.insert(id, Entity { span, snapshot });
            }
            (StreamId::Run(id), Rest::Run(end)) => {
                let progress = Progress::Archived(end);
                let workflow = None;
                self.runs.insert(
                    id,
                    Run {
                        span,
                        workflow,
                        progress,
                    },
                );
            }
            (StreamId::Journal, Rest::Journal) => self.own = Some(span),
            // Its records follow.
            _ => {}
        }
    }

    /// Takes in the next record of a stream.
    ///
    /// # Errors
    /// When it does not follow what came before.
    pub(crate) fn take(&mut self, stored: &Stored) -> Result<(), AuditError> {
        self.standing = self.standing.saturating_add(1);
        match &stored.stream {
            StreamId::Entity(id) => self.take_entity(id, stored),
            StreamId::Run(id) => self.take_run(*id, stored),
            StreamId::Journal => {
                self.own = Some(Span::with(self.own, stored)?);
                Ok(())
            }
        }
    }

    fn take_entity(&mut self, id: &EntityId, stored: &Stored) -> Result<(), AuditError> {
        let event = stored.record()?.event;
        let span = self.entities.get(id).map(|entity| entity.span);
        let span = Span::with(span, stored)?;
        let entity = self.entities.entry(id.clone()).or_insert_with(|| Entity {
            span,
            snapshot: Snapshot {
                state: EntityState::default(),
                created: event.at,
                changed: event.at,
            },
        });
        entity.span = span;
        let state = &mut entity.snapshot.state;
        state.apply(&event).map_err(|why| unfit(stored, &why))?;
        if let EventKind::StateChanged { .. } = event.kind {
            entity.snapshot.changed = event.at;
        }
        Ok(())
    }

    fn take_run(&mut self, id: RunId, stored: &Stored) -> Result<(), AuditError> {
        let event = stored.record()?.event;
        let span = Span::with(self.runs.get(&id).map(|run| run.span), stored)?;
        let run = self.runs.entry(id).or_insert_with(|| Run {
            span,
            workflow: None,
            progress: Progress::Open(Box::default()),
        });
        run.span = span;
        if let EventKind::RunStarted { graph, .. } = &event.kind {
            run.workflow = Some(graph.workflow.clone());
        }
        let Progress::Open(state) = &mut run.progress else {
            let what = "it stands after the end of its run";
            return Err(Violation::of_record(Flaw::Reordered, stored, what).into());
        };
        state.apply(&event).map_err(|why| unfit(stored, &why))?;
        if let Some(result) = state.result() {
            run.progress = Progress::Over(RunEnd::of(result));
        }
        Ok(())
    }

    /// The runs whose events have to stay: those that are open, and of an entity that is still
    /// there the newest, the one that reached what is wanted, and the newest of each workflow that
    /// succeeded, since what it found out may still be asked for.
    pub(super) fn needed_runs(
        &self,
        is_gone: impl Fn(&EntityId, &EntityState, u64) -> bool,
    ) -> BTreeSet<RunId> {
        let open = self
            .runs
            .iter()
            .filter(|(_, run)| matches!(run.progress, Progress::Open(_)));
        let mut needed: BTreeSet<_> = open.map(|(id, _)| *id).collect();
        for (id, entity) in &self.entities {
            let state = &entity.snapshot.state;
            if is_gone(id, state, entity.span.next_seq) {
                continue;
            }
            needed.extend(state.active.as_ref().map(|run| run.run));
            needed.extend(state.last.as_ref().map(|run| run.run));
            needed.extend(state.reached_by);
            needed.extend(self.newest_of_each_workflow(state));
        }
        needed
    }

    fn newest_of_each_workflow(&self, state: &EntityState) -> impl Iterator<Item = RunId> {
        let mut newest = BTreeMap::new();
        for id in &state.runs {
            if let Some(run) = self.runs.get(id)
                && matches!(run.progress, Progress::Over(RunEnd::Succeeded))
            {
                newest.insert(run.workflow.as_ref(), *id);
            }
        }
        newest.into_values()
    }

    /// A seal for every stream, in the order of their texts; the runs `needed` are kept where
    /// their records still are.
    pub(super) fn seals(self, needed: &BTreeSet<RunId>) -> Vec<Seal> {
        let mut seals = Vec::with_capacity(self.entities.len().saturating_add(self.runs.len()));
        for (id, mut entity) in self.entities {
            entity
                .snapshot
                .state
                .runs
                .retain(|run| needed.contains(run));
            let rest = Rest::Entity(Box::new(entity.snapshot));
            seals.push(entity.span.seal(StreamId::Entity(id), rest));
        }
        for (id, run) in self.runs {
            let rest = match run.progress {
                Progress::Archived(end) => Rest::Run(end),
                Progress::Over(end) if !needed.contains(&id) => Rest::Run(end),
                Progress::Over(_) | Progress::Open(_) => Rest::Kept,
            };
            seals.push(run.span.seal(StreamId::Run(id), rest));
        }
        let own = self
            .own
            .map(|span| span.seal(StreamId::Journal, Rest::Journal));
        seals.extend(own);
        seals.sort_by_cached_key(|seal| seal.stream.to_string());
        seals
    }

    /// Whether a seal says what these events come to.
    pub(crate) fn bears_out(&self, seal: &Seal) -> bool {
        let span = Some(Span::of_seal(seal));
        match (&seal.stream, &seal.rest) {
            (StreamId::Entity(id), Rest::Entity(snapshot)) => {
                self.entities.get(id).is_some_and(|entity| {
                    let mut folded = entity.snapshot.clone();
                    let left = &snapshot.state.runs;
                    folded.state.runs.retain(|run| left.contains(run));
                    Some(entity.span) == span && folded == **snapshot
                })
            }
            (StreamId::Run(id), rest) => self.runs.get(id).is_some_and(|run| {
                let end = match (&run.progress, rest) {
                    (Progress::Over(end), Rest::Run(sealed)) => end == sealed,
                    (_, rest) => *rest == Rest::Kept,
                };
                Some(run.span) == span && end
            }),
            (StreamId::Journal, Rest::Journal) => self.own == span,
            _ => false,
        }
    }

    /// How many streams there are.
    pub(crate) fn streams(&self) -> usize {
        let own = usize::from(self.own.is_some());
        self.entities
            .len()
            .saturating_add(self.runs.len())
            .saturating_add(own)
    }
}

/// The records below the horizon that are still there.
pub(super) async fn kept(
    journal: &dyn ChainedJournal,
    horizon: Offset,
) -> Result<Vec<Stored>, AuditError> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let page = journal.read_stored(from, PAGE).await?;
        let count = page.len();
        from = page
            .last()
            .map_or(horizon, |last| last.offset.saturating_add(1));
        all.extend(
            page.into_iter()
                .take_while(|stored| stored.offset < horizon),
        );
        if count < PAGE || from >= horizon {
            return Ok(all);
        }
    }
}

fn unfit(stored: &Stored, why: &crate::model::Divergence) -> AuditError {
    let what = format!("it cannot follow what came before it: {why}");
    Violation::of_record(Flaw::Changed, stored, what).into()
}

/// Whether a record is younger than a moment.
pub(super) fn is_young(stored: &Stored, before: Timestamp) -> Result<bool, AuditError> {
    Ok(stored.record()?.event.at >= before)
}
