//! `events`: shows the newest events of all objects.

use super::event_lines::{self, Source};
use crate::{
    args::{Common, EventOffset, EventsArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
};

pub(super) async fn run(common: &Common, args: EventsArgs) -> CommandOutcome {
    let source = Source::All(args.tail);
    if args.watch {
        let following = async {
            match &common.set {
                Some(place) => {
                    let events = (&args.filter, args.from_offset, args.tail);
                    event_lines::follow_set(common, place, events, args.output).await
                }
                None => {
                    let from = own_offset(args.from_offset)?;
                    event_lines::follow(common, source, (&args.filter, from), args.output).await
                }
            }
        };
        return tokio::select! {
            followed = following => followed,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    let lines = match &common.set {
        Some(place) => {
            let events = (&args.filter, args.from_offset, args.tail);
            event_lines::of_set(common, place, events).await?
        }
        None => {
            let from = own_offset(args.from_offset)?;
            event_lines::own(common, source, &args.filter, from).await?
        }
    };
    event_lines::print_all(args.output, lines, true).await?;
    Ok(Exit::Done)
}

/// The offset for a single journal.
fn own_offset(from: EventOffset) -> Result<u64, ExitProblem> {
    let Some(journal) = from.journal else {
        return Ok(from.offset);
    };
    let message = format!("there is one journal here, and no journal {journal}");
    let remedy = format!("leave the journal out: --from-offset {}", from.offset);
    Err(ExitProblem::new(Exit::Usage, "VSI0764", message, &remedy))
}
