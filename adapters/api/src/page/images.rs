//! The base images of all hosts.

use maud::html;

use super::{
    looked::{Looked, Shown},
    tables,
};

pub(super) async fn page(looked: Looked) -> Shown {
    let images = looked.fleets.images().await?;
    let main = html! {
        h1 { "Images" }
        (tables::images(images.iter(), &looked))
    };
    Ok(looked.page("Images", "/images", &main))
}
