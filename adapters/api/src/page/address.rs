//! The addresses of objects' pages, at the moment that the current page shows.

use super::{context::PageContext, layout::link, text};

/// The address of a VSI's page.
pub(super) fn vsi(namespace: &str, name: &str, context: &PageContext) -> String {
    let path = format!("/vsi/{}/{}", text::segment(namespace), text::segment(name));
    link(&path, Some(&context.at))
}

/// The address of a host's page.
pub(super) fn host(host: &str, context: &PageContext) -> String {
    link(&format!("/host/{}", text::segment(host)), Some(&context.at))
}

/// The address of a pool's page.
pub(super) fn pool(namespace: &str, name: &str, context: &PageContext) -> String {
    let path = format!("/pool/{}/{}", text::segment(namespace), text::segment(name));
    link(&path, Some(&context.at))
}
