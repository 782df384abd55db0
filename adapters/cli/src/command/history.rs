//! `history`: every step ever taken for a VSI.

use vsiflow_workflows::fleet::HistoryLine;

pub(crate) use super::event_lines::print;
use super::{
    CommandOutcome,
    event_lines::{self, Source},
};
use crate::{
    args::{Common, EventFilter, HistoryArgs},
    exit::Exit,
    output::{
        self,
        timeline::{Timeline, TimelineFilter},
    },
};

pub(super) async fn run(common: &Common, args: HistoryArgs) -> CommandOutcome {
    let source = Source::Of(&args.target);
    if args.follow {
        return tokio::select! {
            followed = event_lines::follow(common, source, &args.filter, args.output) => followed,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    if args.is_events() {
        let lines = event_lines::own(common, source, &args.filter, args.filter.from_offset).await?;
        print(args.output, &lines, true)?;
    } else {
        let all = event_lines::own(common, source, &EventFilter::default(), 0).await?;
        summarise(&args, &all);
    }
    Ok(Exit::Done)
}

/// Prints one line for each run and step.
fn summarise(args: &HistoryArgs, lines: &[HistoryLine]) {
    let filter = TimelineFilter {
        since: event_lines::earliest(&args.filter),
        from_offset: args.filter.from_offset,
        actor: args.filter.actor.clone(),
        failed: args.filter.failed,
    };
    output::timeline(&Timeline::of(lines).filtered(&filter), args.times.time);
}
