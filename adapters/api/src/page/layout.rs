//! The layout of every page: its head, the navigation, and the moment that it shows.

use maud::{DOCTYPE, Markup, html};

use super::{
    moment::{At, Slider},
    text,
};

const PAGES: [(&str, &str); 8] = [
    ("/", "Fleet"),
    ("/pools", "Pools"),
    ("/groups", "Groups"),
    ("/images", "Images"),
    ("/hosts", "Hosts"),
    ("/events", "Events"),
    ("/approvals", "Approvals"),
    ("/audit", "Audit"),
];

/// Renders a whole page; `path` is the page's own path.
pub(super) fn whole(title: &str, path: &str, at: Option<&At>, main: &Markup) -> Markup {
    let live = at.is_some_and(|at| at.requested.is_none());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – vsiflow" }
                link rel="stylesheet" href="/assets/page.css";
                script src="/assets/page.js" defer {}
            }
            body data-live[live] data-end=[at.map(|at| at.end)] {
                a.skip href="#main" { "Skip to the content" }
                header {
                    nav #pages aria-label="Pages" {
                        strong { "vsiflow" }
                        @for (to, name) in PAGES {
                            a href=(link(to, at)) aria-current=[(to == path).then_some("page")] { (name) }
                        }
                    }
                    @if let Some(at) = at { (moment(at)) }
                }
                main #main tabindex="-1" { (main) }
            }
        }
    }
}

/// The address of another page at the same moment.
pub(super) fn link(path: &str, at: Option<&At>) -> String {
    match at.and_then(|at| at.requested) {
        Some(moment) => format!("{path}?at={moment}"),
        None => path.to_owned(),
    }
}

/// The slider over the journal, or over the time of a set of journals, and the moment that the page
/// shows.
fn moment(at: &At) -> Markup {
    let now: Vec<_> = at
        .others
        .iter()
        .map(|(key, value)| format!("{}={}", text::segment(key), text::segment(value)))
        .collect();
    html! {
        form #moment method="get" role="search" aria-label="Moment of the journal" {
            @for (key, value) in &at.others { input type="hidden" name=(key) value=(value); }
            (slider(at.slider))
            button { "Show" }
            span #when {
                @match at.requested {
                    Some(_) => {
                        strong #shown { "As of " @if let Slider::Offsets { shown, .. } = at.slider { "offset " (shown) ", " }
                            time { (at.time) } }
                        " " a href={ "?" (now.join("&")) } { "Now" }
                    }
                    None => span #shown { "Now" @match at.slider {
                        Slider::Offsets { shown, .. } => { ", offset " (shown) }
                        Slider::Seconds { .. } => { ", " time { (at.time) } }
                    } },
                }
            }
        }
    }
}

fn slider(slider: Slider) -> Markup {
    let (name, label, first, newest, shown) = match slider {
        Slider::Offsets { newest, shown } => ("at", "Offset", 0, newest, shown),
        Slider::Seconds {
            first,
            newest,
            shown,
        } => ("time", "Time", first, newest, shown),
    };
    html! {
        label for="at" { (label) }
        input #at type="range" name=(name) min=(first) max=(newest) value=(shown) aria-describedby="shown";
    }
}
