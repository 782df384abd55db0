//! `events`: what happened last, to everything.

use super::event_lines::{self, Source};
use crate::{
    args::{Common, EventsArgs},
    exit::{CommandOutcome, Exit},
};

pub(super) async fn run(common: &Common, args: EventsArgs) -> CommandOutcome {
    let source = Source::All(args.tail);
    if args.watch {
        let following = async {
            match &common.set {
                Some(place) => {
                    let events = (&args.filter, args.tail);
                    event_lines::follow_set(common, place, events, args.output).await
                }
                None => event_lines::follow(common, source, &args.filter, args.output).await,
            }
        };
        return tokio::select! {
            followed = following => followed,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    let from = args.filter.from_offset;
    let lines = match &common.set {
        Some(place) => event_lines::of_set(common, place, &args.filter, args.tail).await?,
        None => event_lines::own(common, source, &args.filter, from).await?,
    };
    event_lines::print(args.output, &lines, true)?;
    Ok(Exit::Done)
}
