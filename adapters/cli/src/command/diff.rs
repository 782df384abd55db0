//! `diff`: shows what differs in an object between two moments.

use serde_json::json;
use vsiflow_api::DiffRequest;
use vsiflow_workflows::fleet::Difference;

use super::{get, plan};
use crate::{
    args::{Common, DiffArgs, ObjectKind, OutputFormat, PlanArgs, Sources},
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service,
};

pub(super) async fn run(common: &Common, args: DiffArgs) -> CommandOutcome {
    if !args.files.is_empty() {
        let sources = Sources::of(&args.files);
        let output = args.output;
        return Box::pin(plan::run(common, PlanArgs { sources, output })).await;
    }
    let (from, to) = match args.at.as_slice() {
        [first] => (Some(*first), None),
        [first, second] => (Some(*first), Some(*second)),
        _ => return Err(too_many()),
    };
    let named = args.name();
    let (kind, name) = ObjectKind::of_name(&named);
    let request = DiffRequest {
        kind,
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        from,
        to,
    };
    let answered = service::call(common, request).await?;
    let moments = [&answered.from, &answered.to].into_iter().flatten();
    moments.for_each(get::note_moment);
    let differences = answered.differences;
    match args.output {
        None | Some(OutputFormat::Wide) => print(&differences),
        Some(OutputFormat::Name) => differences.iter().for_each(|one| output::name(&one.path)),
        Some(format) => output::print(&json!({ "differences": differences }), format)?,
    }
    Ok(Exit::Done)
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
