//! The page of the base images of all hosts.

use maud::html;

use super::{
    context::{PageContext, PageResult},
    tables,
};

pub(super) async fn page(context: PageContext) -> PageResult {
    let images = context.fleets.images().await?;
    let main = html! {
        h1 { "Images" }
        (tables::images(images.iter(), &context))
    };
    Ok(context.page("Images", "/images", &main))
}
