//! Base images on the pools of hosts.

use super::{Cell, Column, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords};
use crate::fleet::{FleetError, Fleets, ImageObject};

/// Base images.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageKind;

impl Kind for ImageKind {
    type Object = ImageObject;
    const WORDS: KindWords = KindWords {
        singular: "image",
        noun: "base image",
        plural: "images",
        synonyms: &["images"],
    };
    const NAMES: NameScope = NameScope::Host;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "images",
        name: "Image",
    };
    const DELETION: Option<&'static str> = None;
    const COLUMNS: &'static [Column<ImageObject>] = &[
        Column::new("NAME", |image| Cell::text(&image.name)),
        Column::new("STATE", |image| Cell::text(&image.phase)),
        Column::new("HOST", |image| Cell::text(&image.host)),
        Column::new("POOL", |image| Cell::text(&image.pool)),
        Column::new("SIZE", |image| match (image.size, &image.progress) {
            (None, Some(upload)) => Cell::text(upload),
            (size, _) => Cell::size(size),
        }),
        Column::new("SHA-256", |image| {
            image.sha256.clone().map_or(Cell::Absent, Cell::Digest)
        }),
        Column::since(|image| Cell::time(image.created.as_deref())),
        Column::new("USERS", |image| Cell::text(image.users)),
        Column::wide("VERIFIED", |image| Cell::time(image.verified.as_deref())),
        Column::wide("POLICY", |image| Cell::optional(image.policy.clone())),
        Column::wide("URL", |image| Cell::text(&image.url)),
    ];

    fn identity(image: &ImageObject) -> ObjectIdentity<'_> {
        ObjectIdentity {
            uid: Some(&image.uid),
            ..ObjectIdentity::named(&image.name)
        }
    }

    async fn list(fleets: &Fleets, _deleted: bool) -> Result<Vec<ImageObject>, FleetError> {
        fleets.images().await
    }
}
