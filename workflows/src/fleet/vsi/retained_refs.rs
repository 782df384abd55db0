//! Retained references: a VSI that was made retains the disks, networks, user-data and host that it has while
//! their documents are missing. The order of its disks and cards stays the same when other documents come
//! later.

use crate::fleet::{disk::known::DiskIds, index::Known};
use crate::spec::{DesiredDisk, DesiredVsi, References, ResolvedVsi, desired::DiskOrigin};

/// The message about references that have no document now.
pub(in crate::fleet) fn words(of_what: &str) -> String {
    format!("there is no document of {of_what}; what it provided remains as it is")
}

/// The VSI with everything it has from references that have no document now. What an existing document no
/// longer provides is given up, and so is what a VSI without selectors had.
pub(in crate::fleet) fn with_retained(
    vsi: &ResolvedVsi,
    known: &Known,
    there: &References,
) -> ResolvedVsi {
    let mut vsi = vsi.clone();
    let (had, namespace) = (&known.last_requested().vsi, vsi.desired.namespace.clone());
    vsi.desired.machine.keep_rounding_of(&had.machine);
    if vsi.desired.host.is_empty() && !had.host.is_empty() {
        // A host stays known once it was named.
        vsi.desired.host.clone_from(&had.host);
        retain(&mut vsi, HOSTS);
    }
    if known.state.reached == 0 {
        return vsi;
    }
    if has_unresolved(&vsi, USER_DATA) {
        vsi.retains_user_data = true;
        retain(&mut vsi, USER_DATA);
    }
    if has_unresolved(&vsi, DISKS) {
        vsi.desired.disks.clone_from(&had.disks);
        retain(&mut vsi, DISKS);
    } else if vsi.selects_disks {
        // Adopted disks have the names of volumes, not of documents.
        let volumes: Vec<_> = vsi.desired.disks.iter().map(volume).collect();
        let away = |disk: &&DesiredDisk| {
            !there.has_disk(&namespace, &disk.name) && !volumes.contains(&volume(disk))
        };
        let away: Vec<_> = had.disks.iter().filter(away).cloned().collect();
        for disk in away {
            if vsi.desired.disks.iter().all(|d| d.name != disk.name) {
                vsi.retained_refs.push(format!("data disk {}", disk.name));
                vsi.desired.disks.push(disk);
            }
        }
        vsi.desired.disks.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if has_unresolved(&vsi, NETWORKS) {
        vsi.desired.networks.clone_from(&had.networks);
        vsi.desired.network_refs.clone_from(&had.network_refs);
        retain(&mut vsi, NETWORKS);
    } else if vsi.selects_networks {
        retain_networks(&mut vsi, had, there);
    }
    retain_made(&mut vsi, had);
    let same = |a: &DesiredDisk, b: &DesiredDisk| a.name == b.name || volume(a) == volume(b);
    vsi.desired.disks = in_order(&had.disks, vsi.desired.disks, same);
    let refs = vsi.desired.network_refs.clone();
    // A network that replaces another one through the same document takes its place among the cards.
    let follows = |a: &String, b: &String| {
        a == b || sources_of(had, a).any(|document| refs.get(document) == Some(b))
    };
    vsi.desired.networks = in_order(&had.networks, vsi.desired.networks, follows);
    vsi
}

/// The VSI with the data disks that it has, even if other disks have their names now. A disk that was
/// forgotten and made again under its name is another disk, and empty.
pub(in crate::fleet) fn own_disks(
    mut vsi: ResolvedVsi,
    known: &Known,
    ids: &DiskIds,
) -> ResolvedVsi {
    let had = &known.last_requested().vsi.disks;
    for (name, uid) in known.own_disks() {
        let place = (vsi.desired.namespace.clone(), name.clone());
        let is_another = ids.get(&place).is_some_and(|id| *id != uid);
        let own = had.iter().find(|disk| disk.name == name);
        let here = vsi.desired.disks.iter_mut().find(|disk| disk.name == name);
        if let (true, Some(own), Some(here)) = (is_another, own, here) {
            here.clone_from(own);
            let what = format!("the data disk {name} that it has (another one has its name now)");
            vsi.retained_refs.push(what);
        }
    }
    vsi
}

fn retain_networks(vsi: &mut ResolvedVsi, had: &DesiredVsi, there: &References) {
    let namespace = vsi.desired.namespace.clone();
    for (place, network) in had.networks.iter().enumerate() {
        let away = |document: &&String| !there.has_network_document(&namespace, document);
        let away: Vec<_> = sources_of(had, network).filter(away).cloned().collect();
        // A document that exists and now names another network gives this one up.
        let given_up = sources_of(had, network).next().is_some() && away.is_empty();
        let is_there = there.has_network(&namespace, network);
        if is_there || given_up || vsi.desired.networks.contains(network) {
            continue;
        }
        let place = place.min(vsi.desired.networks.len());
        vsi.desired.networks.insert(place, network.clone());
        let away = away.into_iter().map(|document| (document, network.clone()));
        vsi.desired.network_refs.extend(away);
        vsi.retained_refs.push(format!("network {network}"));
    }
}

/// Retains the descriptions of the made networks that the VSI stays on, and its addresses there.
fn retain_made(vsi: &mut ResolvedVsi, had: &DesiredVsi) {
    let desired = &mut vsi.desired;
    for network in &desired.networks {
        if let (Some(made), None) = (
            had.made_networks.get(network),
            desired.made_networks.get(network),
        ) {
            desired.made_networks.insert(network.clone(), made.clone());
        }
        if let (Some(address), None) = (had.addresses.get(network), desired.addresses.get(network))
        {
            desired.addresses.insert(network.clone(), *address);
        }
    }
}

/// The documents that a network came from.
fn sources_of<'a>(had: &'a DesiredVsi, network: &str) -> impl Iterator<Item = &'a String> {
    let gave = had.network_refs.iter();
    gave.filter(move |(_, gave)| *gave == network)
        .map(|(document, _)| document)
}

/// Sorts disks or networks: those that the VSI had come first, in their old order. So a guest's disks and
/// cards stay where they are, whatever the names of later ones.
fn in_order<T>(had: &[T], mut desired: Vec<T>, same: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut ordered = Vec::with_capacity(desired.len());
    for before in had {
        if let Some(at) = desired.iter().position(|one| same(before, one)) {
            ordered.push(desired.remove(at));
        }
    }
    ordered.extend(desired);
    ordered
}

const HOSTS: &str = "targetSelector";
const DISKS: &str = "diskSelector";
const NETWORKS: &str = "networkSelector";
const USER_DATA: &str = "guest.userDataFrom";

/// An unresolved `interfaces[..]` field counts as an unresolved network selector.
fn is_of(lack: &str, field: &str) -> bool {
    lack == field || field == NETWORKS && lack.starts_with("interfaces[")
}

fn has_unresolved(vsi: &ResolvedVsi, field: &str) -> bool {
    vsi.unresolved_refs
        .iter()
        .any(|lack| is_of(&lack.field, field))
}

/// Marks what the selector chose before as retained, and removes it from the unresolved references.
fn retain(vsi: &mut ResolvedVsi, field: &str) {
    vsi.unresolved_refs
        .retain(|lack| !is_of(&lack.field, field));
    vsi.retained_refs.push(format!("what {field} chooses"));
}

/// The volume of a disk as far as documents name it. A disk that is to be made may have no UID yet.
fn volume(disk: &DesiredDisk) -> (String, String) {
    let name = match &disk.source {
        DiskOrigin::Existing { volume } => volume.clone(),
        DiskOrigin::Made { uid, .. } => {
            uid.map_or_else(|| format!("of {}", disk.name), |uid| uid.to_string())
        }
    };
    (disk.pool.clone(), name)
}
