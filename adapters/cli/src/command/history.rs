//! `history`: shows every step ever executed for VSIs and other objects.

use vsiflow_api::GraphRequest;

pub(crate) use super::event_lines::print;
use super::event_lines::{self, EventSource};
use crate::{
    args::{Common, HistoryArgs},
    exit::{CommandOutcome, Exit},
    output::{
        self, graph,
        timeline::{Timeline, TimelineFilter},
    },
    service,
};

pub(super) async fn run(common: &Common, args: HistoryArgs) -> CommandOutcome {
    let names = args.names();
    if args.graph {
        return graphs(common, &args, &names).await;
    }
    if !args.is_events() {
        return summaries(common, &args, &names).await;
    }
    let mut source =
        EventSource::of_objects(&args.namespace, &names, &args.filter, args.from_offset);
    if args.follow {
        return event_lines::follow(common, source, args.output).await;
    }
    let lines = source.read(common).await?;
    event_lines::print(args.output, &lines, true)?;
    Ok(Exit::Done)
}

/// Prints one line for each run and step of each object.
async fn summaries(common: &Common, args: &HistoryArgs, names: &[String]) -> CommandOutcome {
    let filter = TimelineFilter {
        since: event_lines::earliest(&args.filter),
        from_offset: args.from_offset,
        actor: args.filter.actor.clone(),
        failed: args.filter.failed,
    };
    // Of the whole histories: a run may have begun before what is shown of it.
    let histories = event_lines::whole_histories(common, &args.namespace, names).await?;
    for (number, (name, lines)) in names.iter().zip(histories).enumerate() {
        let timeline = Timeline::of(&lines).filtered(&filter);
        if names.len() > 1 {
            head(number, name);
        }
        output::timeline(&timeline, args.times.time);
    }
    Ok(Exit::Done)
}

/// Draws the newest run of each object; for pools and groups, which have no runs, their members.
async fn graphs(common: &Common, args: &HistoryArgs, names: &[String]) -> CommandOutcome {
    let requests = names.iter().map(|name| GraphRequest {
        namespace: args.namespace.clone(),
        name: name.clone(),
    });
    let answers = service::call_all(common, &requests.collect::<Vec<_>>()).await?;
    for (number, (name, drawn)) in names.iter().zip(answers).enumerate() {
        if names.len() > 1 {
            head(number, name);
        }
        match drawn.graph {
            Some(newest) => output::line(graph::render(&newest, args.times.time).trim_end()),
            None => output::note("No run found."),
        }
    }
    Ok(Exit::Done)
}

/// Prints the name of the object whose history follows.
fn head(number: usize, name: &str) {
    if number > 0 {
        output::line("");
    }
    output::line(&format!("{name}:"));
}
