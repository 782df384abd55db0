//! `host`: hosts, and what is on them.

use vsiflow_workflows::{fleet::InventoryItem, spec::HostSettings};

use super::Outcome;
use crate::{
    args::{Common, Format, HostArgs, HostCommand, InventoryArgs},
    compose::App,
    exit::{Exit, Problem},
    output::{self, table},
    work,
};

pub(super) async fn run(common: &Common, command: HostCommand) -> Outcome {
    match command {
        HostCommand::Inventory(args) => inventory(common, args).await,
    }
}

async fn inventory(common: &Common, args: InventoryArgs) -> Outcome {
    let app = App::open(common).await?;
    let host = one(&app, common, &args.at).await?;
    let items = app.fleet.inventory(host).await?;
    match args.output {
        None | Some(Format::Wide) => output::table(&table::inventory(&items), "objects"),
        Some(Format::Name) => {
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

/// The host that is meant: by its name, its documents, `--host`, or the only one that is known.
pub(super) async fn one(
    app: &App,
    common: &Common,
    at: &HostArgs,
) -> Result<HostSettings, Problem> {
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
