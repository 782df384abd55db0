//! Looks into the images that documents name as files of this machine, before anything is recorded.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;
use vsiflow_engine::model::Failure;
use vsiflow_steps::{error, image::head, ports::source_for_owner};

use crate::fleet::{Applied, Change, Fleet};
use crate::{
    record::kind,
    spec::{DataDiskSource, DesiredDataDisk, Resolved, ResolvedPool},
};

/// How long it waits for one file, which may be on a file system of another machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// An object whose image is a file that cannot be used.
#[derive(Clone, Debug)]
pub struct UnfitImage {
    /// The object's kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether the object would be new.
    pub is_new: bool,
    /// Why the image cannot be used.
    pub failure: Failure,
}

impl Fleet {
    /// The objects that are new, or get another image, whose image is a file of this machine that a host would
    /// not get: it is missing, may not be read, or is no disk. Images behind other URLs are not looked at.
    /// Nothing is changed, so it may be cancelled at any time.
    pub async fn unfit_images(&self, resolved: &Resolved, applied: &[Applied]) -> Vec<UnfitImage> {
        // One file may be the image of thousands.
        let mut refusals: BTreeMap<&str, Option<Failure>> = BTreeMap::new();
        let mut unfit = Vec::new();
        for one in applied.iter().filter(|one| needs_image(one)) {
            for url in local_images(resolved, one) {
                let refusal = match refusals.entry(url) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        place.insert(self.local_refusal(&one.namespace, url).await)
                    }
                };
                unfit.extend(refusal.clone().map(|failure| UnfitImage {
                    kind: one.kind,
                    namespace: one.namespace.clone(),
                    name: one.name.clone(),
                    is_new: one.change == Change::Created,
                    failure,
                }));
            }
        }
        unfit
    }

    async fn local_refusal(&self, namespace: &str, url: &str) -> Option<Failure> {
        let images = source_for_owner(&self.images, &Arc::from(namespace));
        match timeout(PATIENCE, head::examine(&*images, url)).await {
            Ok(examined) => examined.err(),
            Err(_) => Some(
                error::SOURCE_UNREACHABLE
                    .failure(format!("the file was not read within {PATIENCE:?}"))
                    .of_object(url),
            ),
        }
    }
}

fn needs_image(one: &Applied) -> bool {
    let names_image = |path: &str| path.contains("image") || path.contains("source");
    let changes = || one.fields.iter().any(|field| names_image(&field.path));
    match one.change {
        Change::Created => true,
        Change::Configured => changes(),
        Change::Unchanged => false,
    }
}

/// The URLs of files that the object's document names as images.
fn local_images<'a>(resolved: &'a Resolved, one: &Applied) -> BTreeSet<&'a str> {
    let is = |namespace: &str, name: &str| one.namespace == namespace && one.name == name;
    let all: Vec<&str> = match one.kind {
        kind::VSI => {
            let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
            let own = vsis.filter(|vsi| is(&vsi.namespace, &vsi.name));
            own.map(|vsi| vsi.image.url.as_str()).collect()
        }
        kind::POOL => {
            let pools = resolved.pools.iter();
            let own = pools.filter(|pool| is(&pool.desired.namespace, &pool.desired.name));
            own.flat_map(of_pool).collect()
        }
        kind::GROUP => {
            let groups = resolved.groups.iter();
            let own = groups.filter(|group| is(&group.namespace, &group.name));
            own.flat_map(|group| group.whole_items())
                .flat_map(|item| of_pool(&item.pool))
                .collect()
        }
        kind::DISK => {
            let disks = resolved.data_disks.iter();
            let own = disks.filter(|disk| is(&disk.namespace, &disk.name));
            own.filter_map(of_disk).collect()
        }
        _ => Vec::new(),
    };
    all.into_iter()
        .filter(|url| url.starts_with("file:"))
        .collect()
}

fn of_pool(pool: &ResolvedPool) -> impl Iterator<Item = &str> {
    let disks = pool.desired.disks.iter().filter_map(of_disk);
    std::iter::once(pool.template.desired.image.url.as_str()).chain(disks)
}

fn of_disk(disk: &DesiredDataDisk) -> Option<&str> {
    match &disk.source {
        Some(DataDiskSource::Image { image }) => Some(&image.url),
        _ => None,
    }
}
