//! `host`: manages hosts, and shows what is on them.

use serde_json::json;
use vsiflow_workflows::{
    fleet::{CheckOutcome, Checking, DrainedVsi, HostCheck, InventoryItem},
    spec::HostSettings,
};

use crate::{
    actor,
    args::{
        CheckArgs, Common, DrainArgs, HostArgs, HostCommand, InventoryArgs, OutputFormat,
        UncordonArgs, WaitArgs,
    },
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, table},
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

async fn cordon(common: &Common, host: &str) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    app.fleet
        .hosts()
        .cordon(host, actor::by(&common.reason))
        .await?;
    output::line(&format!("host/{host} cordoned"));
    app.close().await;
    Ok(Exit::Done)
}

async fn accept(common: &Common, host: &str) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let by = actor::by(&common.reason);
    let (machine, going_on) = app.fleet.hosts().accept(host, by).await?;
    output::line(&format!("host/{host} accepted: {machine}"));
    let targets = work::targets_of(&app, &going_on).await?;
    work::see_through(app, common, &WaitArgs::always(None), &targets).await
}

async fn uncordon(common: &Common, args: UncordonArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (host, by) = (&args.host.name, actor::by(&common.reason));
    let started = app.fleet.hosts().uncordon(host, args.start, by).await?;
    output::line(&format!("host/{host} uncordoned"));
    let targets = work::targets_of(&app, &started).await?;
    work::see_through(app, common, &WaitArgs::always(args.timeout), &targets).await
}

async fn drain(common: &Common, args: DrainArgs) -> CommandOutcome {
    if args.dry_run {
        return plan_drain(common, &args).await;
    }
    let app = App::open_to_work(common).await?;
    let host = &args.host.name;
    if args.asks() {
        confirm_moves(&app, &args).await?;
    }
    let (mut targets, mut some_remain) = (Vec::new(), false);
    if args.moves {
        let by = actor::by(&common.reason);
        let (vsis, pools) = Box::pin(app.fleet.hosts().drain_moving(host, by)).await?;
        some_remain = !args.stop && vsis.iter().any(|vsi| !vsi.moves);
        show_drain(&vsis, args.output)?;
        for pool in pools {
            targets.push(work::pool_of(&app, &pool).await?);
        }
    }
    if args.stop {
        let (how, by) = (args.grace.gracefully(), actor::by(&common.reason));
        let stopped = app.fleet.hosts().drain(host, how, by).await?;
        targets.extend(work::targets_of(&app, &stopped).await?);
    }
    if args.output.is_none() {
        output::line(&format!("host/{host} cordoned"));
    }
    warn_of_unreadable(&app, host).await?;
    let wait = WaitArgs {
        wait: args.stop || args.wait,
        timeout: args.bound.wait_timeout,
    };
    if !args.stop {
        work::report_recorded(&app, &wait, &targets, "makes members on other hosts");
    }
    let exit = Box::pin(work::see_through(app, common, &wait, &targets)).await?;
    Ok(if some_remain {
        exit.max(Exit::Blocked)
    } else {
        exit
    })
}

async fn plan_drain(common: &Common, args: &DrainArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let host = &args.host.name;
    let vsis = Box::pin(app.fleet.hosts().plan_drain(host)).await?;
    show_drain(&vsis, args.output)?;
    let obstacles = Box::pin(async {
        let mut exit = Exit::Done;
        for vsi in &vsis {
            exit = exit.max(foresee_drain(&app, args, vsi).await?);
        }
        Ok::<_, ExitProblem>(exit)
    });
    let exit = match args.output {
        Some(_) => output::aside(obstacles).await?,
        None => obstacles.await?,
    };
    if args.output.is_none() {
        output::line(&format!("host/{host} would be cordoned"));
    }
    warn_of_unreadable(&app, host).await?;
    app.close().await;
    Ok(exit)
}

/// Reports what would keep a VSI on the host; returns the exit.
async fn foresee_drain(app: &App, args: &DrainArgs, vsi: &DrainedVsi) -> CommandOutcome {
    let label = format!("vsi/{}", work::label(&vsi.namespace, &vsi.name));
    if vsi.moves {
        let vsis = app.fleet.vsis();
        let refusal = vsis.deletion_refusal(&vsi.namespace, &vsi.name).await?;
        if refusal.is_some() {
            return Ok(output::foreseen(&label, "moved (dry run)", refusal));
        }
        if args.output.is_none() {
            output::line(&format!(
                "{label}: loses the {}",
                vsi.loses.join(" and the ")
            ));
        }
        return Ok(Exit::Done);
    }
    if !args.stop {
        return Ok(Exit::Blocked);
    }
    if args.output.is_none() {
        output::line(&format!("{label} would be shut down (dry run)"));
    }
    Ok(Exit::Done)
}

/// Warns of VSIs whose records cannot be read.
async fn warn_of_unreadable(app: &App, host: &str) -> Result<(), ExitProblem> {
    for unreadable in app.fleet.hosts().unreadable(host).await? {
        output::warning(&format!(
            "it may run there still: {unreadable}. {}",
            unreadable.remedy
        ));
    }
    Ok(())
}

/// Asks for confirmation before members are deleted on this host and made on others.
async fn confirm_moves(app: &App, args: &DrainArgs) -> Result<(), ExitProblem> {
    let host = &args.host.name;
    let vsis = Box::pin(app.fleet.hosts().plan_drain(host)).await?;
    let moved = vsis.iter().filter(|vsi| vsi.moves);
    let names: Vec<_> = moved
        .map(|vsi| {
            let label = work::label(&vsi.namespace, &vsi.name);
            format!("vsi/{label} (loses the {})", vsi.loses.join(" and the "))
        })
        .collect();
    if names.is_empty() {
        Ok(())
    } else {
        work::confirm(
            &format!("delete on {host} and make elsewhere {}", names.join(", ")),
            args.agreed.as_deref(),
        )
    }
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
