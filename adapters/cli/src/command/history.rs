//! `history`: shows every step ever executed for VSIs and other objects.

pub(crate) use super::event_lines::print;
use super::event_lines::{self, Source};
use crate::{
    args::{Common, HistoryArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{
        self, graph, sink,
        timeline::{Timeline, TimelineFilter},
    },
    work,
};

pub(super) async fn run(common: &Common, args: HistoryArgs) -> CommandOutcome {
    let names = args.names();
    let source = Source::Of(&args.namespace, &names);
    if args.follow {
        return tokio::select! {
            followed = event_lines::follow(common, source, (&args.filter, args.from_offset), args.output) => followed,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    if args.graph {
        return graphs(common, &args, &names).await;
    }
    if args.is_events() {
        let lines = event_lines::own(common, source, &args.filter, args.from_offset).await?;
        event_lines::print_all(args.output, lines, true).await?;
    } else {
        return summaries(common, &args, &names).await;
    }
    Ok(Exit::Done)
}

/// Prints one line for each run and step of each object. Of one history at a time every event is held.
async fn summaries(common: &Common, args: &HistoryArgs, names: &[String]) -> CommandOutcome {
    let app = App::open(common).await?;
    let timelines = timelines(&app, args, names).await;
    app.close().await;
    for (number, (name, timeline)) in names.iter().zip(timelines?).enumerate() {
        if names.len() > 1 {
            head(number, name);
        }
        output::timeline(&timeline, args.times.time);
        sink::drained().await;
    }
    Ok(Exit::Done)
}

async fn timelines(
    app: &App,
    args: &HistoryArgs,
    names: &[String],
) -> Result<Vec<Timeline>, ExitProblem> {
    let filter = TimelineFilter {
        since: event_lines::earliest(&args.filter),
        from_offset: args.from_offset,
        actor: args.filter.actor.clone(),
        failed: args.filter.failed,
    };
    let mut timelines = Vec::new();
    for name in names {
        let lines = app.fleet.history().lines(&args.namespace, name).await?;
        timelines.push(Timeline::of(&lines).filtered(&filter));
    }
    Ok(timelines)
}

/// Draws the newest run of each object; for pools and groups, which have no runs, their members.
async fn graphs(common: &Common, args: &HistoryArgs, names: &[String]) -> CommandOutcome {
    let app = App::open(common).await?;
    let drawn = drawn(&app, args, names).await;
    app.close().await;
    for (number, (name, text)) in names.iter().zip(drawn?).enumerate() {
        if names.len() > 1 {
            head(number, name);
        }
        if text.is_empty() {
            output::note("No run found.")
        } else {
            output::line(text.trim_end())
        }
    }
    Ok(Exit::Done)
}

async fn drawn(
    app: &App,
    args: &HistoryArgs,
    names: &[String],
) -> Result<Vec<String>, ExitProblem> {
    let mut drawn = Vec::new();
    for name in names {
        if let Some(pool) = name.strip_prefix(work::POOL) {
            let pool = app.fleet.pools().get(&args.namespace, pool).await?;
            drawn.push(graph::render_pool(&pool));
            continue;
        }
        if let Some(group) = name.strip_prefix(work::GROUP) {
            let group = app.fleet.groups().get(&args.namespace, group).await?;
            drawn.push(graph::render_group(&group));
            continue;
        }
        let runs = app
            .fleet
            .history()
            .run_graphs(&args.namespace, name)
            .await?;
        let Some(newest) = runs.first() else {
            drawn.push(String::new());
            continue;
        };
        let lines = app.fleet.history().lines(&args.namespace, name).await?;
        drawn.push(graph::render(newest, &lines, args.times.time));
    }
    Ok(drawn)
}

/// Prints the name of the object whose history follows.
fn head(number: usize, name: &str) {
    if number > 0 {
        output::line("");
    }
    output::line(&format!("{name}:"));
}
