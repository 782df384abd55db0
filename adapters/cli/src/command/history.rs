//! `history`: every step ever taken for a VSI.

use super::Outcome;
use crate::{
    args::{Common, HistoryArgs, HistoryFormat},
    compose::App,
    exit::Exit,
    output::{self, table},
};

pub(super) async fn run(common: &Common, args: HistoryArgs) -> Outcome {
    let app = App::open(common).await?;
    let lines = app
        .fleet
        .history(&args.target.namespace, args.target.name())
        .await?;
    match args.output {
        Some(HistoryFormat::Json) => {
            for line in &lines {
                output::json_line(line)?;
            }
        }
        wide => output::table(&table::history(&lines, wide.is_some()), "events"),
    }
    app.close().await;
    Ok(Exit::Done)
}
