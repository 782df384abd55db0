//! Tables that several pages share: VSIs, images, events, conditions and members.

use maud::{Markup, html};
use vsiflow_workflows::fleet::{
    Condition, HistoryLine, ImageObject, PoolMember, UploadProgress, VsiSummary,
};

use super::{address, context::PageContext, moment::of_event, state::state, text};

/// The maximum number of members shown for one pool.
const MEMBERS: usize = 250;
/// A table of VSIs.
pub(super) fn vsis(rows: &[&VsiSummary], context: &PageContext) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="VSIs" {
            table {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "Phase" } th scope="col" { "Step" }
                    th scope="col" { "Addresses" } th scope="col" { "Host" } th scope="col" { "Since" }
                } }
                tbody {
                    @for vsi in rows { (vsi_row(vsi, context)) }
                }
            }
        }
    }
}

fn vsi_row(vsi: &VsiSummary, context: &PageContext) -> Markup {
    let meta = &vsi.metadata;
    let full = match meta.namespace.as_str() {
        "default" | "" => meta.name.clone(),
        namespace => format!("{namespace}/{}", meta.name),
    };
    html! {
        tr {
            th scope="row" {
                @match meta.namespace.as_str() {
                    "" => (text::visible(&full)),
                    namespace => a href=(address::vsi(namespace, &meta.name, context)) { (text::visible(&full)) },
                }
            }
            td { (state(vsi.phase.as_str())) }
            td {
                @if let Some(step) = &vsi.current_step { (step) }
                @if let Some((done, total)) = vsi.progress {
                    " " progress max=(total) value=(done) aria-label="steps done" {}
                    " " (done) "/" (total)
                }
            }
            td { (text::visible(&vsi.ip_addresses.join(", "))) }
            td { a href=(address::host(&vsi.host, context)) { (text::visible(&vsi.host)) } }
            td { time { (meta.creation_timestamp) } }
        }
    }
}

/// A table of base images, with the progress of uploads.
pub(super) fn images<'a>(
    images: impl Iterator<Item = &'a ImageObject>,
    context: &PageContext,
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
                td { a href=(address::host(&image.host, context)) { (text::visible(&image.host)) } }
                td { (image.pool) } td { (image.users) }
                td { @if let Some(size) = image.size { (text::bytes(size)) } }
                td { (text::visible(&image.url)) }
            } } }
        } }
    }
}

/// The progress of an upload.
pub(super) fn upload(upload: &UploadProgress) -> Markup {
    html! {
        @if let Some(total) = upload.total_bytes {
            progress max=(total) value=(upload.bytes) aria-label="bytes uploaded" {}
            " "
        }
        (text::visible(&upload.to_string()))
    }
}

/// A table of events.
pub(super) fn events<'a>(lines: impl Iterator<Item = &'a HistoryLine>) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Events" { table {
            thead { tr {
                th scope="col" { "Offset" } th scope="col" { "Time" } th scope="col" { "Entity" }
                th scope="col" { "Event" } th scope="col" { "Step" } th scope="col" { "Took" }
                th scope="col" { "Actor" } th scope="col" { "Words" }
            } }
            tbody { @for line in lines { (event_row(line)) } }
        } }
    }
}

fn event_row(line: &HistoryLine) -> Markup {
    html! {
        tr {
            @let at = of_event(line.journal, line.offset);
            td { a href={ "?at=" (at) } { (at) } }
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

/// A table of conditions.
pub(super) fn conditions(conditions: &[Condition]) -> Markup {
    html! {
        h2 { "Conditions" }
        div.wide tabindex="0" role="region" aria-label="Conditions" { table {
            thead { tr {
                th scope="col" { "Condition" } th scope="col" { "Status" } th scope="col" { "Reason" }
                th scope="col" { "Message" } th scope="col" { "Since" }
            } }
            tbody { @for one in conditions { tr {
                th scope="row" { (one.name) } td { (one.status) } td { (one.reason) }
                td { (text::visible(&one.message)) } td { time { (one.last_transition_time) } }
            } } }
        } }
    }
}

/// Members as a branch of a tree.
pub(super) fn members(namespace: &str, members: &[PoolMember], context: &PageContext) -> Markup {
    html! {
        ul.tree {
            @for member in members.iter().take(MEMBERS) {
                li {
                    a href=(address::vsi(namespace, &member.name, context)) { (text::visible(&member.name)) }
                    " " (state(member.phase.as_str()))
                    @if !member.ready { " not ready" }
                    @if !member.updated { " of another revision" }
                    @if member.cordoned { " cordoned" }
                    @if let Some(host) = &member.leaves { " leaves " (text::visible(host)) }
                }
            }
            @if members.len() > MEMBERS {
                li { (members.len().saturating_sub(MEMBERS)) " more: "
                    a href={ "/?group=pool&q=" (text::segment(namespace)) (context.at.more()) } { "the fleet by pool" } }
            }
        }
    }
}
