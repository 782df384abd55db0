//! `host`: manages hosts, and shows what is on them.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use vsiflow_api::{ActAnswer, ActEffect, ActedObject, HostAct, MaintainHostRequest, Problem};
use vsiflow_workflows::{
    fleet::{CheckOutcome, Checking, DrainedVsi, HostCheck, InventoryItem},
    spec::HostSettings,
};

use super::acting::{self, Acted, Action, ActionReport, FollowUp, Turn};
use crate::{
    args::{
        CheckArgs, Common, DrainArgs, HostArgs, HostCommand, InventoryArgs, OutputFormat,
        UncordonArgs, WaitArgs,
    },
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, table},
    service::{self, ServiceSession},
    work,
};

pub(super) async fn run(common: &Common, command: HostCommand) -> CommandOutcome {
    match command {
        HostCommand::Inventory(args) => inventory(common, args).await,
        HostCommand::Check(args) => check(common, args).await,
        HostCommand::Cordon(args) => cordon(common, &args.name).await,
        HostCommand::Uncordon(args) => uncordon(common, args).await,
        HostCommand::Accept(args) => accept(common, &args.name).await,
        HostCommand::Drain(args) => drain(common, args).await,
    }
}

async fn inventory(common: &Common, args: InventoryArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let host = one(&app, common, &args.at).await?;
    let items = app.fleet.hosts().inventory(host).await?;
    match args.output {
        None | Some(OutputFormat::Wide) => output::table(&table::inventory(&items), "objects"),
        Some(OutputFormat::Name) => {
            let line = |item: &InventoryItem| output::name(&format!("{}/{}", item.kind, item.name));
            items.iter().for_each(line);
        }
        Some(format) => {
            let object = |item: &InventoryItem| serde_json::json!({"metadata": {"name": item.name}, "status": item});
            let all: Vec<_> = items.iter().map(object).collect();
            output::print(&output::list(&all), format)?;
        }
    }
    app.close().await;
    Ok(Exit::Done)
}

/// Exits with a failure if VSIs would not run on the host.
async fn check(common: &Common, args: CheckArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let host = one(&app, common, &args.at).await?;
    let what = Checking {
        archs: args.archs,
        networks: args.networks,
    };
    let checks = app.fleet.hosts().check(host, &what).await?;
    match args.output {
        None | Some(OutputFormat::Wide) => print_checks(&checks),
        Some(OutputFormat::Name) => checks.iter().for_each(|check| output::name(&check.name)),
        Some(format) => {
            let object =
                |check: &HostCheck| json!({"metadata": {"name": check.name}, "status": check});
            let all: Vec<_> = checks.iter().map(object).collect();
            output::print(&output::list(&all), format)?;
        }
    }
    app.close().await;
    let worst = checks.iter().map(|check| check.result).max();
    if worst == Some(CheckOutcome::Failed) {
        Ok(Exit::Failed)
    } else {
        Ok(Exit::Done)
    }
}

fn print_checks(checks: &[HostCheck]) {
    output::table(&table::checks(checks), "checks");
    let mend = checks.iter().filter(|check| !check.remedy.is_empty());
    for check in mend {
        output::line(&format!("{}: {}", check.name, check.remedy));
    }
}

/// Has something done with a host.
async fn maintain(
    common: &Common,
    request: MaintainHostRequest,
    follow_up: &dyn FollowUp,
) -> CommandOutcome {
    let action = Action {
        request,
        selection: None,
        follow_up,
    };
    acting::carry_out(common, &action).await
}

async fn cordon(common: &Common, host: &str) -> CommandOutcome {
    let request = MaintainHostRequest::new(HostAct::Cordon, host, &common.reason);
    maintain(common, request, &MaintainedHost::awaiting(None)).await
}

async fn accept(common: &Common, host: &str) -> CommandOutcome {
    let request = MaintainHostRequest::new(HostAct::Accept, host, &common.reason);
    maintain(common, request, &MaintainedHost::awaiting(None)).await
}

async fn uncordon(common: &Common, args: UncordonArgs) -> CommandOutcome {
    let request = MaintainHostRequest {
        start: args.start,
        ..MaintainHostRequest::new(HostAct::Uncordon, &args.host.name, &common.reason)
    };
    maintain(common, request, &MaintainedHost::awaiting(args.timeout)).await
}

async fn drain(common: &Common, args: DrainArgs) -> CommandOutcome {
    let how = args.grace.gracefully();
    let mut request = MaintainHostRequest {
        stop: args.stop,
        moves: args.moves,
        grace_period_seconds: how.timeout_s,
        force: how.force,
        ..MaintainHostRequest::new(HostAct::Drain, &args.host.name, &common.reason)
    };
    if args.dry_run || args.asks() {
        let plan = MaintainHostRequest {
            dry_run: true,
            ..request.clone()
        };
        let planned = Box::pin(service::call(common, plan)).await?;
        if args.dry_run {
            return show_plan(&args, &planned);
        }
        confirm_moves(&args.host.name, &planned.drained)?;
        let moving = planned.drained.into_iter().filter(|vsi| vsi.moves);
        request.agreed = Some(moving.map(|vsi| vsi.uid).collect());
    }
    let drained = MaintainedHost {
        shown: args.moves.then_some(args.output),
        is_emptied: !args.moves || args.stop,
        report: ActionReport {
            wait: WaitArgs {
                wait: args.stop || args.wait,
                timeout: args.bound.wait_timeout,
            },
            recorded: "makes members on other hosts".into(),
            done: "",
        },
    };
    maintain(common, request, &drained).await
}

/// Says what became of a host and its VSIs, then waits for what is worked on.
struct MaintainedHost {
    /// The format of what moves and what stays; `None` if nothing is moved.
    shown: Option<Option<OutputFormat>>,
    /// Whether no VSI is to stay on it.
    is_emptied: bool,
    report: ActionReport,
}

impl MaintainedHost {
    fn awaiting(timeout: Option<Duration>) -> Self {
        Self {
            shown: None,
            is_emptied: true,
            report: ActionReport {
                wait: WaitArgs::always(timeout),
                ..ActionReport::default()
            },
        }
    }

    fn say(&self, acted: &Acted) -> Result<(), ExitProblem> {
        if let Some(format) = self.shown {
            show_drain(&acted.drained, format)?;
        }
        if self.shown.flatten().is_none() {
            acted.finished.iter().for_each(say_host);
        }
        warn_of_unreadable(&acted.warnings);
        Ok(())
    }
}

#[async_trait]
impl FollowUp for MaintainedHost {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        if turn == Turn::First {
            self.say(acted)?;
        }
        let exit = self.report.follow(common, session, acted, turn).await?;
        let some_remain = !self.is_emptied && acted.drained.iter().any(|vsi| !vsi.moves);
        Ok(if some_remain {
            exit.max(Exit::Blocked)
        } else {
            exit
        })
    }
}

fn say_host(object: &ActedObject) {
    let host = &object.name;
    output::line(&match (object.effect, &object.machine) {
        (ActEffect::Accepted, Some(machine)) => format!("host/{host} accepted: {machine}"),
        (ActEffect::Uncordoned, _) => format!("host/{host} uncordoned"),
        _ => format!("host/{host} cordoned"),
    });
}

/// Shows what a drain would do, and what would keep VSIs on the host.
fn show_plan(args: &DrainArgs, planned: &ActAnswer) -> CommandOutcome {
    show_drain(&planned.drained, args.output)?;
    let mut exit = Exit::Done;
    for vsi in &planned.drained {
        let refusals = planned.objects.iter();
        let refusal = refusals.filter(|object| object.uid == vsi.uid);
        let refusal = refusal.filter_map(|object| object.problem.clone()).next();
        exit = exit.max(foresee(args, vsi, refusal));
    }
    if args.output.is_none() {
        output::line(&format!("host/{} would be cordoned", args.host.name));
    }
    warn_of_unreadable(&planned.warnings);
    Ok(exit)
}

/// Reports what would become of a VSI; returns the exit.
fn foresee(args: &DrainArgs, vsi: &DrainedVsi, refusal: Option<Problem>) -> Exit {
    let label = format!("vsi/{}", work::label(&vsi.namespace, &vsi.name));
    let say = |line: &str| {
        if args.output.is_none() {
            output::line(line);
        } else {
            output::note(line);
        }
    };
    if let Some(refusal) = refusal {
        say(&format!("{label} would not be moved (dry run)"));
        output::problem(&ExitProblem {
            exit: Exit::Blocked,
            ..refusal.into()
        });
        return Exit::Blocked;
    }
    if vsi.moves {
        if args.output.is_none() {
            say(&format!(
                "{label}: loses the {}",
                vsi.loses.join(" and the ")
            ));
        }
        return Exit::Done;
    }
    if !args.stop {
        return Exit::Blocked;
    }
    if args.output.is_none() {
        say(&format!("{label} would be shut down (dry run)"));
    }
    Exit::Done
}

/// Warns of VSIs whose records cannot be read.
fn warn_of_unreadable(warnings: &[Problem]) {
    for unreadable in warnings {
        output::warning(&format!(
            "it may run there still: {unreadable}. {}",
            unreadable.remedy
        ));
    }
}

/// Asks for confirmation before members are deleted on this host and made on others.
fn confirm_moves(host: &str, drained: &[DrainedVsi]) -> Result<(), ExitProblem> {
    let moved = drained.iter().filter(|vsi| vsi.moves);
    let names: Vec<_> = moved
        .map(|vsi| {
            let label = work::label(&vsi.namespace, &vsi.name);
            format!("vsi/{label} (loses the {})", vsi.loses.join(" and the "))
        })
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    work::confirm(&format!(
        "delete on {host} and make elsewhere {}",
        names.join(", ")
    ))
}

fn show_drain(vsis: &[DrainedVsi], format: Option<OutputFormat>) -> Result<(), ExitProblem> {
    let name = |vsi: &DrainedVsi| format!("vsi/{}", work::label(&vsi.namespace, &vsi.name));
    match format {
        None | Some(OutputFormat::Wide) => output::table(&table::drained(vsis), "VSIs"),
        Some(OutputFormat::Name) => {
            let moved = vsis.iter().filter(|vsi| vsi.moves);
            moved.for_each(|vsi| output::name(&name(vsi)));
        }
        Some(format) => {
            let object = |vsi: &DrainedVsi| json!({"metadata": {"name": vsi.name, "namespace": vsi.namespace}, "status": vsi});
            let all: Vec<_> = vsis.iter().map(object).collect();
            output::print(&output::list(&all), format)?;
        }
    }
    Ok(())
}

/// The host that the command means: by its name, its documents, `--host`, or the only known one.
pub(super) async fn one(
    app: &App,
    common: &Common,
    at: &HostArgs,
) -> Result<HostSettings, ExitProblem> {
    if let Some(name) = &at.name {
        return Ok(app.fleet.hosts().settings(name)?);
    }
    if at.files.is_empty() && common.host.is_none() {
        let known = app.fleet.hosts().list().await?;
        if let [only] = known.as_slice() {
            return Ok(app.fleet.hosts().settings(&only.name)?);
        }
    }
    work::one_host(common, &at.files).await
}
