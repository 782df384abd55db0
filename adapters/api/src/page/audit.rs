//! The audit page: the anchor to store elsewhere, and the verification of the journal.

use axum::{Extension, extract::State};
use maud::{Markup, html};

use super::{
    context::{Page, PageContext, PageResult},
    state::state,
    text,
};
use crate::{
    Caller, CommandRequest, Problem,
    api::Api,
    commands::run::{self, Printed},
};

pub(super) async fn page(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    context: PageContext,
) -> PageResult {
    let anchor = command(&api, caller.as_deref(), "head").await?;
    Ok(shown(&context, &anchor, None))
}

/// Verifies the whole journal. It changes nothing, but it reads everything, so it is a POST: following a
/// link must not start it.
pub(super) async fn verify(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    context: PageContext,
) -> PageResult {
    let verified = command(&api, caller.as_deref(), "verify").await?;
    let anchor = command(&api, caller.as_deref(), "head").await?;
    Ok(shown(&context, &anchor, Some(&verified)))
}

/// Runs `vsiflow audit WORD` for the caller.
async fn command(api: &Api, caller: Option<&Caller>, word: &str) -> Result<Printed, Problem> {
    let caller = caller.ok_or_else(Problem::view_only)?;
    let args = ["vsiflow", "audit", word].map(str::to_owned).to_vec();
    if run::about(api, &args).await?.needs > caller.rights {
        return Err(caller.refused());
    }
    let request = CommandRequest {
        args,
        ..CommandRequest::default()
    };
    run::collect(api, caller, request).await
}

fn shown(context: &PageContext, anchor: &Printed, verified: Option<&Printed>) -> Page {
    let main = html! {
        h1 { "Audit" }
        @if context.at.requested.is_some() { p { "The audit is of the whole journal, up to now." } }
        @if let Some(verified) = verified { (report(verified)) }
        form method="post" action="/audit" {
            button.main type="submit" { "Verify the journal" }
        }
        p { "This reads every event and checks the chain of hashes." }
        h2 { "Anchor" }
        p { "The newest link of the chain. Stored on another machine, it shows later whether the journal \
             was cut off or replaced: " code { "vsiflow audit verify --head FILE" } "." }
        pre tabindex="0" role="region" aria-label="Anchor" {
            (text::visible(&String::from_utf8_lossy(&anchor.out)))
            (text::visible(&String::from_utf8_lossy(&anchor.err)))
        }
    };
    context.page("Audit", "/audit", &main)
}

fn report(verified: &Printed) -> Markup {
    let sound = verified.end.exit == 0;
    html! {
        section aria-label="Result" role="status" {
            h2 { @if sound { (state("Succeeded")) " The journal is sound" }
                 @else { (state("Failed")) " The journal is not sound" } }
            pre tabindex="0" role="region" aria-label="Report" {
                (text::visible(&String::from_utf8_lossy(&verified.out)))
                (text::visible(&String::from_utf8_lossy(&verified.err)))
            }
        }
    }
}
