//! `events`: shows the newest events of all objects.

use super::event_lines::{self, EventSource};
use crate::{
    args::{Common, EventsArgs},
    exit::{CommandOutcome, Exit},
};

pub(super) async fn run(common: &Common, args: EventsArgs) -> CommandOutcome {
    let mut source = EventSource::of_everything(&args.filter, args.from_offset, args.tail);
    if args.watch {
        return event_lines::follow(common, source, args.output).await;
    }
    let lines = source.read(common).await?;
    event_lines::print(args.output, &lines, true)?;
    Ok(Exit::Done)
}
