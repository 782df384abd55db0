//! Waits for the outcomes of started work, and shows the progress.

use std::time::Duration;

use tokio::{sync::broadcast::error::RecvError, time::Instant};
use vsiflow_api::ObjectOutcome;
use vsiflow_engine::{
    Notice,
    model::{EntityId, EventKind, RunId, StreamId},
};
use vsiflow_workflows::fleet::{FleetError, Verdict};

use super::{Target, interrupted, outcome};
use crate::{
    args::{Common, WaitArgs},
    compose::App,
    daemon::DaemonServer,
    exit::{Exit, ExitProblem},
    output::{
        self,
        live::{Drawn, LiveOutput},
        pane,
    },
    ssh::keeper,
};

/// How far a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until the outcome of the newest boot or other change is known.
    Decided,
    /// Also through failed boots that are retried automatically.
    Over,
}

impl Until {
    fn verdict(self, app: &App, entity: &EntityId) -> Option<Verdict> {
        let verdict = app.fleet.verdict(entity)?;
        let again = self == Self::Over && app.fleet.next_try(entity).is_some();
        (!again).then_some(verdict)
    }
}

/// Whether a command returns once the desired state is recorded, because a daemon does the work.
fn returns_at_once(app: &App, wait: &WaitArgs) -> bool {
    app.is_borrowed() && app.stays() && !wait.wait && wait.timeout.is_none()
}

/// Prints what is recorded, if the command does not wait for the outcome.
pub(crate) fn report_recorded(app: &App, wait: &WaitArgs, targets: &[Target], what: &str) {
    if returns_at_once(app, wait) {
        let lines = targets
            .iter()
            .map(|target| format!("{} {what}", target.shown()));
        lines.for_each(|line| output::line(&line));
    }
}

/// Waits until every target's outcome is decided, shows the progress, and prints each outcome. The
/// worst outcome decides the exit code.
pub(crate) async fn until_decided(
    app: &App,
    common: &Common,
    wait: &WaitArgs,
    targets: &[Target],
    until: Until,
    done: &str,
) -> Result<Exit, ExitProblem> {
    if returns_at_once(app, wait) {
        return Ok(Exit::Done);
    }
    let answers = DaemonServer::start(app);
    let mut live = LiveOutput::new(common.quiet);
    let ended = tokio::select! {
        ended = watch(app, targets, until, &mut live) => ended.map(|()| None),
        () = elapsed(wait.timeout) => Ok(Some(Exit::TimedOut)),
        () = interrupted() => Ok(Some(Exit::Interrupted)),
    };
    live.finish();
    let early = ended?;
    let mut exit = Exit::Done;
    for target in targets {
        let mut known = ObjectOutcome::of(&app.fleet, &target.entity);
        if until.verdict(app, &target.entity).is_none() {
            known.outcome = None;
        }
        exit = exit.max(outcome::say(target, &known, early, wait, done));
    }
    if let Some(answers) = answers {
        answers.finish().await;
    }
    if !app.stays() {
        keeper::refresh(app).await;
    }
    Ok(exit)
}

/// Waits for the timeout; forever if there is none.
pub(crate) async fn elapsed(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

pub(crate) async fn watch(
    app: &App,
    targets: &[Target],
    until: Until,
    live: &mut LiveOutput,
) -> Result<(), FleetError> {
    let mut notices = app.notices();
    let mut moved = app.fleet.pools().moved();
    let mut reminder = Reminder::new();
    loop {
        while let Ok(notice) = notices.try_recv() {
            show(app, targets, until, live, &notice);
        }
        let open = |target: &&Target| until.verdict(app, &target.entity).is_none();
        let open: Vec<_> = targets.iter().filter(open).collect();
        if open.is_empty() || live.draws() {
            draw(app, targets, &open, live);
        }
        if open.is_empty() {
            return Ok(());
        }
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            Ok(()) = moved.changed() => continue,
            () = tokio::time::sleep(pane::INTERVAL), if live.has_graphs() => continue,
            () = reminder.due() => {
                remind(app, live, &open);
                continue;
            }
        };
        match notice {
            Ok(Notice::Ended) | Err(RecvError::Closed) => {
                // Reports why the engine ended.
                for target in targets {
                    app.fleet.decided(&target.entity).await?;
                }
                return Ok(());
            }
            Ok(notice) => show(app, targets, until, live, &notice),
            Err(RecvError::Lagged(_)) => {}
        }
    }
}

/// How many step graphs are drawn: a terminal has room for few.
const GRAPHS: usize = 4;

/// Draws the step graphs of the open targets, and those of ended targets a last time.
fn draw(app: &App, targets: &[Target], open: &[&Target], live: &mut LiveOutput) {
    if !live.has_graphs() {
        return;
    }
    let is_open = |target: &Target| open.iter().any(|one| one.entity == target.entity);
    let ended = targets
        .iter()
        .filter(|target| live.is_drawn(&target.entity) && !is_open(target));
    let going = open.iter().take(GRAPHS).copied();
    let drawn = ended.chain(going).filter_map(|target| {
        Some(Drawn {
            run: app.fleet.history().newest_run(&target.entity)?,
            entity: target.entity.clone(),
            label: target.shown(),
            open: is_open(target),
        })
    });
    let drawn: Vec<_> = drawn.collect();
    live.draw(&drawn);
}

fn show(app: &App, targets: &[Target], until: Until, live: &mut LiveOutput, notice: &Notice) {
    live.show(notice, |run| named(app, targets, run));
    report_next_try(app, targets, notice, until);
}

/// Repeats what the open targets wait for. Otherwise nothing would be printed while a host does not
/// answer or a step takes long.
fn remind(app: &App, live: &LiveOutput, open: &[&Target]) {
    for target in open {
        let failure = app.fleet.obstacle(&target.entity);
        let failure = failure.map(|failure| failure.to_string());
        let step = || {
            Some(format!(
                "step {} is running",
                app.fleet.step(&target.entity)?
            ))
        };
        if let Some(what) = failure.or_else(step) {
            live.still_waits(&target.label(), &what);
        }
    }
}

/// When to remind the user of what the command waits for: at growing intervals.
pub(crate) struct Reminder {
    at: Instant,
    after: Duration,
}

impl Reminder {
    const FIRST: Duration = Duration::from_secs(10);
    const MAX_DURATION: Duration = Duration::from_secs(300);

    pub(crate) fn new() -> Self {
        Self {
            at: Instant::now(),
            after: Self::FIRST,
        }
    }

    /// Waits until the next reminder is due. Cancel safe.
    async fn due(&mut self) {
        tokio::time::sleep_until(self.at + self.after).await;
        self.next();
    }

    /// Whether the next reminder is due.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.at.elapsed() >= self.after;
        if is_due {
            self.next();
        }
        is_due
    }

    fn next(&mut self) {
        self.at = Instant::now();
        self.after = self.after.saturating_mul(2).min(Self::MAX_DURATION);
    }
}

/// After a failed boot, reports the next retry that the command waits for.
fn report_next_try(app: &App, targets: &[Target], notice: &Notice, until: Until) {
    let Notice::Recorded(record) = notice else {
        return;
    };
    let scheduled = matches!(record.event.kind, EventKind::RetryScheduled { .. });
    for target in targets {
        let its = record.stream == StreamId::Entity(target.entity.clone());
        if let Some(due) = app.fleet.next_try(&target.entity)
            && scheduled
            && its
            && until == Until::Over
        {
            output::note(&format!(
                "{}: the next try is due in {} s",
                target.shown(),
                outcome::seconds_until(due)
            ));
        }
    }
}

fn named(app: &App, targets: &[Target], run: RunId) -> String {
    let Some(entity) = app.fleet.entity_of(run) else {
        return "run".to_owned();
    };
    match targets.iter().find(|target| target.entity == entity) {
        Some(target) => target.label(),
        None => entity.kind().to_string(),
    }
}
