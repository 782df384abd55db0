//! `describe`: everything known of a VSI.

use super::Outcome;
use crate::{
    args::{Common, DescribeArgs, Format},
    compose::App,
    exit::Exit,
    output,
};

pub(super) async fn run(common: &Common, args: DescribeArgs) -> Outcome {
    let app = App::open(common).await?;
    let (namespace, name) = (&args.target.namespace, args.target.name());
    let object = app.fleet.get(namespace, name).await?;
    match args.output {
        Some(Format::Name) => output::line(&format!("vsi/{name}")),
        Some(Format::Json | Format::Yaml) => {
            output::print(&object, args.output.unwrap_or(Format::Json))?;
        }
        None | Some(Format::Wide) => {
            let history = app.fleet.history(namespace, name).await?;
            output::describe::vsi(&object, &history);
        }
    }
    app.close().await;
    Ok(Exit::Done)
}
