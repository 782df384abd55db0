//! `history`: shows every step ever executed for VSIs and other objects.

use vsiflow_workflows::fleet::HistoryLine;

pub(crate) use super::event_lines::print;
use super::event_lines::{self, Source};
use crate::{
    args::{Common, HistoryArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{
        self, graph,
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
        print(args.output, &lines, true)?;
    } else {
        let all = event_lines::each(common, &args.namespace, &names).await?;
        for (number, (name, lines)) in names.iter().zip(&all).enumerate() {
            if names.len() > 1 {
                head(number, name);
            }
            summarise(&args, lines);
        }
    }
    Ok(Exit::Done)
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

/// Prints one line for each run and step.
fn summarise(args: &HistoryArgs, lines: &[HistoryLine]) {
    let filter = TimelineFilter {
        since: event_lines::earliest(&args.filter),
        from_offset: args.from_offset,
        actor: args.filter.actor.clone(),
        failed: args.filter.failed,
    };
    output::timeline(&Timeline::of(lines).filtered(&filter), args.times.time);
}
