//! Commands that have something done with objects: they find them, send one request, say what was recorded, and wait for
//! the outcomes, whoever does the work.
//!
//! If the process that does it ends meanwhile, this one does it, or asks the next one: what is recorded is recorded once.

use std::borrow::Cow;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use vsiflow_api::{
    ActAnswer, ActEffect, ActRequest, ActedObject, ApplyRequest, AwaitedObject,
    CordonMembersRequest, DeleteRequest, DeletionTarget, DocumentNotes, JournalUse,
    MaintainHostRequest, ObjectOutcome, OutcomesRequest, Problem, RebuildRequest, RebuildTarget,
    RestoreSnapshotRequest, RollbackPoolRequest, ScaleRequest, ServiceRequest,
};
use vsiflow_workflows::fleet::{DrainedVsi, HistoryLine, VsiOverview, took};

use super::{event_lines::EventSource, graph_pane::LiveGraphs};
use crate::{
    actor,
    args::{Common, WaitArgs},
    daemon::{self, RETRY_DELAY, TIMEOUT},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::{ServiceSession, is_silence},
    work::{self, Reminder, SelectedObject, SelectedObjects, Target},
};

/// How long an answer waits for outcomes, in seconds. What happened meanwhile is shown then.
const POLL_SECONDS: u64 = 1;

/// A request that has something done with objects.
pub(super) trait ActingRequest: ServiceRequest<Answer = ActAnswer> + Clone {
    /// Names the objects that were selected, if the request can name several.
    fn name(&mut self, _objects: Vec<SelectedObject>) {}
}

impl ActingRequest for ApplyRequest {}

impl ActingRequest for ScaleRequest {}

impl ActingRequest for CordonMembersRequest {}

impl ActingRequest for RollbackPoolRequest {}

impl ActingRequest for MaintainHostRequest {}

impl ActingRequest for RestoreSnapshotRequest {}

impl ActingRequest for ActRequest {
    fn name(&mut self, objects: Vec<SelectedObject>) {
        let names = objects.iter().map(SelectedObject::qualified);
        self.names = names.collect();
    }
}

impl ActingRequest for DeleteRequest {
    fn name(&mut self, objects: Vec<SelectedObject>) {
        let targets = objects.into_iter().map(|object| DeletionTarget {
            uid: Some(object.uid.clone()),
            ..DeletionTarget::named(object.qualified())
        });
        self.objects = targets.collect();
    }
}

impl ActingRequest for RebuildRequest {
    fn name(&mut self, objects: Vec<SelectedObject>) {
        let targets = objects.into_iter().map(|object| RebuildTarget {
            name: object.qualified(),
            uid: Some(object.uid),
        });
        self.vsis = targets.collect();
    }
}

/// What a command has done, and what follows.
pub(super) struct Action<'a, R> {
    /// The request, without names if objects are selected.
    pub(super) request: R,
    /// The objects that are selected; `None` if the request says which.
    pub(super) selection: Option<SelectedObjects<'a>>,
    /// What follows the request.
    pub(super) follow_up: &'a dyn FollowUp,
}

/// What follows a request.
#[async_trait]
pub(super) trait FollowUp: Send + Sync {
    /// Says what was done, waits, and says what became of it, in a session. Called again in another one if the process that
    /// answered has ended.
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome;
}

/// Says what was recorded, and waits for the outcomes if the command does.
#[derive(Clone, Debug, Default)]
pub(super) struct ActionReport {
    /// How long the command waits.
    pub(super) wait: WaitArgs,
    /// What is said of an object if the command does not wait.
    pub(super) recorded: Cow<'static, str>,
    /// What is said of an object that is as it is to be; empty for its phase.
    pub(super) done: &'static str,
}

/// How many selected objects one request names: their names fit into a body of 64 KiB.
const SELECTED_AT_ONCE: usize = 250;
/// The same for outcomes, which are asked for by UIDs.
const AWAITED_AT_ONCE: usize = 500;

/// What was done with an object, and how the command names it.
pub(super) struct ActedTarget {
    pub(super) target: Target,
    pub(super) object: ActedObject,
}

/// The results of a request, in a form that survives the process that gave them.
#[derive(Default)]
pub(super) struct Acted {
    /// The objects that something follows for.
    pub(super) targets: Vec<ActedTarget>,
    /// The objects for which all is done.
    pub(super) finished: Vec<ActedObject>,
    /// What is done about each VSI of a host from which members are moved.
    pub(super) drained: Vec<DrainedVsi>,
    /// What could not be read, and may be concerned as well.
    pub(super) warnings: Vec<Problem>,
    /// What is said of documents beside what becomes of their objects.
    pub(super) notes: DocumentNotes,
    /// What was refused, or not done; the caller prints the last one.
    problems: Vec<ExitProblem>,
    stays: bool,
}

impl Acted {
    pub(super) fn of(answer: ActAnswer) -> Result<Self, ExitProblem> {
        let mut acted = Self {
            stays: answer.stays,
            drained: answer.drained,
            warnings: answer.warnings,
            notes: answer.notes,
            ..Self::default()
        };
        for mut object in answer.objects {
            if let Some(problem) = object.problem.take() {
                acted.problems.push(problem.into());
                continue;
            }
            let is_finished = object.effect == ActEffect::UnreadableForgotten;
            if is_finished || object.uid.is_empty() {
                acted.finished.push(object);
            } else {
                acted.targets.push(ActedTarget {
                    target: target_of(&object)?,
                    object,
                });
            }
        }
        let problems = answer.problems.into_iter().map(ExitProblem::from);
        acted.problems.extend(problems);
        Ok(acted)
    }

    /// Whether something was refused.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Whether there is nothing but refusals.
    fn is_refused(&self) -> bool {
        self.has_problems() && self.targets.is_empty() && self.finished.is_empty()
    }

    /// Whether the process that has recorded it works on everything.
    pub(super) fn stays(&self) -> bool {
        self.stays
    }

    /// Whether the process that has recorded it continues with the work after this command.
    pub(super) fn is_left_to_others(&self, wait: &WaitArgs) -> bool {
        self.stays && !wait.wait && wait.timeout.is_none()
    }
}

fn target_of(object: &ActedObject) -> Result<Target, ExitProblem> {
    Ok(Target {
        entity: object.entity()?,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    })
}

/// Whether this process has just had the request carried out, or continues after another one that ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Continued,
}

/// Has the request carried out once, then does what follows, in another session if the process that answered has ended. What
/// was refused is the outcome, after all that.
pub(super) async fn carry_out<R: ActingRequest>(
    common: &Common,
    action: &Action<'_, R>,
) -> CommandOutcome {
    let is_named = daemon::place(common)?.is_some();
    let mut acted: Option<Acted> = None;
    let mut silent_since: Option<Instant> = None;
    loop {
        let session = Box::pin(ServiceSession::open(common, JournalUse::Work)).await?;
        let begun = Instant::now();
        let ended = Box::pin(attempt(common, action, &session, &mut acted)).await;
        session.close().await;
        match ended {
            Err(problem) if is_silence(&problem) => {
                if begun.elapsed() > TIMEOUT {
                    // Somebody answered meanwhile.
                    silent_since = None;
                }
                // What the user named is not asked twice for the same.
                let is_final = is_named && acted.is_none();
                let since = *silent_since.get_or_insert_with(Instant::now);
                if is_final || since.elapsed() > TIMEOUT {
                    return Err(problem);
                }
                sleep(RETRY_DELAY).await;
            }
            ended => return refusals(acted, ended),
        }
    }
}

async fn attempt<R: ActingRequest>(
    common: &Common,
    action: &Action<'_, R>,
    session: &ServiceSession,
    acted: &mut Option<Acted>,
) -> CommandOutcome {
    let turn = match acted {
        Some(_) => Turn::Continued,
        None => Turn::First,
    };
    if turn == Turn::First {
        *acted = Some(Acted::of(sent(session, action).await?)?);
    }
    match acted {
        Some(results) if !results.is_refused() => {
            // Nobody else works on it any more.
            if let (Turn::Continued, Some(app)) = (turn, session.worked_on()) {
                let targets = results.targets.iter();
                let entities = targets.map(|one| one.target.entity.clone()).collect();
                let by = actor::by(&common.reason);
                app.fleet.resume(entities, by).await?;
            }
            action
                .follow_up
                .follow(common, session, results, turn)
                .await
        }
        _ => Ok(Exit::Done),
    }
}

fn refusals(acted: Option<Acted>, ended: CommandOutcome) -> CommandOutcome {
    let mut problems = acted.unwrap_or_default().problems;
    let last = problems.pop();
    problems.iter().for_each(output::problem);
    match last {
        Some(problem) => ended.and(Err(problem)),
        None => ended,
    }
}

async fn sent<R: ActingRequest>(
    session: &ServiceSession,
    action: &Action<'_, R>,
) -> Result<ActAnswer, ExitProblem> {
    let Some(selection) = &action.selection else {
        return session.call(action.request.clone()).await;
    };
    let objects = work::select(session, selection).await?;
    let mut merged = ActAnswer::default();
    for piece in objects.chunks(SELECTED_AT_ONCE) {
        let mut request = action.request.clone();
        request.name(piece.to_vec());
        match session.call(request).await {
            Ok(answer) => {
                merged.objects.extend(answer.objects);
                merged.problems.extend(answer.problems);
                merged.stays = answer.stays;
            }
            // What was done already is waited for, and not asked for again.
            Err(problem) if !merged.objects.is_empty() => {
                merged.problems.push(daemon::api_problem(&problem));
                break;
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(merged)
}

#[async_trait]
impl FollowUp for ActionReport {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        let (begun, idle): (Vec<_>, Vec<_>) = acted
            .targets
            .iter()
            .partition(|one| one.object.effect == ActEffect::Recorded);
        if turn == Turn::First {
            for ActedTarget { target, .. } in idle {
                output::line(&format!("{}: nothing to retry", target.shown()));
            }
        }
        if acted.is_left_to_others(&self.wait) && session.worked_on().is_none() {
            for ActedTarget { target, .. } in begun {
                output::line(&format!("{} {}", target.shown(), self.recorded));
            }
            return Ok(Exit::Done);
        }
        await_outcomes(common, self, session, &acted.targets).await
    }
}

/// Waits until the outcomes are decided, here or where the work is done, shows the progress, and prints each outcome.
pub(super) async fn await_outcomes<'t>(
    common: &Common,
    report: &ActionReport,
    session: &ServiceSession,
    targets: impl IntoIterator<Item = &'t ActedTarget>,
) -> CommandOutcome {
    let targets: Vec<_> = targets.into_iter().collect();
    if let Some(app) = session.worked_on() {
        let targets = targets.iter().map(|one| one.target.clone());
        let targets: Vec<_> = targets.collect();
        let until = work::Until::Decided;
        return work::until_decided(app, common, &report.wait, &targets, until, report.done).await;
    }
    await_others(common, report, session, &targets).await
}

async fn await_others(
    common: &Common,
    report: &ActionReport,
    session: &ServiceSession,
    targets: &[&ActedTarget],
) -> CommandOutcome {
    let mut outcomes = vec![ObjectOutcome::default(); targets.len()];
    let mut progress = Progress::of(common, targets);
    let early = tokio::select! {
        ended = decided_visibly(session, targets, &mut outcomes, &mut progress) => ended.map(|()| None),
        () = work::elapsed(report.wait.timeout) => Ok(Some(Exit::TimedOut)),
        () = work::interrupted() => Ok(Some(Exit::Interrupted)),
    };
    progress.finish().await;
    let early = early?;
    let mut exit = Exit::Done;
    for (one, outcome) in targets.iter().zip(&outcomes) {
        exit = exit.max(work::say(
            &one.target,
            outcome,
            early,
            &report.wait,
            report.done,
        ));
    }
    Ok(exit)
}

/// Waits until the outcomes are decided. Cancel safe.
pub(super) async fn decided(
    session: &ServiceSession,
    targets: &[&ActedTarget],
) -> Result<(), ExitProblem> {
    let mut outcomes = vec![ObjectOutcome::default(); targets.len()];
    loop {
        ask_outcomes(session, targets, &mut outcomes).await?;
        if outcomes.iter().all(|one| one.outcome.is_some()) {
            return Ok(());
        }
    }
}

/// The same, and shows the progress. The newest outcomes are in `outcomes`.
async fn decided_visibly(
    session: &ServiceSession,
    targets: &[&ActedTarget],
    outcomes: &mut [ObjectOutcome],
    progress: &mut Progress<'_>,
) -> Result<(), ExitProblem> {
    loop {
        ask_outcomes(session, targets, outcomes).await?;
        progress.show(outcomes).await?;
        if outcomes.iter().all(|one| one.outcome.is_some()) {
            return Ok(());
        }
    }
}

/// Asks for the outcomes that are not decided; the answer comes once these are, or after a while.
async fn ask_outcomes(
    session: &ServiceSession,
    targets: &[&ActedTarget],
    outcomes: &mut [ObjectOutcome],
) -> Result<(), ExitProblem> {
    let mut open: Vec<_> = targets
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| outcome.outcome.is_none())
        .collect();
    let mut wait_seconds = POLL_SECONDS;
    for piece in open.chunks_mut(AWAITED_AT_ONCE) {
        let objects = piece.iter().map(|(one, _)| AwaitedObject {
            kind: one.object.kind,
            uid: one.object.uid.clone(),
            journal: one.object.journal,
        });
        let request = OutcomesRequest {
            objects: objects.collect(),
            wait_seconds,
            warnings: false,
        };
        let answered = session.call(request).await?.outcomes;
        for ((_, outcome), answer) in piece.iter_mut().zip(answered) {
            **outcome = answer;
        }
        wait_seconds = 0;
    }
    Ok(())
}

/// Shows what another process does: step graphs on a terminal, lines elsewhere.
struct Progress<'a> {
    common: &'a Common,
    targets: &'a [&'a ActedTarget],
    graphs: Option<LiveGraphs>,
    events: EventSource,
    reminder: Reminder,
}

impl<'a> Progress<'a> {
    fn of(common: &'a Common, targets: &'a [&'a ActedTarget]) -> Self {
        let events = targets
            .iter()
            .map(|one| (one.target.clone(), one.object.since));
        Self {
            common,
            targets,
            graphs: LiveGraphs::where_drawn(common, true),
            events: EventSource::since(events),
            reminder: Reminder::new(),
        }
    }

    async fn show(&mut self, outcomes: &[ObjectOutcome]) -> Result<(), ExitProblem> {
        let targets = self.targets;
        if let Some(graphs) = &mut self.graphs {
            let is_meant = |vsi: &VsiOverview| {
                targets.iter().any(|ActedTarget { target, .. }| {
                    let has_members = target.is_pool() || target.is_group();
                    let is_member = || {
                        let rest = vsi.name.strip_prefix(&target.name);
                        has_members && rest.is_some_and(|rest| rest.starts_with('-'))
                    };
                    let is_own = || target.is_vsi() && target.name == vsi.name;
                    target.namespace == vsi.namespace && (is_own() || is_member())
                })
            };
            graphs.draw(self.common, is_meant).await;
            return Ok(());
        }
        if self.common.quiet || output::log::is_asked() {
            return Ok(());
        }
        for line in self.events.read(self.common).await? {
            if let Some(step) = step_line(&line) {
                output::note(&step);
            }
        }
        if self.reminder.is_due() {
            let open = targets.iter().zip(outcomes);
            for (one, outcome) in open.filter(|(_, outcome)| outcome.outcome.is_none()) {
                let obstacle = outcome.obstacle.clone().map(|problem| problem.to_string());
                let step = || Some(format!("step {} is running", outcome.step.as_ref()?));
                if let Some(what) = obstacle.or_else(step) {
                    output::note(&format!("{}: still waits: {what}", one.target.label()));
                }
            }
        }
        Ok(())
    }

    async fn finish(self) {
        if let Some(graphs) = self.graphs {
            graphs.finish(self.common).await;
        }
    }
}

/// The end of a step, in a line.
fn step_line(line: &HistoryLine) -> Option<String> {
    let (object, step) = (line.object.as_ref()?, line.step.as_ref()?);
    let label = object
        .split_once('/')
        .map_or(object.as_str(), |(_, name)| name);
    let text = match (line.kind.as_str(), &line.error) {
        ("step_succeeded", _) => {
            let how = match line.outcome.as_deref() {
                Some("AlreadyPresent") => "present",
                Some("Updated") => "updated",
                _ => "done",
            };
            match line.duration_ms {
                Some(millis) => format!("{how} ({})", took(millis)),
                None => how.to_owned(),
            }
        }
        ("step_blocked", Some(error)) => format!("{}: {}; blocked", error.code, error.message),
        ("step_failed", Some(error)) => match &line.detail {
            Some(again) => format!("{}: {}; {again}", error.code, error.message),
            None => format!("{}: {}", error.code, error.message),
        },
        _ => return None,
    };
    Some(format!("{label}: {step} {text}"))
}
