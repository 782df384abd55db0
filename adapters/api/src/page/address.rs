//! Where the pages of objects are, at the moment that a page shows.

use super::{layout::link, looked::Looked, text};

/// The address of a VSI's page.
pub(super) fn vsi(namespace: &str, name: &str, looked: &Looked) -> String {
    let path = format!("/vsi/{}/{}", text::segment(namespace), text::segment(name));
    link(&path, Some(&looked.at))
}

/// The address of a host's page.
pub(super) fn host(host: &str, looked: &Looked) -> String {
    link(&format!("/host/{}", text::segment(host)), Some(&looked.at))
}

/// The address of a pool's page.
pub(super) fn pool(namespace: &str, name: &str, looked: &Looked) -> String {
    let path = format!("/pool/{}/{}", text::segment(namespace), text::segment(name));
    link(&path, Some(&looked.at))
}
