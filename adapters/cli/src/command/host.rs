//! `host`: hosts, and what is on them.

use serde_json::json;
use vsiflow_workflows::{
    fleet::{CheckOutcome, Checking, HostCheck, InventoryItem},
    spec::HostSettings,
};

use super::CommandOutcome;
use crate::{
    actor,
    args::{
        CheckArgs, Common, DrainArgs, HostArgs, HostCommand, InventoryArgs, OutputFormat,
        UncordonArgs, WaitArgs,
    },
    compose::App,
    exit::{Exit, ExitProblem},
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
    let items = app.fleet.inventory(host).await?;
    match args.output {
        None | Some(OutputFormat::Wide) => output::table(&table::inventory(&items), "objects"),
        Some(OutputFormat::Name) => {
            let line = |item: &InventoryItem| output::line(&format!("{}/{}", item.kind, item.name));
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

/// The exit is that of a failure where VSIs would not run there.
async fn check(common: &Common, args: CheckArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let host = one(&app, common, &args.at).await?;
    let what = Checking {
        archs: args.archs,
        networks: args.networks,
    };
    let checks = app.fleet.check_host(host, &what).await?;
    match args.output {
        None | Some(OutputFormat::Wide) => told(&checks),
        Some(OutputFormat::Name) => checks.iter().for_each(|check| output::line(&check.name)),
        Some(format) => {
            let object =
                |check: &HostCheck| json!({"metadata": {"name": check.name}, "status": check});
            let all: Vec<_> = checks.iter().map(object).collect();
            output::print(&output::list(&all), format)?;
        }
    }
    app.close().await;
    let worst = checks.iter().map(|check| check.result).max();
    match worst == Some(CheckOutcome::Failed) {
        true => Ok(Exit::Failed),
        false => Ok(Exit::Done),
    }
}

fn told(checks: &[HostCheck]) {
    output::table(&table::checks(checks), "checks");
    let mend = checks.iter().filter(|check| !check.remedy.is_empty());
    for check in mend {
        output::line(&format!("{}: {}", check.name, check.remedy));
    }
}

async fn cordon(common: &Common, host: &str) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    app.fleet.cordon(host, actor::by(&common.reason)).await?;
    output::line(&format!("host/{host} cordoned"));
    app.close().await;
    Ok(Exit::Done)
}

async fn accept(common: &Common, host: &str) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let by = actor::by(&common.reason);
    let (machine, going_on) = app.fleet.accept_host(host, by).await?;
    output::line(&format!("host/{host} accepted: {machine}"));
    let targets = work::targets_of(&app, &going_on).await?;
    work::see_through(app, common, &WaitArgs::always(None), &targets).await
}

async fn uncordon(common: &Common, args: UncordonArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (host, by) = (&args.host.name, actor::by(&common.reason));
    let started = app.fleet.uncordon(host, args.start, by).await?;
    output::line(&format!("host/{host} uncordoned"));
    let targets = work::targets_of(&app, &started).await?;
    work::see_through(app, common, &WaitArgs::always(args.timeout), &targets).await
}

async fn drain(common: &Common, args: DrainArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let how = args.grace.gracefully();
    let (host, by) = (&args.host.name, actor::by(&common.reason));
    let stopped = app.fleet.drain(host, how, by).await?;
    output::line(&format!("host/{host} cordoned"));
    for unreadable in app.fleet.unreadable_on(host).await? {
        output::warning(&format!(
            "it may run there still: {unreadable}. {}",
            unreadable.remedy
        ));
    }
    let targets = work::targets_of(&app, &stopped).await?;
    let wait = WaitArgs::always(args.bound.wait_timeout);
    work::see_through(app, common, &wait, &targets).await
}

/// The host that is meant: by its name, its documents, `--host`, or the only one that is known.
pub(super) async fn one(
    app: &App,
    common: &Common,
    at: &HostArgs,
) -> Result<HostSettings, ExitProblem> {
    if let Some(name) = &at.name {
        return Ok(app.fleet.host_settings(name)?);
    }
    if at.files.is_empty() && common.host.is_none() {
        let known = app.fleet.host_objects().await?;
        if let [only] = known.as_slice() {
            return Ok(app.fleet.host_settings(&only.name)?);
        }
    }
    work::one_host(common, &at.files).await
}
