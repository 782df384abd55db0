//! The page of the journal's events, the newest first.

use axum::extract::Query;
use maud::html;
use serde::Deserialize;
use vsiflow_workflows::fleet::HistoryLine;

use super::{
    context::{PageContext, PageResult},
    tables,
};

/// Events on one page.
const EVENTS: u64 = 200;

/// Which events to show.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsPageQuery {
    /// Events before this offset, in a set before one offset per journal (`12.40.3`); the newest events
    /// if it is empty or invalid.
    before: String,
}

pub(super) async fn page(context: PageContext, query: Query<EventsPageQuery>) -> PageResult {
    let before = before(&query.before);
    let lines = context.fleets.events_before(&before, EVENTS).await?;
    let older = older(&context, &before, &lines);
    let main = html! {
        h1 { "Events" }
        (tables::events(lines.iter().rev()))
        nav.pages aria-label="Pages of the list" {
            @if older.iter().any(|from| *from > 0) {
                a rel="next" href={ "/events?before=" (text(&older)) (context.at.more()) } { "Older" }
            }
        }
    };
    Ok(context.page("Events", "/events", &main))
}

fn before(text: &str) -> Vec<u64> {
    let offsets = text.split('.').map(str::parse);
    // An invalid offset is ignored.
    offsets.collect::<Result<_, _>>().unwrap_or_default()
}

fn text(offsets: &[u64]) -> String {
    let offsets: Vec<_> = offsets.iter().map(u64::to_string).collect();
    offsets.join(".")
}

/// The offset of the first shown event in each journal, before which the older events are.
fn older(context: &PageContext, before: &[u64], lines: &[HistoryLine]) -> Vec<u64> {
    let journals = context.fleets.all().enumerate();
    let first = journals.map(|(number, fleet)| {
        let own = |line: &&HistoryLine| usize::from(line.journal.unwrap_or_default()) == number;
        let end = fleet.history().end();
        let to = before.get(number).map_or(end, |before| end.min(*before));
        let first = lines.iter().find(own).map(|line| line.offset);
        first.unwrap_or(to)
    });
    first.collect()
}
