//! `describe`: everything known of a VSI, a pool or a data disk.

use vsiflow_workflows::fleet::Fleet;

use super::CommandOutcome;
use crate::{
    args::{Common, DescribeArgs, OutputFormat},
    compose::App,
    exit::{Exit, ExitProblem},
    output,
    work::{DISK, POOL},
};

pub(super) async fn run(common: &Common, args: DescribeArgs) -> CommandOutcome {
    let app = App::open(common).await?;
    let fleet = app.fleet_at(args.at).await?;
    let name = args.target.name();
    match (name.strip_prefix(DISK), name.strip_prefix(POOL)) {
        (Some(disk), _) => describe_disk(&fleet, &args, disk).await?,
        (_, Some(pool)) => describe_pool(&fleet, &args, pool).await?,
        (None, None) => describe_vsi(&fleet, &args, &name).await?,
    }
    app.close().await;
    Ok(Exit::Done)
}

async fn describe_vsi(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let namespace = &args.target.namespace;
    let object = fleet.get(namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::line(&format!("vsi/{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let history = fleet.history(namespace, name).await?;
            output::describe::vsi(&object, &history, args.times.time);
        }
    }
    Ok(())
}

async fn describe_pool(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let namespace = &args.target.namespace;
    let object = fleet.get_pool(namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::line(&format!("{POOL}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let name = format!("{POOL}{name}");
            let history = fleet.history(namespace, &name).await?;
            output::describe::pool(&object, &history, args.times.time);
        }
    }
    Ok(())
}

async fn describe_disk(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let namespace = &args.target.namespace;
    let object = fleet.get_disk(namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::line(&format!("{DISK}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            // What VSIs refer to has a history in theirs alone.
            let history = match object.metadata.uid.as_str() {
                "" => Vec::new(),
                _ => fleet.history(namespace, &format!("{DISK}{name}")).await?,
            };
            output::describe::disk(&object, &history, args.times.time);
        }
    }
    Ok(())
}
