//! Kinds of objects as words on the command line: `KIND NAME…`, `KIND/NAME`.

/// A kind of objects that `get` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// Virtual server instances.
    Vsi,
    /// Pools.
    Pool,
    /// Groups.
    Group,
    /// Base images.
    Image,
    /// Data disks.
    Disk,
    /// Snapshots.
    Snapshot,
    /// Networks.
    Network,
    /// Hosts.
    Host,
    /// Runs of workflows.
    Run,
    /// Sizes of machines.
    Type,
    /// Limits of namespaces.
    Quota,
}

impl ObjectKind {
    /// The kind before a name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Vsi => "vsi",
            Self::Pool => "pool",
            Self::Group => "group",
            Self::Image => "image",
            Self::Disk => "disk",
            Self::Snapshot => "snapshot",
            Self::Network => "network",
            Self::Host => "host",
            Self::Run => "run",
            Self::Type => "type",
            Self::Quota => "quota",
        }
    }

    /// The kind that a word denotes.
    pub(crate) fn named(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "vsi" | "vsis" | "onprem-hpcr" | "onprem-hpcrs" => Some(Self::Vsi),
            "vs" | "virtualserver" | "virtualservers" => Some(Self::Vsi),
            "hyperprotectcontainerruntimeonprem" => Some(Self::Vsi),
            "pool" | "pools" | "vsp" | "virtualserverpool" | "virtualserverpools" => {
                Some(Self::Pool)
            }
            "group" | "groups" | "vsg" | "virtualservergroup" | "virtualservergroups" => {
                Some(Self::Group)
            }
            "image" | "images" => Some(Self::Image),
            "disk" | "disks" | "onprem-datadisk" | "onprem-datadisks" => Some(Self::Disk),
            "hyperprotectcontainerruntimeonpremdatadisk" => Some(Self::Disk),
            "snapshot" | "snapshots" => Some(Self::Snapshot),
            "vssnap" | "virtualserversnapshot" | "virtualserversnapshots" => Some(Self::Snapshot),
            "network"
            | "networks"
            | "vsn"
            | "virtualservernetwork"
            | "virtualservernetworks"
            | "onprem-networkref"
            | "onprem-networkrefs" => Some(Self::Network),
            "hyperprotectcontainerruntimeonpremnetworkref" => Some(Self::Network),
            "host" | "hosts" => Some(Self::Host),
            "run" | "runs" => Some(Self::Run),
            "type" | "types" | "virtualservertype" | "virtualservertypes" => Some(Self::Type),
            "quota" | "quotas" | "vsq" | "virtualserverquota" | "virtualserverquotas" => {
                Some(Self::Quota)
            }
            _ => None,
        }
    }
}

/// The kind and the names in `KIND NAME…` or `KIND/NAME…`: `disk/a disk/b` is `disk a b`.
pub(crate) fn kind_and_names(words: &[String]) -> (ObjectKind, Vec<String>) {
    let first = words.first().map_or("", String::as_str);
    if let Some(kind) = ObjectKind::named(first) {
        return (kind, words.iter().skip(1).cloned().collect());
    }
    let prefix = first.split_once('/').map_or("", |(kind, _)| kind);
    let kind = ObjectKind::named(prefix).unwrap_or(ObjectKind::Vsi);
    let bare = |word: &String| match word.split_once('/') {
        Some((other, name)) if ObjectKind::named(other) == Some(kind) => name.to_owned(),
        _ => word.clone(),
    };
    (kind, words.iter().map(bare).collect())
}

/// A VSI's name; the name of another object with its kind, as `disk/NAME`.
pub(super) fn name_of(words: &[String]) -> String {
    match words {
        [kind, name] => named(kind, name.strip_prefix(&format!("{kind}/")).unwrap_or(name)),
        words => of_word(words.first().map_or("", String::as_str)),
    }
}

/// The names of several objects, as [`name_of`] returns them.
pub(crate) fn names_of(words: &[String]) -> Vec<String> {
    match words.split_first() {
        Some((kind, names)) if !names.is_empty() && ObjectKind::named(kind).is_some() => {
            let own = format!("{kind}/");
            let bare = |name: &String| named(kind, name.strip_prefix(&own).unwrap_or(name));
            names.iter().map(bare).collect()
        }
        _ => words.iter().map(|word| of_word(word)).collect(),
    }
}

fn of_word(word: &str) -> String {
    match word.split_once('/') {
        Some((kind, name)) => named(kind, name),
        None => word.to_owned(),
    }
}

fn named(kind: &str, name: &str) -> String {
    match ObjectKind::named(kind) {
        Some(ObjectKind::Vsi) => name.to_owned(),
        Some(kind) => format!("{}/{name}", kind.word()),
        None => format!("{kind}/{name}"),
    }
}

/// `vsi/NAME` as `NAME`.
pub(crate) fn without_kind(name: &str) -> &str {
    match name.split_once('/') {
        Some(("vsi" | "vsis" | "vs" | "virtualserver" | "virtualservers", name)) => name,
        _ => name,
    }
}
