//! Commands that have something done with objects: they find them, send one request, say what was recorded, and wait for
//! the outcomes, whoever does the work.
//!
//! If the process that does it ends meanwhile, this one does it, or asks the next one: what is recorded is recorded once.

use std::pin::Pin;

use tokio::time::{Instant, sleep};
use vsiflow_api::{
    ActAnswer, ActEffect, ActRequest, ActedObject, AwaitedObject, JournalUse, ObjectOutcome,
    OutcomesRequest, TableRequest,
};
use vsiflow_engine::model::{EntityId, Name};
use vsiflow_workflows::{
    fleet::{HistoryLine, VsiOverview, took},
    kinds::{ObjectKind, TableQuery},
};

use super::{event_lines::EventSource, graph_pane::LiveGraphs};
use crate::{
    actor,
    args::{Common, Selection, WaitArgs},
    daemon::{self, RETRY_DELAY, TIMEOUT},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::{ServiceSession, is_silence},
    work::{self, Reminder, Target},
};

/// How long an answer waits for outcomes, in seconds. What happened meanwhile is shown then.
const POLL_SECONDS: u64 = 1;

/// What a command has done, and what it says of that.
pub(super) struct Action<'a> {
    /// The request, without names if objects are selected.
    pub(super) request: ActRequest,
    /// The VSIs that are selected; `None` if the request says which.
    pub(super) selection: Option<&'a Selection>,
    /// How long the command waits.
    pub(super) wait: WaitArgs,
    /// What is said of an object if the command does not wait.
    pub(super) recorded: &'static str,
    /// What is said of an object that is as it is to be; empty for its phase.
    pub(super) done: &'static str,
    /// What follows the request.
    pub(super) follow: Follow,
}

/// What was done with an object, and how the command names it.
pub(super) struct ActedTarget {
    pub(super) target: Target,
    pub(super) object: ActedObject,
}

/// The results of a request, in a form that survives the process that gave them.
#[derive(Default)]
pub(super) struct Acted {
    pub(super) targets: Vec<ActedTarget>,
    /// What was refused, or not done; the caller prints the last one.
    problems: Vec<ExitProblem>,
    stays: bool,
}

impl Acted {
    fn of(answer: ActAnswer) -> Result<Self, ExitProblem> {
        let (mut targets, mut problems) = (Vec::new(), Vec::new());
        for object in answer.objects {
            match object.problem {
                Some(problem) => problems.push(problem.into()),
                None => targets.push(ActedTarget {
                    target: target_of(&object)?,
                    object,
                }),
            }
        }
        problems.extend(answer.problems.into_iter().map(ExitProblem::from));
        Ok(Self {
            targets,
            problems,
            stays: answer.stays,
        })
    }
}

fn target_of(object: &ActedObject) -> Result<Target, ExitProblem> {
    let entity = EntityId::new(Name::of(object.kind.word()), &object.uid);
    Ok(Target {
        entity: entity.map_err(ExitProblem::defect)?,
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

/// The outcome of what follows a request.
pub(super) type BoxedOutcome<'a> = Pin<Box<dyn Future<Output = CommandOutcome> + Send + 'a>>;

/// What follows a request in a session.
pub(super) type Follow =
    for<'a> fn(&'a Common, &'a Action<'a>, &'a ServiceSession, &'a Acted, Turn) -> BoxedOutcome<'a>;

/// Has the request carried out once, then does what follows, in another session if the process that answered has ended. What
/// was refused is the outcome, after all that.
pub(super) async fn carry_out(common: &Common, action: &Action<'_>) -> CommandOutcome {
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

async fn attempt(
    common: &Common,
    action: &Action<'_>,
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
        Some(results) if !results.targets.is_empty() => {
            // Nobody else works on it any more.
            if let (Turn::Continued, Some(app)) = (turn, session.worked_on()) {
                let targets = results.targets.iter();
                let entities = targets.map(|one| one.target.entity.clone()).collect();
                let by = actor::by(&common.reason);
                app.fleet.resume(entities, by).await?;
            }
            (action.follow)(common, action, session, results, turn).await
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

async fn sent(session: &ServiceSession, action: &Action<'_>) -> Result<ActAnswer, ExitProblem> {
    let mut request = action.request.clone();
    if let Some(selection) = action.selection {
        request.names = selected(session, &request.namespace, selection).await?;
        if request.names.is_empty() {
            return Ok(ActAnswer::default());
        }
    }
    session.call(request).await
}

/// The names of the VSIs in a namespace that match a selection. One that cannot be read is left out with a warning and does
/// not affect the others.
async fn selected(
    session: &ServiceSession,
    namespace: &str,
    selection: &Selection,
) -> Result<Vec<String>, ExitProblem> {
    let query = TableQuery {
        namespace: Some(namespace.to_owned()),
        objects: true,
        ..TableQuery::default()
    };
    let listed = session
        .call(TableRequest::now(ObjectKind::Vsi, query))
        .await?;
    let mut names = Vec::new();
    for row in listed.table.rows {
        if !row
            .object
            .as_ref()
            .is_some_and(|object| selection.includes(object))
        {
            continue;
        }
        if row.is_unreadable {
            let left_out = format!("vsi/{} is left out: it cannot be read (VSI0018)", row.name);
            output::warning(&left_out);
            continue;
        }
        names.push(format!("{namespace}/{}", row.name));
    }
    if names.is_empty() {
        output::note(&format!("No VSIs found in namespace {namespace}."));
    }
    Ok(names)
}

/// Says what was recorded, and waits for the outcomes if the command does.
pub(super) fn see_through<'a>(
    common: &'a Common,
    action: &'a Action<'a>,
    session: &'a ServiceSession,
    acted: &'a Acted,
    turn: Turn,
) -> BoxedOutcome<'a> {
    Box::pin(seen_through(common, action, session, acted, turn))
}

async fn seen_through(
    common: &Common,
    action: &Action<'_>,
    session: &ServiceSession,
    acted: &Acted,
    turn: Turn,
) -> CommandOutcome {
    let wait = &action.wait;
    let begun = acted
        .targets
        .iter()
        .filter(|one| one.object.effect == ActEffect::Recorded);
    let idle = acted
        .targets
        .iter()
        .filter(|one| one.object.effect != ActEffect::Recorded);
    if turn == Turn::First {
        for one in idle {
            output::line(&format!("{}: nothing to retry", one.target.shown()));
        }
    }
    if let Some(app) = session.worked_on() {
        let targets: Vec<_> = acted.targets.iter().map(|one| one.target.clone()).collect();
        let until = work::Until::Decided;
        return work::until_decided(app, common, wait, &targets, until, action.done).await;
    }
    if acted.stays && !wait.wait && wait.timeout.is_none() {
        begun.for_each(|one| output::line(&format!("{} {}", one.target.shown(), action.recorded)));
        return Ok(Exit::Done);
    }
    await_outcomes(common, action, session, &acted.targets).await
}

/// Waits until the outcomes are decided where the work is done, shows the progress, and prints each outcome.
async fn await_outcomes(
    common: &Common,
    action: &Action<'_>,
    session: &ServiceSession,
    targets: &[ActedTarget],
) -> CommandOutcome {
    let mut outcomes = vec![ObjectOutcome::default(); targets.len()];
    let mut progress = Progress::of(common, targets);
    let early = tokio::select! {
        ended = decided_visibly(session, targets, &mut outcomes, &mut progress) => ended.map(|()| None),
        () = work::elapsed(action.wait.timeout) => Ok(Some(Exit::TimedOut)),
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
            &action.wait,
            action.done,
        ));
    }
    Ok(exit)
}

/// Waits until the outcomes are decided. Cancel safe.
pub(super) async fn decided(
    session: &ServiceSession,
    targets: &[ActedTarget],
) -> Result<(), ExitProblem> {
    loop {
        let outcomes = outcomes_of(session, targets).await?;
        if outcomes.iter().all(|one| one.outcome.is_some()) {
            return Ok(());
        }
    }
}

/// The same, and shows the progress. The newest outcomes are in `outcomes`.
async fn decided_visibly(
    session: &ServiceSession,
    targets: &[ActedTarget],
    outcomes: &mut Vec<ObjectOutcome>,
    progress: &mut Progress<'_>,
) -> Result<(), ExitProblem> {
    loop {
        *outcomes = outcomes_of(session, targets).await?;
        progress.show(outcomes).await?;
        if outcomes.iter().all(|one| one.outcome.is_some()) {
            return Ok(());
        }
    }
}

/// The outcomes once all are decided, or as they are after a while.
async fn outcomes_of(
    session: &ServiceSession,
    targets: &[ActedTarget],
) -> Result<Vec<ObjectOutcome>, ExitProblem> {
    let objects = targets
        .iter()
        .map(|ActedTarget { object, .. }| AwaitedObject {
            kind: object.kind,
            uid: object.uid.clone(),
            journal: object.journal,
        });
    let request = OutcomesRequest {
        objects: objects.collect(),
        wait_seconds: POLL_SECONDS,
    };
    Ok(session.call(request).await?.outcomes)
}

/// Shows what another process does: step graphs on a terminal, lines elsewhere.
struct Progress<'a> {
    common: &'a Common,
    targets: &'a [ActedTarget],
    graphs: Option<LiveGraphs>,
    events: EventSource,
    reminder: Reminder,
}

impl<'a> Progress<'a> {
    fn of(common: &'a Common, targets: &'a [ActedTarget]) -> Self {
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
                    target.is_vsi() && target.name == vsi.name && target.namespace == vsi.namespace
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
