//! `describe`: shows everything known about objects of any kind.

use vsiflow_api::{DescribeRequest, DescribedObject};

use super::get;
use crate::{
    args::{Common, DescribeArgs, ObjectKind, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service,
};

pub(super) async fn run(common: &Common, args: DescribeArgs) -> CommandOutcome {
    for (number, name) in args.names().iter().enumerate() {
        let (kind, name) = ObjectKind::of_name(name);
        let request = DescribeRequest {
            kind,
            namespace: args.namespace.clone(),
            name: name.to_owned(),
            at: args.at,
        };
        let object = service::call(common, request).await?;
        if number > 0 {
            separate(&args);
        } else if let Some(as_of) = &object.as_of {
            get::note_moment(as_of);
        }
        print(&args, &object, kind, name)?;
    }
    Ok(Exit::Done)
}

/// Prints a separator between two objects.
fn separate(args: &DescribeArgs) {
    match args.output {
        Some(OutputFormat::Yaml) => output::line("---"),
        Some(OutputFormat::Json | OutputFormat::Name) => {}
        None | Some(OutputFormat::Wide) => output::line(""),
    }
}

fn print(
    args: &DescribeArgs,
    object: &DescribedObject,
    kind: ObjectKind,
    name: &str,
) -> Result<(), ExitProblem> {
    let description = &object.description;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{}/{name}", kind.word())),
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => {
            output::print(&description.value, format)?;
        }
        None | Some(OutputFormat::Wide) if description.details.is_empty() => {
            output::print(&description.value, OutputFormat::Yaml)?;
        }
        None | Some(OutputFormat::Wide) => {
            output::describe::description(description, args.times.time);
        }
    }
    Ok(())
}
