//! The phase of an entity, derived from the events of its streams.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, EntityState, Name, NodeState, RunResult, RunState, Text},
    step::Step as _,
    workflow::EntityView,
};
use vsiflow_steps::{
    ports::DomainState,
    vsi::{
        AdoptDomain, AwaitReady, DefineDomain, ResumeDomain, StartDomain, StopDomain,
        SuspendDomain, adopt_domain,
    },
};

use crate::{
    data_disk, delete_vsi, drift, group, network, pool, record::kind, remove_base_image, snapshot,
    update_vsi,
};

/// The states of a VSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// It is recorded, and nothing was done yet.
    Pending,
    /// Its parts are being made.
    Provisioning,
    /// Its guest was started and has not said that it is ready.
    Booting,
    /// Its guest said that it is ready.
    Running,
    /// A change is under way.
    Updating,
    /// It is off, as wanted.
    Stopped,
    /// It is suspended, as wanted.
    Paused,
    /// It runs, but not as wanted.
    Degraded,
    /// Its boot failed.
    Failed,
    /// Something has to be removed or decided first.
    Blocked,
    /// It is being removed.
    Deleting,
    /// It is gone.
    Deleted,
    /// Something that was recorded of it cannot be read: nothing is done for it.
    Unreadable,
}

impl Phase {
    /// The name of the phase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Booting => "Booting",
            Self::Running => "Running",
            Self::Updating => "Updating",
            Self::Stopped => "Stopped",
            Self::Paused => "Paused",
            Self::Degraded => "Degraded",
            Self::Failed => "Failed",
            Self::Blocked => "Blocked",
            Self::Deleting => "Deleting",
            Self::Deleted => "Deleted",
            Self::Unreadable => "Unreadable",
        }
    }

    /// The phase of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    /// The phase that is recorded for an entity.
    pub(crate) fn recorded(state: &EntityState) -> Option<Self> {
        let (name, _) = state.state.as_ref()?;
        Self::named(name.as_str())
    }

    /// The status integer of the earlier operator: 1 ready, 2 error, 0 anything else.
    pub fn old_status(self) -> u8 {
        match self {
            Self::Running | Self::Degraded => 1,
            Self::Failed | Self::Blocked | Self::Unreadable => 2,
            _ => 0,
        }
    }
}

const ALL: [Phase; 13] = [
    Phase::Pending,
    Phase::Provisioning,
    Phase::Booting,
    Phase::Running,
    Phase::Updating,
    Phase::Stopped,
    Phase::Paused,
    Phase::Degraded,
    Phase::Failed,
    Phase::Blocked,
    Phase::Deleting,
    Phase::Deleted,
    Phase::Unreadable,
];

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` applies the widths of tables.
        f.pad(self.as_str())
    }
}

/// The state to record for an entity, with its cause.
pub fn state(view: &EntityView<'_>) -> Option<(Name, Text)> {
    let (state, detail) = match view.id.kind().as_str() {
        kind::VSI => vsi(view),
        kind::IMAGE => image(view),
        kind::DISK => disk(view)?,
        kind::SNAPSHOT => snapshot(view)?,
        kind::NETWORK => disk(view)?,
        _ => return None,
    };
    Some((Name::of(state), detail))
}

/// Whether an entity is deleted, so that its history need not be held in memory.
pub fn is_gone(entity: &EntityId, state: &EntityState) -> bool {
    let comes_and_goes = [
        kind::VSI,
        kind::IMAGE,
        kind::DISK,
        kind::POOL,
        kind::GROUP,
        kind::SNAPSHOT,
        kind::NETWORK,
    ];
    let comes_and_goes = comes_and_goes.contains(&entity.kind().as_str());
    let recorded = state.state.as_ref().map(|(name, _)| name.as_str());
    comes_and_goes && state.active.is_none() && recorded == Some(Phase::Deleted.as_str())
}

/// Whether an entity is to be deleted or forgotten, or is.
pub fn is_deleting(state: &EntityState) -> bool {
    const ENDINGS: [&str; 10] = [
        delete_vsi::NAME,
        delete_vsi::FORGET,
        data_disk::DELETE,
        data_disk::FORGET,
        network::DELETE,
        network::FORGET,
        pool::DELETE,
        pool::FORGET,
        group::DELETE,
        group::FORGET,
    ];
    let desired = state.desired.as_ref();
    desired.is_some_and(|desired| ENDINGS.contains(&desired.workflow.as_str()))
}

fn vsi(view: &EntityView<'_>) -> (&'static str, Text) {
    let (phase, detail) = match (&view.entity.active, is_deleting(view.entity)) {
        (_, true) => transition(view),
        (Some(_), false) => under_way(view),
        (None, false) => settled(view),
    };
    (phase.as_str(), detail)
}

fn transition(view: &EntityView<'_>) -> (Phase, Text) {
    let done = view.entity.is_settled();
    if done {
        return (Phase::Deleted, Text::default());
    }
    let last = view
        .entity
        .last
        .as_ref()
        .filter(|_| view.entity.active.is_none());
    let detail = last
        .map(|last| ended(&last.result))
        .or_else(|| blocked(view));
    (Phase::Deleting, detail.unwrap_or_default())
}

fn under_way(view: &EntityView<'_>) -> (Phase, Text) {
    let cause = blocked(view);
    if let Some(standing) = untouched(view) {
        // The guest is not affected; the obstacle to the change is the detail.
        return match (standing, cause) {
            (Phase::Running, Some(cause)) => (Phase::Degraded, cause),
            (standing, cause) => (standing, cause.unwrap_or_default()),
        };
    }
    if let Some(cause) = cause {
        return (Phase::Blocked, cause);
    }
    let phase = match view.run {
        Some(run) if succeeded(run, StartDomain::NAME) => Phase::Booting,
        Some(run) if is_update(run) => Phase::Updating,
        Some(run) if run.nodes.values().any(|node| *node != NodeState::Waiting) => {
            Phase::Provisioning
        }
        _ => Phase::Pending,
    };
    let adopts = phase == Phase::Provisioning && view.run.is_some_and(is_adoption);
    let detail = if adopts {
        Text::new("the existing domain is adopted without changes")
    } else {
        Text::default()
    };
    (phase, detail)
}

fn is_adoption(run: &RunState) -> bool {
    run.nodes.contains_key(&Name::of(AdoptDomain::NAME))
}

fn is_update(run: &RunState) -> bool {
    let workflow = run.graph.as_ref().map(|graph| graph.workflow.as_str());
    workflow == Some(update_vsi::NAME)
}

/// The steps that a guest notices.
const NOTICED: [&str; 5] = [
    StopDomain::NAME,
    DefineDomain::NAME,
    StartDomain::NAME,
    SuspendDomain::NAME,
    ResumeDomain::NAME,
];

/// The phase of a guest that an open update has not touched yet.
fn untouched(view: &EntityView<'_>) -> Option<Phase> {
    let run = view.run.filter(|run| is_update(run))?;
    let begun = |step: &&str| {
        let node = run.nodes.get(&Name::of(step));
        node.is_some_and(|node| node.attempt() > 0)
    };
    if NOTICED.iter().any(begun) {
        None
    } else {
        guest_phase(view.entity)
    }
}

/// The recorded phase, if it describes the guest.
fn guest_phase(entity: &EntityState) -> Option<Phase> {
    let (name, detail) = entity.state.as_ref()?;
    let phase = Phase::named(name.as_str())?;
    match phase {
        Phase::Running | Phase::Stopped | Phase::Paused => Some(phase),
        // Degraded only by the obstacle to a change: the guest ran.
        Phase::Degraded if !drift::tells_drift(detail) => Some(Phase::Running),
        _ => None,
    }
}

fn succeeded(run: &RunState, node: &str) -> bool {
    matches!(
        run.nodes.get(&Name::of(node)),
        Some(NodeState::Succeeded { .. })
    )
}

fn blocked(view: &EntityView<'_>) -> Option<Text> {
    let obstacle = view.obstacle?;
    let stands = matches!(obstacle.state, NodeState::Blocked { .. });
    stands.then(|| Text::new(obstacle.failure.to_string()))
}

fn settled(view: &EntityView<'_>) -> (Phase, Text) {
    let entity = view.entity;
    let Some(last) = &entity.last else {
        return (Phase::Pending, Text::default());
    };
    let newer = entity
        .desired
        .as_ref()
        .is_some_and(|want| want.generation > entity.attempted);
    let found = entity
        .state
        .as_ref()
        .filter(|(_, detail)| drift::tells_drift(detail));
    if let Some((name, detail)) = found {
        // What a scan found remains valid until a run, or another scan, finds otherwise.
        let phase = Phase::named(name.as_str()).unwrap_or(Phase::Degraded);
        return (phase, detail.clone());
    }
    let before = || guest_phase(entity).filter(|_| entity.reached > 0);
    match &last.result {
        RunResult::Failed(_) if !newer => (Phase::Failed, ended(&last.result)),
        RunResult::Cancelled if !newer => (Phase::Blocked, ended(&last.result)),
        RunResult::Succeeded if !newer => (
            outcome(view).or_else(before).unwrap_or(Phase::Running),
            Text::default(),
        ),
        _ => (before().unwrap_or(Phase::Pending), Text::default()),
    }
}

/// The phase after a run that succeeded, by its last action on the guest.
fn outcome(view: &EntityView<'_>) -> Option<Phase> {
    let run = view.run?;
    let did = |step: &str| succeeded(run, step);
    if let Some(node) = run.nodes.get(&Name::of(AdoptDomain::NAME)) {
        return adopted(node);
    }
    if did(SuspendDomain::NAME) {
        Some(Phase::Paused)
    } else if did(StartDomain::NAME) || did(AwaitReady::NAME) {
        Some(Phase::Running)
    } else if did(StopDomain::NAME) || did(DefineDomain::NAME) {
        Some(Phase::Stopped)
    } else {
        None
    }
}

fn ended(result: &RunResult) -> Text {
    match result {
        RunResult::Failed(failure) => Text::new(failure.to_string()),
        RunResult::Cancelled => Text::new("cancelled; run `vsiflow retry` to continue"),
        RunResult::Succeeded | RunResult::Superseded => Text::default(),
    }
}

/// The state of a data disk or a network. None for a disk that an earlier version left to the runs of
/// VSIs.
fn disk(view: &EntityView<'_>) -> Option<(&'static str, Text)> {
    let workflow = view.entity.desired.as_ref()?.workflow.as_str();
    let ends = [
        data_disk::DELETE,
        data_disk::FORGET,
        network::DELETE,
        network::FORGET,
    ];
    let leaving = ends.contains(&workflow);
    if workflow == kind::DISK {
        return None;
    }
    let last = view.entity.last.as_ref();
    Some(match (&view.entity.active, last) {
        _ if leaving && view.entity.is_settled() => ("Deleted", Text::default()),
        (Some(_), _) if leaving => ("Deleting", blocked(view).unwrap_or_default()),
        (Some(_), _) => match blocked(view) {
            Some(cause) => ("Blocked", cause),
            None => ("Creating", Text::default()),
        },
        (None, _) if leaving => ("Deleting", Text::default()),
        (None, Some(last)) if last.result == RunResult::Succeeded => ("Ready", Text::default()),
        (None, Some(last)) => ("Blocked", ended(&last.result)),
        (None, None) => ("Pending", Text::default()),
    })
}

/// The state of a snapshot. `Pending` until its VSI's run starts to take it.
fn snapshot(view: &EntityView<'_>) -> Option<(&'static str, Text)> {
    let workflow = view.entity.desired.as_ref()?.workflow.as_str();
    let leaving = [snapshot::DELETE, snapshot::FORGET].contains(&workflow);
    let last = view.entity.last.as_ref();
    Some(match (&view.entity.active, last) {
        (None, _) if leaving && view.entity.is_settled() => ("Deleted", Text::default()),
        (_, _) if leaving => ("Deleting", blocked(view).unwrap_or_default()),
        (Some(_), _) => match blocked(view) {
            Some(cause) => ("Blocked", cause),
            None => ("Creating", Text::default()),
        },
        (None, Some(last)) => match &last.result {
            RunResult::Succeeded => ("Ready", Text::default()),
            RunResult::Superseded => ("Failed", Text::new(ABANDONED)),
            other => ("Failed", ended(other)),
        },
        (None, None) => match &view.entity.state {
            // It was noted that nothing will take it any more.
            Some((name, why)) if name.as_str() == Phase::Failed.as_str() => ("Failed", why.clone()),
            _ => ("Pending", Text::default()),
        },
    })
}

/// Why a snapshot was abandoned.
pub(crate) const ABANDONED: &str =
    "another change of the VSI took its place; delete it and take a new one";

fn image(view: &EntityView<'_>) -> (&'static str, Text) {
    let leaving = view
        .entity
        .desired
        .as_ref()
        .is_some_and(|desired| desired.workflow.as_str() == remove_base_image::NAME);
    match (&view.entity.active, &view.entity.last) {
        (Some(_), _) => match blocked(view) {
            Some(cause) => ("Blocked", cause),
            None if leaving => ("Deleting", Text::default()),
            None => ("Uploading", Text::default()),
        },
        (None, Some(last)) if last.result == RunResult::Succeeded && leaving => {
            ("Deleted", Text::default())
        }
        (None, Some(last)) if last.result == RunResult::Succeeded => ("Ready", Text::default()),
        (None, Some(last)) => ("Partial", ended(&last.result)),
        (None, None) => ("Pending", Text::default()),
    }
}

/// The phase in which an adopted VSI was found.
fn adopted(node: &NodeState) -> Option<Phase> {
    let NodeState::Succeeded { output, .. } = node else {
        return None;
    };
    let output: adopt_domain::Output = serde_json::from_slice(output.inline()?).ok()?;
    Some(match output.state {
        DomainState::Running
        | DomainState::ShuttingDown
        | DomainState::Starting
        | DomainState::Held => Phase::Running,
        DomainState::Paused => Phase::Paused,
        DomainState::ShutOff | DomainState::Crashed => Phase::Stopped,
    })
}

/// The recorded state of a cordoned host.
pub(crate) const IS_CORDONED: &str = "Cordoned";

/// The reason for a host's cordon, from its recorded state; `None` if it is not cordoned.
pub(crate) fn why_cordoned(state: Option<&(Name, Text)>) -> Option<&str> {
    let (name, why) = state?;
    (name.as_str() == IS_CORDONED).then_some(why.as_str())
}
