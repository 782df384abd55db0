//! The names of a VSI's objects on its host. They are the names that the previous operator chose, so that
//! its VSIs can be adopted.

use uuid::Uuid;

use crate::{guest::Seed, image::sidecar, ports::VolumeKey};

/// The volume of a VSI's boot disk. The first has the number 0; each one that replaces another has a number
/// that none had before, so that nothing is made over what a guest wrote.
pub fn boot_disk(pool: &str, uid: Uuid, number: u64) -> VolumeKey {
    let name = match number {
        0 => format!("boot-{uid}.qcow2"),
        _ => format!("boot-{uid}-{number}.qcow2"),
    };
    VolumeKey {
        pool: pool.to_owned(),
        name,
    }
}

/// The number of the boot disk of this VSI that a volume of this name is; `None` if it is none.
pub fn boot_disk_number(name: &str, uid: Uuid) -> Option<u64> {
    let (of, number) = numbered_boot_disk(name)?;
    (of == uid).then_some(number)
}

/// The VSI whose boot disk a volume of this name is; `None` if it is none.
pub fn vsi_of_boot_disk(name: &str) -> Option<Uuid> {
    numbered_boot_disk(name).map(|(uid, _)| uid)
}

/// The VSI and the number of a boot disk with this name.
fn numbered_boot_disk(name: &str) -> Option<(Uuid, u64)> {
    let stem = name.strip_prefix("boot-")?.strip_suffix(".qcow2")?;
    if let Ok(uid) = stem.parse() {
        return Some((uid, 0));
    }
    let (uid, number) = stem.rsplit_once('-')?;
    Some((uid.parse().ok()?, number.parse().ok()?))
}

/// The volume of a data disk. The first is called like the disk's UID and has the number 0; each one that a restoration
/// makes has a number that none had before.
pub fn data_disk(pool: &str, uid: Uuid, number: u64) -> VolumeKey {
    let name = match number {
        0 => uid.to_string(),
        _ => format!("{uid}-{number}"),
    };
    VolumeKey {
        pool: pool.to_owned(),
        name,
    }
}

/// The data disk, and its number, that a volume of this name is; `None` if it has no such name.
pub fn numbered_data_disk(name: &str) -> Option<(Uuid, u64)> {
    let (uid, number) = match name.get(uuid::fmt::Hyphenated::LENGTH..)? {
        "" => (name, 0),
        rest => {
            let number = rest.strip_prefix('-')?.parse().ok()?;
            (name.strip_suffix(rest)?, number)
        }
    };
    let uid: Uuid = uid.parse().ok()?;
    (data_disk("", uid, number).name == name).then_some((uid, number))
}

/// Whether a volume of this name is, or was, the data disk with this UID.
pub fn is_of_data_disk(name: &str, uid: Uuid) -> bool {
    numbered_data_disk(name).is_some_and(|(of, _)| of == uid)
}

/// The cidata volume.
pub fn cidata(pool: &str, uid: Uuid) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: format!("cidata-{uid}.iso"),
    }
}

/// The volume of an Ignition configuration.
pub fn ignition(pool: &str, uid: Uuid) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: format!("ignition-{uid}.ign"),
    }
}

/// The volume by which a guest gets its configuration; `None` if it gets none.
pub fn seed(pool: &str, uid: Uuid, seed: Seed) -> Option<VolumeKey> {
    match seed {
        Seed::Cidata => Some(cidata(pool, uid)),
        Seed::IgnitionDisk | Seed::IgnitionFwCfg => Some(ignition(pool, uid)),
        Seed::None => None,
    }
}

/// The console log's volume.
pub fn console_log(pool: &str, uid: Uuid) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: format!("console-{uid}.log"),
    }
}

/// The copy of a VSI's n-th disk in a snapshot, in the pool of that disk.
pub fn snapshot_copy(pool: &str, snapshot: Uuid, index: usize) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: format!("snapshot-{snapshot}-{index}.qcow2"),
    }
}

/// The layer over a VSI's n-th disk while a snapshot is taken of it, in the pool of that disk.
pub fn snapshot_layer(pool: &str, snapshot: Uuid, index: usize) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: format!("snapshot-{snapshot}-{index}.layer"),
    }
}

/// The guest's memory in a snapshot, in the pool of its boot disk.
pub fn snapshot_memory(pool: &str, snapshot: Uuid) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: format!("snapshot-{snapshot}.memory"),
    }
}

/// Whether a volume of this name is reserved for vsiflow, or would be mistaken for one that is: a boot
/// disk, a cidata volume, a console log, a sidecar or a part of a snapshot. No document may name one as
/// its data disk or its image.
pub fn is_reserved(name: &str) -> bool {
    let of_uid = |prefix: &str, suffix: &str| {
        let rest = name.strip_prefix(prefix);
        let uid = rest.and_then(|rest| rest.strip_suffix(suffix));
        uid.is_some_and(|uid| uid.parse::<Uuid>().is_ok())
    };
    sidecar::is_sidecar(name)
        || numbered_boot_disk(name).is_some()
        || of_uid("cidata-", ".iso")
        || of_uid("ignition-", ".ign")
        || of_uid("console-", ".log")
        || of_uid("console-", ".log.0")
        || snapshot_of(name).is_some()
}

/// The snapshot that a volume of this name is part of.
pub fn snapshot_of(name: &str) -> Option<Uuid> {
    let rest = name.strip_prefix("snapshot-")?;
    if let Some(uid) = rest.strip_suffix(".memory") {
        return uid.parse().ok();
    }
    let layer = rest.strip_suffix(".layer");
    let rest = layer.or_else(|| rest.strip_suffix(".qcow2"))?;
    let (uid, index) = rest.rsplit_once('-')?;
    index.parse::<usize>().ok()?;
    uid.parse().ok()
}

/// The MAC address of the VSI's n-th card: the UID's first six bytes, locally administered and
/// unicast; later cards count up in the last byte.
pub fn mac(uid: Uuid, card: u8) -> String {
    let [a, b, c, d, e, f, ..] = *uid.as_bytes();
    let first = (a | 0x02) & 0xfe;
    let last = f.wrapping_add(card);
    format!("{first:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")
}

/// The n-th disk's name, from 0: `vda` … `vdz`, `vdaa` … as Linux counts.
pub fn disk_target(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index;
    loop {
        let letter = u8::try_from(rest % 26).unwrap_or_default();
        letters.push(char::from(b'a'.saturating_add(letter)));
        match (rest / 26).checked_sub(1) {
            Some(next) => rest = next,
            None => break,
        }
    }
    std::iter::once("vd".to_owned())
        .chain(letters.iter().rev().map(char::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_linux_counts() {
        for (index, name) in [
            (0, "vda"),
            (25, "vdz"),
            (26, "vdaa"),
            (27, "vdab"),
            (701, "vdzz"),
        ] {
            assert_eq!(disk_target(index), name);
        }
        assert_eq!(disk_target(702), "vdaaa");
    }

    #[test]
    fn the_mac_is_local_unicast_and_stable() {
        let uid: Uuid = "01020304-0506-4708-890a-0b0c0d0e0f10".parse().unwrap();
        assert_eq!(mac(uid, 0), "02:02:03:04:05:06");
        assert_eq!(mac(uid, 1), "02:02:03:04:05:07");
        let odd: Uuid = "ff020304-0506-4708-890a-0b0c0d0e0f10".parse().unwrap();
        assert_eq!(mac(odd, 0), "fe:02:03:04:05:06");
    }

    #[test]
    fn a_boot_disk_is_known_by_its_vsi_and_its_number() {
        let (uid, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        for number in [0, 1, 10, u64::MAX] {
            let name = boot_disk("p", uid, number).name;
            assert_eq!(boot_disk_number(&name, uid), Some(number), "{name}");
            assert_eq!(boot_disk_number(&name, other), None, "{name}");
        }
        for name in ["boot-x.qcow2", &format!("boot-{uid}-.qcow2"), "boot-.qcow2"] {
            assert_eq!(boot_disk_number(name, uid), None, "{name}");
        }
    }

    #[test]
    fn what_vsiflow_keeps_for_itself_is_known_by_its_name() {
        let uid = Uuid::from_u128(7);
        let own = [
            boot_disk("p", uid, 0),
            boot_disk("p", uid, 12),
            cidata("p", uid),
            ignition("p", uid),
            console_log("p", uid),
            snapshot_copy("p", uid, 3),
            snapshot_layer("p", uid, 3),
            snapshot_memory("p", uid),
        ];
        assert!(own.iter().all(|key| is_reserved(&key.name)));
        assert!(is_reserved(&sidecar::key(&boot_disk("p", uid, 0)).name));
        for name in [
            "boot-1.qcow2",
            "data.qcow2",
            "console-x.log",
            &uid.to_string(),
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
