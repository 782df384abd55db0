//! Visits every image that documents name.

use super::desired::DesiredImage;
use super::disk_source::DataDiskSource;
use super::documents::Documents;
use super::image::{Checksum, ImageUrl};
use super::pool::{DiskTemplate, PoolTemplate};
use super::vsi::{Machine, VsiSpec};

/// An image that a document names.
pub struct NamedImage<'a> {
    /// The kind of the document.
    pub kind: &'static str,
    /// Where the document was read from.
    pub source: &'a str,
    /// Its `namespace/name`.
    pub object: &'a str,
    /// The member or pool of a group that names it; empty if the document names it directly.
    pub item: &'a str,
    /// The URL without credentials, for its architecture, as it is recorded.
    pub url: String,
    /// The URL with its credentials, if it has any.
    pub full: Option<&'a str>,
    /// The SHA-256 that it must have. The caller may set it.
    pub checksum: &'a mut Option<Checksum>,
}

impl Documents {
    /// Calls `each` for every image: of VSIs, pools, groups and data disks, in their order.
    pub fn each_image(&mut self, each: &mut dyn FnMut(NamedImage<'_>)) {
        for document in &mut self.vsis {
            let object = document.meta.full_name();
            let of = (document.kind, &*document.at.source, &*object, "");
            let spec = &mut document.spec;
            let arch = spec.machine.arch.clone();
            let image = (&spec.image_url, &mut spec.image_checksum);
            show(of, image, &arch, each);
        }
        for document in &mut self.pools {
            let object = document.meta.full_name();
            let of = (document.kind, &*document.at.source, &*object, "");
            let spec = &mut document.spec;
            of_template(of, &mut spec.template, each);
            of_disks(of, &mut spec.disk_templates, each);
        }
        for document in &mut self.groups {
            let object = document.meta.full_name();
            let of = (document.kind, &*document.at.source, &*object, "");
            for wave in &mut document.spec.waves {
                for member in &mut wave.members {
                    let of = (of.0, of.1, of.2, &*member.name);
                    of_template(of, &mut member.template, each);
                    of_disks(of, &mut member.disk_templates, each);
                }
                for pool in &mut wave.pools {
                    let of = (of.0, of.1, of.2, &*pool.name);
                    of_template(of, &mut pool.template, each);
                    of_disks(of, &mut pool.disk_templates, each);
                }
            }
        }
        for document in &mut self.data_disks {
            let object = document.meta.full_name();
            if let Some(DataDiskSource::Image { image }) = &mut document.spec.source {
                let of = (document.kind, &*document.at.source, &*object, "");
                of_disk(of, image, each);
            }
        }
    }
}

/// The kind of a document, its source, its namespace and name, and its item.
type NamedItem<'a> = (&'static str, &'a str, &'a str, &'a str);

fn of_template(
    of: NamedItem<'_>,
    template: &mut PoolTemplate,
    each: &mut dyn FnMut(NamedImage<'_>),
) {
    let spec = &mut template.spec;
    // If no architecture is named, it follows from the guest.
    let VsiSpec {
        machine: Machine { arch, .. },
        ..
    } = VsiSpec::from(spec.clone());
    let image = (&spec.image_url, &mut spec.image_checksum);
    show(of, image, &arch, each);
}

fn of_disks(of: NamedItem<'_>, disks: &mut [DiskTemplate], each: &mut dyn FnMut(NamedImage<'_>)) {
    for disk in disks {
        if let Some(DataDiskSource::Image { image }) = &mut disk.spec.source {
            of_disk(of, image, each);
        }
    }
}

fn of_disk(
    (kind, source, object, item): NamedItem<'_>,
    image: &mut DesiredImage,
    each: &mut dyn FnMut(NamedImage<'_>),
) {
    each(NamedImage {
        kind,
        source,
        object,
        item,
        url: image.url.clone(),
        full: None,
        checksum: &mut image.checksum,
    });
}

fn show(
    (kind, source, object, item): NamedItem<'_>,
    (url, checksum): (&ImageUrl, &mut Option<Checksum>),
    arch: &str,
    each: &mut dyn FnMut(NamedImage<'_>),
) {
    each(NamedImage {
        kind,
        source,
        object,
        item,
        url: url.for_arch(arch),
        full: url.with_credentials().and_then(|full| full.expose_str()),
        checksum,
    });
}
