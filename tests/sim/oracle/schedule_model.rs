//! The reference model of snapshot schedules: what docs/how-to/snapshots.md promises of `@hourly` ones.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_workflows::fleet::SnapshotObject;

const HOUR_MS: u64 = 3_600_000;
/// Snapshots of schedules that are open on a host at the same time.
const PARALLEL: usize = 2;

/// A snapshot that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenSnapshot {
    /// Its name, which a deleted one leaves to others, and its UID.
    pub(super) id: String,
    /// The name of its VSI, and its UID.
    pub(super) vsi: String,
    pub(super) vsi_uid: String,
    pub(super) host: String,
    pub(super) phase: String,
    /// When it was due, in milliseconds since the epoch; `None` if a user asked for it.
    pub(super) due_ms: Option<u64>,
}

impl SeenSnapshot {
    pub(super) fn of(object: &SnapshotObject) -> Self {
        let due = object.status.scheduled_time.as_deref();
        let due = due.map(|due| due.parse::<jiff::Timestamp>().unwrap());
        Self {
            id: format!("{} ({})", object.metadata.name, object.metadata.uid),
            vsi: object.spec["virtualServer"].as_str().unwrap().to_owned(),
            vsi_uid: object.status.virtual_server_uid.clone(),
            host: object.status.host.clone(),
            phase: object.status.phase.clone(),
            due_ms: due.map(|due| u64::try_from(due.as_millisecond()).unwrap()),
        }
    }

    fn is_whole(&self) -> bool {
        self.phase == "Ready"
    }

    fn is_open(&self) -> bool {
        ["Pending", "Creating", "Blocked"].contains(&self.phase.as_str())
    }
}

/// What is asked for a VSI.
struct ScheduleDemand {
    /// The hour since the epoch after which its due times count; `None` until the policy was seen.
    since: Option<u64>,
    keep: usize,
    /// The lowest number of snapshots that was asked for since everything was as asked.
    least: usize,
}

/// Schedules as their documents and the list of snapshots show them.
#[derive(Default)]
pub(super) struct ScheduleModel {
    demands: BTreeMap<String, ScheduleDemand>,
    /// The VSIs whose schedule ended since everything was as asked.
    ended: BTreeSet<String>,
    /// The snapshots that have to stay.
    staying: BTreeSet<String>,
    /// The snapshots that an earlier policy of their VSI left.
    left: BTreeSet<String>,
    /// The snapshots that were taken before the clock was set back behind a due time of their VSI: due
    /// times come again, and have another one.
    earlier: BTreeSet<String>,
    seen: Vec<SeenSnapshot>,
}

impl ScheduleModel {
    /// The VSIs that have a schedule.
    pub(super) fn scheduled(&self) -> Vec<String> {
        self.demands.keys().cloned().collect()
    }

    /// A document asks for a schedule that keeps this many snapshots.
    pub(super) fn ask(&mut self, vsi: &str, keep: usize) {
        if !self.demands.contains_key(vsi) {
            let taken = self.seen.iter().filter(|one| one.vsi == vsi);
            self.left.extend(taken.map(|one| one.id.clone()));
        }
        let demand = self.demands.entry(vsi.to_owned());
        let demand = demand.or_insert(ScheduleDemand {
            since: None,
            keep,
            least: keep,
        });
        demand.keep = keep;
        demand.least = demand.least.min(keep);
    }

    /// A VSI or its policy is deleted: what its schedule took stays.
    pub(super) fn end(&mut self, vsi: &str) {
        self.demands.remove(vsi);
        self.ended.insert(vsi.to_owned());
    }

    /// The clock was set back. Due times that were recorded and are in the future count no more.
    pub(super) fn set_back(&mut self, now_ms: u64) {
        let since = now_ms / HOUR_MS;
        let is_ahead = |one: &&SeenSnapshot| one.due_ms.is_some_and(|due_ms| due_ms > now_ms);
        let current = self
            .seen
            .iter()
            .filter(|one| !self.earlier.contains(&one.id));
        let set_back: BTreeSet<_> = current
            .filter(is_ahead)
            .map(|one| one.vsi.clone())
            .collect();
        let taken = self.seen.iter().filter(|one| one.due_ms.is_some());
        let taken = taken.filter(|one| set_back.contains(&one.vsi));
        self.earlier.extend(taken.map(|one| one.id.clone()));
        let demands = self.demands.values_mut();
        demands.for_each(|demand| demand.since = demand.since.map(|_| since));
    }

    /// Everything is as asked: ended schedules delete nothing any more, and due times of new ones count.
    pub(super) fn settled(&mut self, now_ms: u64) {
        let ended = std::mem::take(&mut self.ended);
        let has_ended = |vsi: &str| ended.contains(vsi) && !self.demands.contains_key(vsi);
        let stays = |one: &&SeenSnapshot| one.is_whole() && has_ended(&one.vsi);
        let stay = self.seen.iter().filter(stays).map(|one| one.id.clone());
        self.staying.extend(stay);
        let demands = self.demands.values_mut();
        for demand in demands {
            demand.least = demand.keep;
            demand.since.get_or_insert(now_ms / HOUR_MS);
        }
    }

    /// Holds the snapshots that are listed now against what is promised at every moment.
    pub(super) fn observe(&mut self, now: Vec<SeenSnapshot>) -> Result<(), String> {
        at_most_two_are_open_on_a_host(&now)?;
        no_due_time_is_there_twice(now.iter().filter(|one| !self.earlier.contains(&one.id)))?;
        self.enough_stay(&now)?;
        let by_users = now.iter().filter(|one| one.due_ms.is_none());
        let whole = by_users.filter(|one| one.is_whole());
        self.staying.extend(whole.map(|one| one.id.clone()));
        self.seen = now;
        Ok(())
    }

    /// A snapshot that has to stay stays, and one that is superfluous goes after newer ones are whole.
    fn enough_stay(&self, now: &[SeenSnapshot]) -> Result<(), String> {
        let is_whole = |name: &String| now.iter().any(|one| one.id == *name && one.is_whole());
        if let Some(gone) = self.staying.iter().find(|name| !is_whole(name)) {
            return Err(format!("{gone} was not to be deleted"));
        }
        for gone in self.seen.iter().filter(|one| one.is_whole()) {
            let demand = self.demands.get(&gone.vsi);
            let is_gone = !is_whole(&gone.id) && !self.left.contains(&gone.id);
            let Some(demand) = demand.filter(|_| is_gone) else {
                continue;
            };
            let kept = now.iter().filter(|one| self.is_kept(one, &gone.vsi));
            let whole = kept.count();
            if whole < demand.least {
                let name = &gone.id;
                return Err(format!("{name} is deleted, and {whole} whole ones remain"));
            }
        }
        Ok(())
    }

    /// What is not yet as promised, if anything is.
    pub(super) fn unsettled(&self, now_ms: u64) -> Option<String> {
        if let Some(open) = self.seen.iter().find(|one| one.is_open()) {
            return Some(format!("{open:?}"));
        }
        self.demands.iter().find_map(|(vsi, demand)| {
            let hour = now_ms / HOUR_MS;
            let kept = self.seen.iter().filter(|one| self.is_kept(one, vsi));
            let kept: Vec<_> = kept.collect();
            let newest = Some(hour * HOUR_MS);
            let is_newest =
                |one: &&SeenSnapshot| one.due_ms == newest && !self.earlier.contains(&one.id);
            let is_due = demand.since.is_some_and(|since| hour > since);
            let is_taken = !is_due || kept.iter().any(is_newest);
            let names = kept.iter().map(|one| &one.id);
            let why = || format!("{vsi} at hour {hour}: {:?}", names.collect::<Vec<_>>());
            (!is_taken || kept.len() > demand.keep).then(why)
        })
    }

    /// Whether the present schedule of this VSI took the snapshot, and it is whole.
    fn is_kept(&self, one: &SeenSnapshot, vsi: &str) -> bool {
        let is_of_schedule = one.due_ms.is_some() && !self.left.contains(&one.id);
        is_of_schedule && one.vsi == vsi && one.is_whole()
    }
}

fn at_most_two_are_open_on_a_host(now: &[SeenSnapshot]) -> Result<(), String> {
    let mut open = BTreeMap::<&str, Vec<&str>>::new();
    let of_schedules = now.iter().filter(|one| one.due_ms.is_some());
    for one in of_schedules.filter(|one| one.is_open()) {
        open.entry(&one.host).or_default().push(&one.id);
    }
    match open.iter().find(|(_, names)| names.len() > PARALLEL) {
        Some((host, names)) => Err(format!("{host} takes {names:?} at the same time")),
        None => Ok(()),
    }
}

fn no_due_time_is_there_twice<'s>(
    now: impl Iterator<Item = &'s SeenSnapshot>,
) -> Result<(), String> {
    let mut due = BTreeSet::new();
    for one in now.filter(|one| one.due_ms.is_some()) {
        if !due.insert((&one.vsi_uid, one.due_ms)) {
            return Err(format!("a due time is there twice: {one:?}"));
        }
    }
    Ok(())
}
