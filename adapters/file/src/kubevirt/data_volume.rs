//! Translates CDI's `DataVolume`: an image to boot from, or an empty data disk.

use std::sync::Arc;

use vsiflow_engine::model::Hash;
use vsiflow_workflows::spec::{
    Quantity,
    documents::{API_VERSION, DATA_DISK},
    meta::check_label_pair,
};

use super::{
    Placement,
    fields::{Fields, Refusals, instead, object, text},
    registry,
};
use crate::node::{Value, YamlEntry, YamlNode};
use crate::source::NamePlace;

/// What a `DataVolume` is created from.
#[derive(Clone, Debug)]
pub(super) enum VolumeSource {
    /// An image at this URL, in a registry or on a web server.
    Http(YamlNode),
    /// No source: the disk is empty.
    Blank,
    /// A source that was refused.
    Refused,
}

/// A `DataVolume` that was read.
#[derive(Clone, Debug)]
pub(super) struct DataVolume {
    pub(super) source: VolumeSource,
    pub(super) size: Option<YamlNode>,
    /// Its storage class, used as the name of the pool.
    pub(super) pool: Option<YamlNode>,
    /// Whether its content is lost at the machine's next start.
    pub(super) ephemeral: bool,
    /// Whether a field of it was refused: no document is made of it.
    pub(super) is_refused: bool,
    /// Where its name is written.
    pub(super) name_at: Option<Arc<NamePlace>>,
}

const SOURCES: [&str; 3] = ["blank", "http", "registry"];
/// Sources of CDI that have no counterpart: what they name is in a cluster or with a provider.
const FOREIGN_SOURCES: [&str; 7] = ["pvc", "snapshot", "upload", "s3", "gcs", "imageio", "vddk"];
const FOREIGN_REMEDY: &str = "serve the image by HTTP and write `http: {url: …}`, or push it to a registry and write `registry: {url: …}`";

/// Reads the `spec` of a `DataVolume`, or of a template of one.
pub(super) fn read(mut spec: Fields<'_>, refusals: &mut Refusals) -> DataVolume {
    let refused_before = refusals.0.len();
    let source = source(&mut spec, refusals);
    let claimed = ["pvc", "storage"];
    let present: Vec<_> = claimed.into_iter().filter(|key| spec.has(key)).collect();
    if let [_, second] = present.as_slice() {
        let path = spec.path(second);
        refusals.wrong(path, "pvc and storage are both given", "write one of them");
    }
    let mut claim = spec.object(present.first().unwrap_or(&"storage"), refusals);
    let mut resources = claim.object("resources", refusals);
    let mut requests = resources.object("requests", refusals);
    let size = requests.take("storage").cloned();
    let size_path = requests.path("storage");
    let remedy = "write the size, for example: storage: 10Gi";
    match &size {
        None => refusals.missing(size_path, remedy),
        Some(size) if !is_size(size) => {
            refusals.wrong(size_path, "this is not the size of a disk in bytes", remedy);
        }
        Some(_) => {}
    }
    // An empty name asks a cluster for no class at all: whichever pool the label or command line names.
    let pool = claim
        .text("storageClassName", refusals)
        .filter(|class| class.text().is_some_and(|name| !name.is_empty()))
        .cloned();
    words(&mut claim, "accessModes", &["ReadWriteOnce"], refusals);
    // A disk of a server is a file or a block device of its pool, whatever a claim would be.
    any_of(&mut claim, "volumeMode", &["Filesystem", "Block"], refusals);
    word(&mut spec, "contentType", "kubevirt", refusals);
    let thin = "remove it: a disk takes space as it is written";
    only_flag(&mut spec, "preallocation", false, thin, refusals);
    for key in ["checkpoints", "finalCheckpoint"] {
        match spec.take(key).map(|node| &node.value) {
            None | Some(Value::Bool(false)) => {}
            Some(Value::List(items)) if items.is_empty() => {}
            Some(_) => refusals.unsupported(spec.path(key), "import the image as a whole"),
        }
    }
    requests.end(refusals);
    resources.end(refusals);
    claim.end(refusals);
    spec.end(refusals);
    DataVolume {
        source,
        size,
        pool,
        ephemeral: false,
        is_refused: refusals.0.len() > refused_before,
        name_at: None,
    }
}

fn source(spec: &mut Fields<'_>, refusals: &mut Refusals) -> VolumeSource {
    let refused_before = refusals.0.len();
    spec.refuse(
        "sourceRef",
        &format!("write source instead: {FOREIGN_REMEDY}"),
        refusals,
    );
    let mut source = spec.object("source", refusals);
    for key in FOREIGN_SOURCES {
        source.refuse(key, FOREIGN_REMEDY, refusals);
    }
    let is_refused = refusals.0.len() > refused_before;
    let present: Vec<_> = SOURCES.into_iter().filter(|key| source.has(key)).collect();
    let found = match present.as_slice() {
        [_, second, ..] => {
            let path = source.path(second);
            let remedy = "write http, registry or blank";
            refusals.wrong(path, "a DataVolume has one source", remedy);
            present.iter().for_each(|key| _ = source.take(key));
            None
        }
        ["blank"] => {
            source.object("blank", refusals).end(refusals);
            Some(VolumeSource::Blank)
        }
        ["registry"] => {
            let image = registry::source(source.object("registry", refusals), refusals);
            image.map(VolumeSource::Http)
        }
        ["http"] => {
            let mut http = source.object("http", refusals);
            let url = http.text("url", refusals).cloned();
            if url.is_none() {
                refusals.missing(http.path("url"), "write where the image is");
            }
            http.end(refusals);
            url.map(VolumeSource::Http)
        }
        _ if !is_refused => {
            let remedy = "write http: {url: …}, registry: {url: …} or blank: {}";
            refusals.missing(source.own_path(), remedy);
            None
        }
        _ => None,
    };
    source.end(refusals);
    found.unwrap_or(VolumeSource::Refused)
}

/// Whether a size is one of a disk: more than nothing.
fn is_size(node: &YamlNode) -> bool {
    match &node.value {
        Value::Int(bytes) => *bytes > 0 && u64::try_from(*bytes).is_ok(),
        Value::Text(text) => text.parse().is_ok_and(|Quantity(bytes)| bytes > 0),
        _ => false,
    }
}

impl DataVolume {
    /// The volume for a document of another manifest, in which its positions mean nothing.
    pub(super) fn elsewhere(mut self) -> Self {
        let source = match &mut self.source {
            VolumeSource::Http(url) => Some(url),
            VolumeSource::Blank | VolumeSource::Refused => None,
        };
        let nodes = [source, self.size.as_mut(), self.pool.as_mut()];
        for node in nodes.into_iter().flatten() {
            *node = YamlNode::nowhere(node.value.clone());
        }
        self
    }
}

/// Checks a field that may only have the value `only`.
pub(super) fn word(fields: &mut Fields<'_>, key: &str, only: &str, refusals: &mut Refusals) {
    // An empty text is Go's way to leave a field out.
    if let Some(node) = fields.take(key)
        && !matches!(node.text(), Some(text) if text == only || text.is_empty())
    {
        let message = format!("{key} is not {only}");
        refusals.wrong(
            fields.path(key),
            &message,
            &format!("remove it, or write {only}"),
        );
    }
}

/// Checks a field that may only spell out its default.
pub(super) fn only_flag(
    fields: &mut Fields<'_>,
    key: &str,
    default: bool,
    remedy: &str,
    refusals: &mut Refusals,
) {
    match fields.take(key).map(|node| &node.value) {
        None => {}
        Some(Value::Bool(flag)) if *flag == default => {}
        Some(_) => refusals.unsupported(fields.path(key), remedy),
    }
}

/// Checks a field that has no effect and may have any of these values.
pub(super) fn any_of(fields: &mut Fields<'_>, key: &str, values: &[&str], refusals: &mut Refusals) {
    if let Some(node) = fields.take(key)
        && !node.text().is_some_and(|text| values.contains(&text))
    {
        let message = format!("{key} has another value than {}", values.join(", "));
        refusals.wrong(fields.path(key), &message, "remove it: it has no effect");
    }
}

fn words(fields: &mut Fields<'_>, key: &str, only: &[&str], refusals: &mut Refusals) {
    let Some(node) = fields.take(key) else { return };
    let fits = match &node.value {
        Value::List(nodes) => nodes
            .iter()
            .all(|item| item.text().is_some_and(|text| only.contains(&text))),
        _ => false,
    };
    if !fits {
        let only = only.join(", ");
        let message = format!("{key} has another value than {only}");
        let remedy = format!("write {key}: [{only}]; a disk belongs to one server");
        refusals.wrong(fields.path(key), &message, &remedy);
    }
}

/// The label that selects the disks of a server.
pub(super) const DISK_OF: &str = "vsiflow.io/disk-of";

/// A data disk document with this name, for the server that uses it.
pub(super) fn disk(
    name: &str,
    namespace: Option<&YamlNode>,
    volume: &DataVolume,
    server: Option<&YamlNode>,
    place: &Placement,
) -> YamlNode {
    let label = |server_name: &YamlNode| {
        let value = disk_of(server_name.text().unwrap_or_default());
        object([(DISK_OF, Some(instead(server_name, Value::Text(value))))])
    };
    let metadata = object([
        ("name", Some(text(name))),
        ("namespace", namespace.cloned()),
        ("labels", server.map(label)),
    ]);
    let pool = place.pool.clone().or_else(|| volume.pool.clone());
    let spec = object([
        ("size", volume.size.clone()),
        ("storagePool", pool),
        ("targetSelector", place.target.clone()),
    ]);
    object([
        ("apiVersion", Some(text(API_VERSION))),
        ("kind", Some(text(DATA_DISK))),
        ("metadata", Some(metadata)),
        ("spec", Some(spec)),
    ])
}

/// The selector of the disks of a server.
pub(super) fn selector(server: &str) -> YamlNode {
    let labels = object([(DISK_OF, Some(text(&disk_of(server))))]);
    object([("matchLabels", Some(labels))])
}

/// The value of the label for the disks of a server: its name, or the begin of a name that no label holds and some
/// digits of its hash. A name that is refused has the digits alone, so that only the name is named.
fn disk_of(server: &str) -> String {
    const VALUE_MAX: usize = 63;
    const DIGITS: usize = 12;
    let hash = Hash::of(server.as_bytes()).to_string();
    let digits = hash.get(..DIGITS).unwrap_or_default();
    let begin: String = server.chars().take(VALUE_MAX - DIGITS - 1).collect();
    let mut values = [server.to_owned(), format!("{begin}-{digits}")].into_iter();
    values
        .find(|value| check_label_pair(DISK_OF, value).is_ok())
        .unwrap_or_else(|| digits.to_owned())
}

/// An object with these fields; `None` if there are no fields.
pub(super) fn map(entries: Vec<YamlEntry>) -> Option<YamlNode> {
    (!entries.is_empty()).then(|| YamlNode::nowhere(Value::Map(entries)))
}
