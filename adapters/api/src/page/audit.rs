//! The audit page: the anchors to store elsewhere, and the verification of the journals.

use axum::{Extension, extract::State};
use maud::{Markup, html};

use super::{
    context::{Page, PageContext, PageResult},
    state::state,
    text,
};
use crate::{
    AnchorRequest, Caller, JournalAnchors, Problem, VerifiedJournal, VerifiedJournals,
    VerifyRequest, api::Api,
};

pub(super) async fn page(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    context: PageContext,
) -> PageResult {
    let caller = caller.as_deref().ok_or_else(Problem::view_only)?;
    let anchors = api.call(caller, AnchorRequest {}).await?;
    Ok(shown(&context, &anchors, None))
}

/// Verifies the whole journal. It changes nothing, but it reads everything, so it is a POST: following a
/// link must not start it.
pub(super) async fn verify(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    context: PageContext,
) -> PageResult {
    let caller = caller.as_deref().ok_or_else(Problem::view_only)?;
    let verified = api.call(caller, VerifyRequest::default()).await?;
    let anchors = api.call(caller, AnchorRequest {}).await?;
    Ok(shown(&context, &anchors, Some(&verified)))
}

fn shown(
    context: &PageContext,
    anchors: &JournalAnchors,
    verified: Option<&VerifiedJournals>,
) -> Page {
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
        @for anchor in &anchors.journals {
            (of_set(anchor.journal))
            pre tabindex="0" role="region" aria-label="Anchor" { (text::visible(&anchor.head)) }
        }
    };
    context.page("Audit", "/audit", &main)
}

/// Which journal of a set it is.
fn of_set(journal: Option<u16>) -> Markup {
    html! { @if let Some(number) = journal { p { "Journal " (number) } } }
}

fn report(verified: &VerifiedJournals) -> Markup {
    let is_sound = verified.journals.iter().all(VerifiedJournal::is_sound);
    html! {
        section aria-label="Result" role="status" {
            h2 { @if is_sound { (state("Succeeded")) " The journal is sound" }
                 @else { (state("Failed")) " The journal is not sound" } }
            @for journal in &verified.journals {
                (of_set(journal.journal))
                pre tabindex="0" role="region" aria-label="Report" {
                    @for violation in &journal.violations {
                        "error[" (violation.code) "]: " (text::visible(&violation.detail)) "\n"
                        "  object " (text::visible(&violation.object)) "\n"
                        "  next   " (text::visible(&violation.remedy)) "\n"
                    }
                    (text::visible(&journal.summary())) "\n"
                    @for removed in &journal.removed {
                        (text::visible(&removed.range)) ": the events were removed; the base as of offset "
                        (removed.base) " replaces them\n"
                    }
                }
            }
        }
    }
}
