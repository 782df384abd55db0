//! Names of snapshots: chosen, default (`VSI-N`), and those of schedules.
//!
//! A name belongs to one snapshot in a namespace. A journal knows only its own snapshots; the caller
//! must find those of the other journals of a set. It recognises names of schedules with
//! [`may_be_scheduled`].

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::model::Timestamp;

use super::{known::refused, take::SnapshotRequest};
use crate::fleet::{Fleet, FleetError, SnapshotHandle, index::Known};

impl SnapshotHandle<'_> {
    /// The namespace and name of a snapshot that would be taken now. A default name is not one of
    /// `others`, the names in other journals.
    ///
    /// # Errors
    /// When there is no such VSI, or the chosen name is in use or not valid.
    pub async fn name_of(
        self,
        namespace: &str,
        vsi: &str,
        request: &SnapshotRequest,
        others: &BTreeSet<String>,
    ) -> Result<(String, String), FleetError> {
        let known = self.fleet.find(namespace, vsi, false).await?;
        let name = self.fleet.snapshot_name(&known, request, others).await?;
        Ok((known.record.vsi.namespace.clone(), name))
    }
}

impl Fleet {
    pub(super) async fn snapshot_name(
        &self,
        known: &Known,
        request: &SnapshotRequest,
        others: &BTreeSet<String>,
    ) -> Result<String, FleetError> {
        let vsi = &known.record.vsi;
        let all = self.known_snapshots().await?;
        let of_namespace = all
            .iter()
            .filter(|one| one.record.namespace == vsi.namespace);
        let Some(name) = &request.name else {
            let own = of_namespace.map(|one| one.record.name.as_str());
            let taken = own.chain(others.iter().map(String::as_str));
            return Ok(next(&vsi.name, taken));
        };
        if !is_name(name) && !is_default(&vsi.name, name) {
            let message = "a snapshot's name has 1 to 63 lower-case letters, digits and dashes";
            let object = format!("snapshot/{name}");
            return Err(refused(&object, message, "choose another name"));
        }
        let mut present = of_namespace.filter(|one| !one.is_deleted());
        if !present.any(|one| one.record.name == *name) {
            Ok(name.clone())
        } else {
            let object = format!("snapshot/{name}");
            let remedy = "choose another name, or delete that one: `vsiflow snapshot delete`";
            Err(refused(&object, "a snapshot of this name exists", remedy))
        }
    }
}

/// `VSI-N` with the next number.
fn next<'n>(vsi: &str, taken: impl Iterator<Item = &'n str>) -> String {
    let highest = taken.filter_map(|name| number(vsi, name)).max();
    format!("{vsi}-{}", highest.unwrap_or(0).saturating_add(1))
}

/// The number in a default name.
fn number(vsi: &str, name: &str) -> Option<u32> {
    name.strip_prefix(vsi)?.strip_prefix('-')?.parse().ok()
}

fn is_default(vsi: &str, name: &str) -> bool {
    number(vsi, name).is_some_and(|number| name == format!("{vsi}-{number}"))
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !name.starts_with('-') && !name.ends_with('-');
    (1..=63).contains(&name.len()) && name.chars().all(fits) && ends
}

/// `VSI-DAY-TIME` in UTC, or a name from the UID if that is not valid.
pub(super) fn scheduled(vsi: &str, uid: Uuid, due: Timestamp) -> String {
    let millis = i64::try_from(due.0).unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let name = format!("{vsi}-{}", time.strftime("%Y%m%d-%H%M"));
    if is_name(&name) { name } else { of_uid(uid) }
}

/// A name made from the UID only.
pub(super) fn of_uid(uid: Uuid) -> String {
    format!("s-{}", uid.simple())
}

/// Whether a schedule may give a snapshot this name, for any VSI.
pub fn may_be_scheduled(name: &str) -> bool {
    let are_digits =
        |text: &str, count: usize| text.len() == count && text.chars().all(|c| c.is_ascii_digit());
    let has_time = || {
        let (rest, time) = name.rsplit_once('-')?;
        let (_, day) = rest.rsplit_once('-')?;
        Some(are_digits(day, 8) && are_digits(time, 4))
    };
    let uid = name.strip_prefix("s-").map(Uuid::parse_str);
    uid.is_some_and(|uid| uid.is_ok()) || has_time().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DueTime, scheduled_snapshot};

    #[test]
    fn a_name_tells_vsi_and_due_time_and_is_always_one_that_a_snapshot_may_have() {
        let due = Timestamp(1_795_401_000_000);
        let due_time = DueTime {
            ms: due.0,
            set_backs: 0,
        };
        let uid = scheduled_snapshot(Uuid::from_u128(1), due_time);
        assert_eq!(scheduled("web", uid, due), "web-20261123-0230");
        for vsi in [
            "web".to_owned(),
            "a".repeat(60),
            "Web".to_owned(),
            "a.b".to_owned(),
            "ä".repeat(40),
        ] {
            let name = scheduled(&vsi, uid, due);
            assert!(is_name(&name), "{name}");
            assert!(may_be_scheduled(&name), "{name}");
        }
        assert!(may_be_scheduled(&of_uid(uid)));
        for other in [
            "web-1",
            "web-20261123",
            "20261123-0230",
            "s-1",
            "web-to-0230",
        ] {
            assert!(!may_be_scheduled(other), "{other}");
        }
    }

    #[test]
    fn a_name_that_nobody_chose_has_the_next_number() {
        let taken = ["web-1", "web-7", "web-20261123-0230", "db-9", "web-x"];
        assert_eq!(next("web", taken.into_iter()), "web-8");
        assert_eq!(next("web", std::iter::empty()), "web-1");
        assert!(is_default("a.b", "a.b-3"));
        for other in ["a.b-+3", "a.b-03", "a.b3", "c-3"] {
            assert!(!is_default("a.b", other), "{other}");
        }
    }
}
