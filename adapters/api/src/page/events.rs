//! The journal's events, the newest first.

use axum::extract::Query;
use maud::html;
use serde::Deserialize;

use super::{
    looked::{Looked, Shown},
    tables,
};

/// Events on one page.
const EVENTS: u64 = 200;

/// Which events.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsPageQuery {
    /// Those before this offset; the newest where it is none.
    before: Option<u64>,
}

pub(super) async fn page(looked: Looked, query: Query<EventsPageQuery>) -> Shown {
    let end = looked.fleet.history().end();
    let to = query.before.unwrap_or(end).min(end);
    let from = to.saturating_sub(EVENTS);
    let length = usize::try_from(to.saturating_sub(from)).unwrap_or_default();
    let lines = match length {
        0 => Vec::new(),
        length => looked.fleet.history().events(from)?.page(length).await?,
    };
    let shown = lines.iter().rev().filter(|line| line.offset < to);
    let main = html! {
        h1 { "Events" }
        (tables::events(shown))
        nav.pages aria-label="Pages of the list" {
            @if from > 0 { a rel="next" href={ "/events?before=" (from) (looked.at.more()) } { "Older" } }
        }
    };
    Ok(looked.page("Events", "/events", &main))
}
