//! Changes the power state: one field of the resource, or an annotation for a restart.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vsiflow_kube::plugin::VsiResource;
use vsiflow_workflows::{phase::Phase, record::PowerAction, spec::PowerState};

use super::{
    access::{ClusterAccess, problem},
    args::PluginPowerArgs,
};
use crate::{
    args::OutputFormat,
    command::power::past_tense,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

/// How often the resource is polled during a wait.
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(
    there: &ClusterAccess<'_>,
    action: PowerAction,
    args: PluginPowerArgs,
) -> CommandOutcome {
    // All names are looked up first, so that a typing error changes nothing.
    let mut before = Vec::new();
    for name in &args.names {
        let vsi = there.cluster.vsi(name).await.map_err(problem)?;
        refuse(&vsi, action)?;
        before.push(vsi);
    }
    let mut changed = Vec::new();
    for vsi in before {
        let after = match action {
            PowerAction::Restart => there.cluster.restart(&vsi, Timestamp::now()).await,
            action => there.cluster.power(&vsi, action.state()).await,
        };
        changed.push((vsi, after.map_err(problem)?));
    }
    let by = match action {
        PowerAction::Restart => PowerField::Annotation,
        _ => PowerField::Spec,
    };
    finish(there, changed, &args, (past_tense(action), by)).await
}

/// Prints the outcome, and waits if requested.
pub(super) async fn finish(
    there: &ClusterAccess<'_>,
    changed: Vec<(VsiResource, VsiResource)>,
    args: &PluginPowerArgs,
    (outcome, by): (&str, PowerField),
) -> CommandOutcome {
    let until = args
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let mut exit = Exit::Done;
    let mut objects = Vec::new();
    for (before, after) in changed {
        let (vsi, came) = if args.wait {
            decided(there, &before, after, by, until).await?
        } else {
            (after, Exit::Done)
        };
        if args.output.is_none() {
            print_result(&vsi, args.wait, came, outcome);
        }
        exit = exit.max(came);
        objects.push(vsi);
    }
    if let Some(format) = args.output {
        print(&objects, format)?;
    }
    Ok(exit)
}

fn print(all: &[VsiResource], format: OutputFormat) -> Result<(), ExitProblem> {
    match (format, all) {
        (OutputFormat::Name | OutputFormat::Wide, all) => {
            all.iter().for_each(|vsi| output::line(&vsi.label()));
            Ok(())
        }
        (format, [one]) => output::print(&one.object(), format),
        (format, all) => {
            let objects: Vec<_> = all.iter().map(VsiResource::object).collect();
            output::print(&output::list(&objects), format)
        }
    }
}

fn print_result(vsi: &VsiResource, waited: bool, came: Exit, outcome: &str) {
    let label = vsi.label();
    if !waited {
        return output::line(&format!("{label} {outcome}"));
    }
    let phase = vsi.status.phase.clone().unwrap_or_default();
    match came {
        Exit::Done => output::line(&format!("{label} is {phase}")),
        Exit::TimedOut if phase.is_empty() => {
            output::note(&format!(
                "{label}: not decided in time; nothing serves it yet"
            ));
        }
        Exit::TimedOut => output::note(&format!("{label}: not decided in time; it is {phase}")),
        Exit::Interrupted => output::note(&format!("{label}: interrupted; the work continues")),
        _ => {
            let mut all = vsi.status.conditions.iter();
            let waiting = all.find(|one| one.name == "UpdateApproved" && one.status == "False");
            let why = waiting.map_or(&vsi.status.description, |waiting| &waiting.message);
            output::note(&format!("{label} is {phase}: {why}"));
        }
    }
}

/// Refuses an action that makes no sense in the resource's current state.
fn refuse(vsi: &VsiResource, action: PowerAction) -> Result<(), ExitProblem> {
    let blocked = |code: &str, message: &str, remedy: &str| {
        let message = format!("{} {message}", vsi.label());
        Err(ExitProblem::new(Exit::Blocked, code, message, remedy))
    };
    if vsi.is_deleting {
        let remedy = "wait until it is gone; `kubectl vsi describe` shows what it waits for";
        return blocked("VSI0702", "is being deleted", remedy);
    }
    let remedy = "start it first: `kubectl vsi start`";
    match (action, vsi.power_state()) {
        (PowerAction::Pause | PowerAction::Unpause, PowerState::Stopped) => blocked(
            "VSI0705",
            "is stopped; only a guest that runs is paused",
            remedy,
        ),
        (PowerAction::Restart, PowerState::Stopped) => blocked(
            "VSI0705",
            "is stopped; only a guest that runs is restarted",
            remedy,
        ),
        (PowerAction::Restart, PowerState::Paused) => blocked(
            "VSI0705",
            "is suspended; only a guest that runs is restarted",
            "resume it first: `kubectl vsi unpause`",
        ),
        _ => Ok(()),
    }
}

/// How a change of a resource is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerField {
    /// In its spec, where each change increases the generation.
    Spec,
    /// In an annotation: a new run shows that it was seen.
    Annotation,
}

/// Waits until the result of a change of the resource is known.
async fn decided(
    there: &ClusterAccess<'_>,
    before: &VsiResource,
    mut now: VsiResource,
    by: PowerField,
    until: Option<Instant>,
) -> Result<(VsiResource, Exit), ExitProblem> {
    let generation = now.generation;
    loop {
        let seen = now
            .status
            .observed_generation
            .is_some_and(|seen| seen >= generation);
        let begun = by == PowerField::Spec || now.status.run_id != before.status.run_id;
        if seen && waits_anew(before, &now) {
            return Ok((now, Exit::Blocked));
        }
        if seen
            && begun
            && let Some(exit) = exit(&now)
        {
            return Ok((now, exit));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok((now, Exit::TimedOut));
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = work::interrupted() => return Ok((now, Exit::Interrupted)),
        }
        now = there.cluster.vsi(&now.name).await.map_err(problem)?;
    }
}

/// Waits until the resource shows the result of an action that was begun before.
pub(super) async fn settled(
    there: &ClusterAccess<'_>,
    name: &str,
    outcome: &str,
) -> CommandOutcome {
    let vsi = there.cluster.vsi(name).await.map_err(problem)?;
    let (vsi, came) = decided(there, &vsi.clone(), vsi, PowerField::Spec, None).await?;
    print_result(&vsi, true, came, outcome);
    Ok(came)
}

/// Whether a change waits for approval now that did not before.
fn waits_anew(before: &VsiResource, now: &VsiResource) -> bool {
    let id = |vsi: &VsiResource| {
        vsi.status
            .proposal
            .as_ref()
            .map(|waiting| waiting.id.clone())
    };
    id(now).is_some() && id(now) != id(before)
}

/// The exit for the result; `None` if it is not known yet.
fn exit(vsi: &VsiResource) -> Option<Exit> {
    let phase = vsi.status.phase.as_deref().and_then(Phase::named)?;
    if vsi.condition("Accepted") == "False" {
        return Some(Exit::Blocked);
    }
    let done_if_in = |state: PowerState| {
        (vsi.power_state() == state && vsi.condition("Progressing") == "False")
            .then_some(Exit::Done)
    };
    match phase {
        Phase::Failed => Some(Exit::Failed),
        Phase::Blocked => Some(Exit::Blocked),
        Phase::Running | Phase::Degraded => done_if_in(PowerState::Running),
        Phase::Stopped => done_if_in(PowerState::Stopped),
        Phase::Paused => done_if_in(PowerState::Paused),
        _ => None,
    }
}
