//! `describe`: shows everything known about objects of any kind.

use vsiflow_workflows::fleet::Fleets;

use crate::{
    args::{Common, DescribeArgs, OutputFormat, kind_and_name},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, sink},
};

pub(super) async fn run(common: &Common, args: DescribeArgs) -> CommandOutcome {
    let unheld = super::get::unheld(common).await?;
    let apps = match &common.set {
        Some(place) => place.open_all_to_read(common).await?,
        None => vec![App::open(common).await?],
    };
    let fleets = App::fleets_at(&apps, args.at).await?.with_unheld(unheld);
    let described = describe_objects(&fleets, &args).await;
    App::end(apps, fleets).await;
    described.map(|()| Exit::Done)
}

async fn describe_objects(fleets: &Fleets, args: &DescribeArgs) -> Result<(), ExitProblem> {
    for (number, name) in args.names().iter().enumerate() {
        separate(args, number);
        describe_object(fleets, args, name).await?;
        sink::drained().await;
    }
    Ok(())
}

/// Prints a separator between two objects.
fn separate(args: &DescribeArgs, number: usize) {
    match args.output {
        _ if number == 0 => {}
        Some(OutputFormat::Yaml) => output::line("---"),
        Some(OutputFormat::Json | OutputFormat::Name) => {}
        None | Some(OutputFormat::Wide) => output::line(""),
    }
}

async fn describe_object(
    fleets: &Fleets,
    args: &DescribeArgs,
    name: &str,
) -> Result<(), ExitProblem> {
    let (kind, name) = kind_and_name(name);
    let description = kind.describe(fleets, &args.namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{}/{name}", kind.word())),
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => {
            output::print(&description.value, format)?;
        }
        None | Some(OutputFormat::Wide) if description.details.is_empty() => {
            output::print(&description.value, OutputFormat::Yaml)?;
        }
        None | Some(OutputFormat::Wide) => {
            output::describe::description(&description, args.times.time);
        }
    }
    Ok(())
}
