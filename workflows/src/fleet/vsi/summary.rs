//! Summaries of VSIs for lists: a few fields each, cached as long as the VSI does not change.
//!
//! The states that a summary is computed from are never changed in place. While the engine returns the same
//! state objects, the summary is still valid. So a list costs only what changed since the last one.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityId, EntityState, RunState},
    step::Step as _,
};
use vsiflow_steps::vsi::AwaitReady;

use super::object::{VsiObject, current_step, metadata, steps_done};
use crate::{
    fleet::{
        Fleet, FleetError, Metadata, VsiHandle, history::outputs::texts, index::Known,
        unreadable::DesiredReading, vsi::conditions,
    },
    phase::Phase,
    record::kind,
};

/// A VSI as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct VsiSummary {
    /// Name, namespace, UID and other metadata.
    pub metadata: Metadata,
    /// The phase.
    pub phase: Phase,
    /// The status of the `Ready` condition: `True`, `False` or `Unknown`.
    pub ready: Cow<'static, str>,
    /// The host's id.
    pub host: String,
    /// The guest's addresses.
    pub ip_addresses: Vec<String>,
    /// The step that is running, or that failed.
    pub current_step: Option<String>,
    /// How many of the open run's steps are done, and how many there are in total.
    pub progress: Option<(usize, usize)>,
    /// The URL of its image.
    pub image: String,
    /// The pool that it is a member of.
    pub pool: Option<String>,
    /// Whether a change of it waits for approval.
    pub awaits_approval: bool,
}

impl From<&VsiObject> for VsiSummary {
    fn from(object: &VsiObject) -> Self {
        let status = &object.status;
        let progress = status.progress.as_ref();
        let image = object.spec.get("imageURL").and_then(|url| url.as_str());
        Self {
            metadata: object.metadata.clone(),
            phase: status.phase,
            ready: status.ready(),
            host: status.host.clone(),
            ip_addresses: status.ip_addresses.clone(),
            current_step: status.current_step.clone(),
            progress: progress.map(|progress| (progress.done, progress.total)),
            image: image.unwrap_or_default().to_owned(),
            pool: None,
            awaits_approval: status.proposal.is_some(),
        }
    }
}

/// A summary and the states that it was computed from.
struct CachedSummary {
    state: Arc<EntityState>,
    /// The open run. A run that has ended does not change any more.
    run: Option<Arc<RunState>>,
    addresses: Option<Vec<String>>,
    summary: Arc<VsiSummary>,
}

impl CachedSummary {
    fn holds(&self, state: &Arc<EntityState>, run: Option<&Arc<RunState>>) -> bool {
        let same_run = match (&self.run, run) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_run && Arc::ptr_eq(&self.state, state)
    }
}

/// The cached summaries; at most one for each VSI.
#[derive(Default)]
pub(in crate::fleet) struct Summaries(Mutex<BTreeMap<EntityId, CachedSummary>>);

/// A VSI without a valid summary.
struct Changed {
    entity: EntityId,
    state: Arc<EntityState>,
    run: Option<Arc<RunState>>,
}

impl VsiHandle<'_> {
    /// All VSIs by namespace and name; with `deleted`, also deleted ones.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn summaries(self, deleted: bool) -> Result<Vec<Arc<VsiSummary>>, FleetError> {
        let (mut all, changed) = self.fleet.remembered();
        let changed = self.fleet.in_pieces(changed, |fleet, some| async move {
            let mut summarised = Vec::with_capacity(some.len());
            for uid in some {
                summarised.push(fleet.summarised(uid).await?);
            }
            Ok(summarised)
        });
        for summarised in changed.await? {
            match summarised {
                Summarised::As(summary) => all.push(summary),
                Summarised::Nothing => {}
                // Unreadable VSIs are rare, and are shown with everything that is known of them.
                Summarised::Unreadable => {
                    let objects = self.list(deleted).await?;
                    let summaries = objects.iter().map(|object| Arc::new(object.into()));
                    return Ok(summaries.collect());
                }
            }
        }
        all.retain(|summary| deleted || summary.phase != Phase::Deleted);
        all.sort_by(|one, other| place(one).cmp(&place(other)));
        Ok(all)
    }
}

impl Fleet {
    /// The summaries that are still valid, and the VSIs without one.
    fn remembered(&self) -> (Vec<Arc<VsiSummary>>, Vec<Changed>) {
        let unreadable = self.engine.all_unreadable();
        let (mut all, mut changed) = (Vec::new(), Vec::new());
        let entities = self.entities_of(kind::VSI);
        let mut known = self
            .summaries
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() > entities.len() {
            known.clear();
        }
        for (entity, state) in entities {
            let run = state.active.as_ref().map(|active| active.run);
            let run = run.and_then(|run| self.engine.run(run));
            let found = known.get(&entity).filter(|found| {
                let uid = entity.id().parse::<Uuid>();
                let addresses = uid.ok().and_then(|uid| self.addresses.get(uid));
                found.holds(&state, run.as_ref())
                    && found.addresses == addresses
                    && !unreadable.contains_key(&entity)
            });
            match found {
                Some(found) => all.push(found.summary.clone()),
                None => changed.push(Changed { entity, state, run }),
            }
        }
        (all, changed)
    }

    async fn summarised(&self, changed: Changed) -> Result<Summarised, FleetError> {
        let Changed { entity, state, run } = changed;
        let known = match self.read_known(entity, state).await? {
            DesiredReading::Record(known) => known,
            DesiredReading::Nothing => return Ok(Summarised::Nothing),
            DesiredReading::Lost(_) => return Ok(Summarised::Unreadable),
        };
        if known.unreadable.is_some() {
            return Ok(Summarised::Unreadable);
        }
        let addresses = self.addresses.get(known.record.uid);
        let summary = self.summary(&known, run.as_deref(), addresses.as_ref());
        let summary = Arc::new(summary.await?);
        let cached = CachedSummary {
            state: known.state,
            run,
            addresses,
            summary: summary.clone(),
        };
        let mut all = self
            .summaries
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(known.entity, cached);
        Ok(Summarised::As(summary))
    }

    /// The summary of a VSI, with the same values as [`Fleet::object`].
    async fn summary(
        &self,
        known: &Known,
        run: Option<&RunState>,
        seen: Option<&Vec<String>>,
    ) -> Result<VsiSummary, FleetError> {
        let (created, _) = self.engine.times(&known.entity).unwrap_or_default();
        let phase = known.phase();
        let ip_addresses = match (phase, seen) {
            (Phase::Stopped, _) => Vec::new(),
            (_, Some(seen)) => seen.clone(),
            (_, None) => {
                let ready = self.output_of(AwaitReady::NAME, &known.state).await?;
                texts(&ready, "addresses")
            }
        };
        Ok(VsiSummary {
            metadata: metadata(known, created),
            phase,
            ready: if conditions::is_ready(known) {
                Cow::Borrowed("True")
            } else {
                Cow::Borrowed("False")
            },
            host: known.record.vsi.host.clone(),
            ip_addresses,
            current_step: run.and_then(current_step),
            progress: run
                .filter(|run| run.result().is_none())
                .map(|run| (steps_done(run), run.nodes.len())),
            image: known.record.vsi.image.url.clone(),
            pool: known
                .record
                .vsi
                .member_of
                .as_ref()
                .map(|of| of.pool.clone()),
            awaits_approval: known.record.proposed.is_some(),
        })
    }
}

/// The result of summarising a VSI.
enum Summarised {
    As(Arc<VsiSummary>),
    /// The VSI has no desired state.
    Nothing,
    /// A part of the VSI cannot be read.
    Unreadable,
}

fn place(summary: &VsiSummary) -> (&str, &str) {
    (&summary.metadata.namespace, &summary.metadata.name)
}
