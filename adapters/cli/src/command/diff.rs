//! `diff`: shows what differs in an object between two moments.

use serde_json::{Value, json};
use vsiflow_workflows::fleet::{Difference, Fleet, FleetError, Moment, differences_of};

use super::plan;
use crate::{
    args::{Common, DiffArgs, OutputFormat, PlanArgs, Sources},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::DISK,
};

pub(super) async fn run(common: &Common, args: DiffArgs) -> CommandOutcome {
    if !args.files.is_empty() {
        let sources = Sources::of(&args.files);
        let output = args.output;
        return Box::pin(plan::run(common, PlanArgs { sources, output })).await;
    }
    let (first, second) = match args.at.as_slice() {
        [first] => (Some(*first), None),
        [first, second] => (Some(*first), Some(*second)),
        _ => return Err(too_many()),
    };
    let app = App::open(common).await?;
    let compared = compare(&app, &args, first, second).await;
    app.close().await;
    let found = compared?;
    match args.output {
        None | Some(OutputFormat::Wide) => print(&found),
        Some(OutputFormat::Name) => found.iter().for_each(|one| output::name(&one.path)),
        Some(format) => output::print(&json!({ "differences": found }), format)?,
    }
    Ok(Exit::Done)
}

async fn compare(
    app: &App,
    args: &DiffArgs,
    first: Option<Moment>,
    second: Option<Moment>,
) -> Result<Vec<Difference>, ExitProblem> {
    let before = object(&app.fleet_at(first).await?, args).await;
    let after = object(&app.fleet_at(second).await?, args).await;
    Ok(differences_of(before, after)?)
}

async fn object(fleet: &Fleet, args: &DiffArgs) -> Result<Value, FleetError> {
    let (namespace, name) = (&args.namespace, args.name());
    match name.strip_prefix(DISK) {
        Some(disk) => Ok(json!(fleet.disks().get(namespace, disk).await?)),
        None => Ok(json!(fleet.vsis().get(namespace, &name).await?)),
    }
}

fn print(found: &[Difference]) {
    if found.is_empty() {
        output::note("nothing differs");
    }
    for Difference {
        path,
        before,
        after,
    } in found
    {
        if !before.is_null() {
            output::line(&format!("- {path}: {before}"));
        }
        if !after.is_null() {
            output::line(&format!("+ {path}: {after}"));
        }
    }
}

fn too_many() -> ExitProblem {
    let message = "two moments are compared, not more";
    ExitProblem::new(Exit::Usage, "VSI0801", message, "give --at once or twice")
}
