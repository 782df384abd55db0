//! Images and events.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::{HistoryLine, ImageObject, UploadProgress};

use super::{Looked, Shown, fleet::state, hosts, text};

/// Events on one page.
const EVENTS: u64 = 200;

pub(super) async fn images(looked: Looked) -> Shown {
    let images = looked.fleet.images().list().await?;
    let main = html! {
        h1 { "Images" }
        (image_table(images.iter(), &looked))
    };
    Ok(looked.page("Images", "/images", &main))
}

/// Base images, with how far each upload is.
pub(super) fn image_table<'a>(
    images: impl Iterator<Item = &'a ImageObject>,
    looked: &Looked,
) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Images" { table {
            thead { tr {
                th scope="col" { "Image" } th scope="col" { "Phase" } th scope="col" { "Upload" }
                th scope="col" { "Host" } th scope="col" { "Pool" } th scope="col" { "VSIs" }
                th scope="col" { "Size" } th scope="col" { "From" }
            } }
            tbody { @for image in images { tr {
                th scope="row" { (text::visible(&image.name)) }
                td { (state(&image.phase)) " " (text::visible(&image.message)) }
                td { @if let Some(progress) = &image.progress { (upload(progress)) } }
                td { a href=(hosts::address(&image.host, looked)) { (text::visible(&image.host)) } }
                td { (image.pool) } td { (image.users) }
                td { @if let Some(size) = image.size { (text::bytes(size)) } }
                td { (text::visible(&image.url)) }
            } } }
        } }
    }
}

/// How far an upload is.
pub(super) fn upload(upload: &UploadProgress) -> Markup {
    html! {
        @if let Some(total) = upload.total_bytes {
            progress max=(total) value=(upload.bytes) aria-label="bytes uploaded" {}
            " "
        }
        (text::visible(&upload.to_string()))
    }
}

/// Which events.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsPageQuery {
    /// Those before this offset; the newest where it is none.
    before: Option<u64>,
}

pub(super) async fn events(looked: Looked, query: Query<EventsPageQuery>) -> Shown {
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
        (event_table(shown))
        nav.pages aria-label="Pages of the list" {
            @if from > 0 { a rel="next" href={ "/events?before=" (from) (looked.at.more()) } { "Older" } }
        }
    };
    Ok(looked.page("Events", "/events", &main))
}

/// Events, each with what it says.
pub(super) fn event_table<'a>(lines: impl Iterator<Item = &'a HistoryLine>) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Events" { table {
            thead { tr {
                th scope="col" { "Offset" } th scope="col" { "Time" } th scope="col" { "Entity" }
                th scope="col" { "Event" } th scope="col" { "Step" } th scope="col" { "Took" }
                th scope="col" { "Actor" } th scope="col" { "Words" }
            } }
            tbody { @for line in lines { (event(line)) } }
        } }
    }
}

fn event(line: &HistoryLine) -> Markup {
    html! {
        tr {
            td { a href={ "?at=" (line.offset) } { (line.offset) } }
            td { time { (line.time) } }
            td { (text::visible(&line.entity)) }
            th scope="row" { (line.kind) }
            td { @if let Some(step) = &line.step { (step) }
                @if let Some(attempt) = line.attempt.filter(|attempt| *attempt > 1) { " ×" (attempt) } }
            td { @if let Some(ms) = line.duration_ms { (text::took(ms)) } }
            td { (text::visible(&line.actor)) }
            td {
                (text::visible(&line.reason)) " "
                @if let Some(detail) = &line.detail { (text::visible(detail)) " " }
                @if let Some(error) = &line.error {
                    strong { (error.code) } " " (text::visible(&error.message)) " "
                    (text::visible(&error.remedy))
                }
            }
        }
    }
}
