//! Writes the description of a snapshot: <https://libvirt.org/formatsnapshot.html>.

use vsiflow_steps::ports::LayerSpec;

use super::{XmlDocument, XmlError, write::Tag};

/// A snapshot of the domain with this definition: a layer over each disk that `layers` names, and none over
/// other disks. With `memory`, the guest's memory is saved to that file.
pub(crate) fn describe(
    domain: &str,
    layers: &[LayerSpec],
    memory: Option<&str>,
) -> Result<String, XmlError> {
    let document = XmlDocument::parse(domain)?;
    let root = document.root();
    let devices = root.child("devices").into_iter();
    let disks = devices.flat_map(|devices| devices.all("disk"));
    let targets = disks.filter_map(|disk| disk.child("target")?.attribute("dev"));
    let layers_of = targets.map(|target| {
        let layer = layers.iter().find(|layer| layer.target == target);
        let disk = Tag::new("disk").with("name", target);
        match layer {
            None => disk.with("snapshot", "no"),
            Some(layer) => disk
                .with("snapshot", "external")
                .child(Tag::new("driver").with("type", "qcow2"))
                .child(Tag::new("source").with("file", &layer.path)),
        }
    });
    let memory_element = memory.map(|file| {
        Tag::new("memory")
            .with("snapshot", "external")
            .with("file", file)
    });
    Ok(Tag::new("domainsnapshot")
        .children(memory_element)
        .child(Tag::new("disks").children(layers_of))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_disks_get_a_layer() {
        let domain = "<domain><devices><disk><target dev='vda'/></disk>\
                      <disk><target dev='vdb'/></disk></devices></domain>";
        let layer = LayerSpec {
            target: "vda".into(),
            path: "/i/a & b".into(),
        };
        assert_eq!(
            describe(domain, &[layer], Some("/i/m")).unwrap(),
            "<domainsnapshot><memory snapshot='external' file='/i/m'/><disks><disk name='vda' snapshot='external'><driver type='qcow2'/>\
             <source file='/i/a &amp; b'/></disk><disk name='vdb' snapshot='no'/></disks>\
             </domainsnapshot>"
        );
    }
}
