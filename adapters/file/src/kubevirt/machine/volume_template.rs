//! Translates the templates of `DataVolume`s in a machine.

use std::sync::Arc;

use super::{
    DataVolume, Fields, Foreign, KubevirtMetadata, Refusals, YamlNode, data_volume, labels::check,
    word,
};
use crate::{
    kubevirt::CDI_VERSIONS,
    source::{NamePlace, SourcePosition},
};

/// A template of a `DataVolume`, and its name.
pub(super) fn template_of_volume(
    mut template: Fields<'_>,
    foreign: &Foreign,
    refusals: &mut Refusals,
) -> Option<(String, DataVolume)> {
    // CDI itself writes the status, also into exported templates.
    template.take("status");
    word(&mut template, "kind", "DataVolume", refusals);
    check_version(&mut template, refusals);
    let mut metadata = template.object("metadata", refusals);
    let name = metadata.text("name", refusals).and_then(YamlNode::text);
    if name.is_none() {
        refusals.missing(metadata.path("name"), "name the DataVolume");
    }
    for key in ["creationTimestamp", "annotations"] {
        metadata.take(key);
    }
    let labels_path = metadata.path("labels");
    let labels = metadata.texts("labels", refusals);
    check(labels, &labels_path, refusals);
    let (path, name_path) = (metadata.path("namespace"), metadata.path("name"));
    let (machine_namespace, _) = KubevirtMetadata::of(&foreign.node).key();
    let namespace = metadata
        .text("namespace", refusals)
        .and_then(YamlNode::text);
    if namespace.is_some_and(|namespace| namespace != machine_namespace) {
        let message = "a DataVolume of the machine is in another namespace";
        refusals.wrong(path, message, "remove it: it is in the machine's namespace");
    }
    metadata.end(refusals);
    let spec = template.object("spec", refusals);
    template.end(refusals);
    let mut volume = data_volume::read(spec, refusals);
    let volume_name = name?.to_owned();
    let place = SourcePosition {
        object: Some(format!("DataVolume {machine_namespace}/{volume_name}")),
        ..foreign.place.clone()
    };
    volume.name_at = Some(Arc::new(NamePlace {
        place,
        path: name_path,
    }));
    Some((volume_name, volume))
}

/// Refuses another version than those of CDI. It may be left out: a template can be nothing else.
fn check_version(template: &mut Fields<'_>, refusals: &mut Refusals) {
    let is_version = |text: &str| text.is_empty() || CDI_VERSIONS.contains(&text);
    if let Some(node) = template.take("apiVersion")
        && !node.text().is_some_and(is_version)
    {
        let message = "this is not the version of a DataVolume";
        let remedy = format!(
            "remove it, or write {}",
            CDI_VERSIONS.first().unwrap_or(&"")
        );
        refusals.wrong(template.path("apiVersion"), message, &remedy);
    }
}
