//! The reference model of a pool: what docs/how-to/pools.md and the rules of a StatefulSet permit at a moment.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use uuid::Uuid;

use super::controller_game::{BOOTS, BROKEN, ControllerModel, LAG};

/// What the documents ask of a pool. An edition stands for a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PoolDemand {
    pub(super) replicas: u32,
    pub(super) max_unavailable: u32,
    pub(super) max_surge: u32,
    pub(super) partition: u32,
    pub(super) edition: u32,
}

impl PoolDemand {
    /// Whether this guest stays as it is, as far as this demand goes.
    fn keeps(&self, guest: &SeenGuest) -> bool {
        let is_as_asked = guest.edition == self.edition || guest.number < self.partition;
        guest.number < self.replicas && is_as_asked
    }

    /// How many members have to serve while the pool replaces others.
    fn floor(&self) -> usize {
        self.replicas.saturating_sub(self.max_unavailable) as usize
    }
}

/// A guest on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenGuest {
    pub(super) uid: Uuid,
    pub(super) number: u32,
    pub(super) edition: u32,
    pub(super) host: &'static str,
    /// When it was started, by its host's clock; `None` if it is off.
    pub(super) started: Option<u64>,
}

/// How many members the object of a pool shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolCounts {
    pub(super) replicas: usize,
    pub(super) ready: usize,
    pub(super) updated: usize,
}

/// A host that is drained. No member comes there after this moment.
struct DrainedHost {
    host: &'static str,
    closed: Instant,
}

/// A pool as its documents and the hosts show it.
pub(super) struct PoolModel {
    /// The demands since the first one that may still show, the newest last.
    demands: Vec<(Instant, PoolDemand)>,
    /// The edition before the newest, which `rollback` returns to.
    pub(super) previous: Option<u32>,
    /// The editions that members below the partition may be made from: that of the last complete rollout, and
    /// those that became complete at a moment when a command came.
    rolled_out: BTreeSet<u32>,
    guests: BTreeMap<Uuid, SeenGuest>,
    serving_since: BTreeMap<(Uuid, u64), Instant>,
    serving: BTreeSet<Uuid>,
    /// Members that users took away, by number, until another guest serves in their place.
    excused: BTreeMap<u32, Uuid>,
    /// Since when members are cordoned.
    cordoned: BTreeMap<u32, Instant>,
    drained: Option<DrainedHost>,
    /// The host that was drained last, and when that ended: what had begun to leave it still leaves.
    left: Option<(&'static str, Instant)>,
    pub(super) wrong: Option<String>,
}

impl PoolModel {
    pub(super) fn new(demand: PoolDemand) -> Self {
        Self {
            rolled_out: BTreeSet::from([demand.edition]),
            demands: vec![(Instant::now(), demand)],
            previous: None,
            guests: BTreeMap::new(),
            serving_since: BTreeMap::new(),
            serving: BTreeSet::new(),
            excused: BTreeMap::new(),
            cordoned: BTreeMap::new(),
            drained: None,
            left: None,
            wrong: None,
        }
    }

    pub(super) fn demand(&self) -> &PoolDemand {
        &self.demands.last().unwrap().1
    }

    /// A document or command changed the demand.
    pub(super) fn ask(&mut self, demand: PoolDemand) {
        if demand.edition != self.demand().edition {
            self.previous = Some(self.demand().edition);
        }
        self.demands.push((Instant::now(), demand));
    }

    /// A user took this member away.
    pub(super) fn excuse(&mut self, number: u32) {
        let mut guests = self.guests.values();
        if let Some(guest) = guests.find(|guest| guest.number == number) {
            self.excused.insert(number, guest.uid);
        }
    }

    /// A user cordons this member, or ends that.
    pub(super) fn cordon(&mut self, number: u32, is_cordoned: bool) {
        // The pool may have looked at any moment until now.
        self.note_rollout();
        if is_cordoned {
            self.cordoned.insert(number, Instant::now());
        } else {
            self.cordoned.remove(&number);
        }
        self.note_rollout();
    }

    /// A user drains a host.
    pub(super) fn drain(&mut self, host: &'static str) {
        let closed = Instant::now() + LAG;
        self.drained = Some(DrainedHost { host, closed });
    }

    /// The drain and everything else has come to its end: no member is on the host that is drained, and none comes.
    pub(super) fn moved_away(&mut self) {
        let Some(drained) = &mut self.drained else {
            return;
        };
        drained.closed = Instant::now();
        let mut guests = self.guests.values();
        if let Some(guest) = guests.find(|guest| guest.host == drained.host) {
            let message = format!("{guest:?} was not moved by the drain");
            self.wrong.get_or_insert(message);
        }
    }

    /// A user lets the host take members again.
    pub(super) fn uncordon(&mut self) {
        let drained = self.drained.take();
        self.left = drained.map(|drained| (drained.host, Instant::now()));
    }

    /// Whether the object of the pool counts its members as the page says while everything is as asked.
    pub(super) fn wrong_counts(&self, counts: PoolCounts) -> Option<String> {
        let updated = self.guests.values();
        let updated = updated.filter(|guest| guest.edition == self.demand().edition);
        let shown = PoolCounts {
            replicas: self.guests.len(),
            ready: self.serving.len(),
            updated: updated.count(),
        };
        let why = || format!("{counts:?} instead of {shown:?}, of {:?}", self.guests);
        (counts != shown).then(why)
    }

    /// Everything is as asked: earlier demands do not show any more.
    pub(super) fn settled(&mut self) {
        let newest = self.demands.pop().unwrap();
        self.demands = vec![newest];
        self.excused.clear();
        if self.is_rolled_out() {
            self.rolled_out = BTreeSet::from([self.demand().edition]);
        }
    }

    fn note_rollout(&mut self) {
        if self.is_rolled_out() {
            self.rolled_out.insert(self.demand().edition);
        }
    }

    /// Whether the rollout reached every member. It leaves out those that are cordoned; where it left out all, none
    /// was rolled out.
    fn is_rolled_out(&self) -> bool {
        let demand = self.demand();
        let reached = (0..demand.replicas).filter(|number| !self.cordoned.contains_key(number));
        let mut reached = reached.peekable();
        reached.peek().is_some()
            && reached.all(|number| {
                let mut members = self.guests.values().filter(|guest| guest.number == number);
                let its = |guest: &SeenGuest| {
                    guest.edition == demand.edition && self.serving.contains(&guest.uid)
                };
                members.next().is_some_and(its)
            })
    }

    /// Holds what the hosts show now against the demands.
    pub(super) fn observe(&mut self, now: Instant, guests: Vec<SeenGuest>) {
        // The demand before the oldest of these may still show.
        while self.demands.len() > 1 && now.duration_since(self.demands[1].0) > LAG {
            self.demands.remove(0);
        }
        let before = std::mem::take(&mut self.guests);
        self.guests = guests.into_iter().map(|guest| (guest.uid, guest)).collect();
        for guest in self.guests.clone().values() {
            self.check_made(guest, before.get(&guest.uid));
            self.check_cordoned(now, guest, before.get(&guest.uid));
            if !before.contains_key(&guest.uid) {
                self.check_place(now, guest);
            }
        }
        let mut numbers = BTreeSet::new();
        for guest in self.guests.values().filter(|guest| guest.started.is_some()) {
            if !numbers.insert(guest.number) {
                let number = guest.number;
                self.wrong
                    .get_or_insert(format!("two guests are member {number}"));
            }
        }
        self.check_serving(now, &before);
        self.note_rollout();
    }

    /// A member is made, or changed, only as a demand asks.
    fn check_made(&mut self, guest: &SeenGuest, before: Option<&SeenGuest>) {
        let demands = || self.demands.iter().map(|(_, demand)| demand);
        let below = demands().all(|demand| guest.number < demand.partition);
        let wrong = match before {
            None if demands().all(|demand| guest.number >= demand.replicas + demand.max_surge) => {
                Some(format!("{guest:?} is one too many"))
            }
            None if below && !self.rolled_out.contains(&guest.edition) => Some(format!(
                "{guest:?} is below the partition, and {:?} was rolled out",
                self.rolled_out
            )),
            None if !below && !self.is_wanted(guest) => {
                Some(format!("{guest:?} is made from an edition of no demand"))
            }
            Some(before) if before.edition != guest.edition && below => {
                Some(format!("{guest:?} is below the partition, and was changed"))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.wrong
                .get_or_insert(format!("{wrong}: {:?}", self.demands));
        }
    }

    /// A cordoned member is neither made again nor changed.
    fn check_cordoned(&mut self, now: Instant, guest: &SeenGuest, before: Option<&SeenGuest>) {
        let since = self.cordoned.get(&guest.number);
        let is_cordoned = since.is_some_and(|since| now.duration_since(*since) > LAG);
        let is_changed = before.is_none_or(|before| before.edition != guest.edition);
        if is_cordoned && is_changed {
            let message = format!("{guest:?} is cordoned, and was made or changed");
            self.wrong.get_or_insert(message);
        }
    }

    /// No member is made on a host that is drained.
    fn check_place(&mut self, now: Instant, guest: &SeenGuest) {
        let mut drained = self.drained.iter();
        if drained.any(|drained| drained.host == guest.host && now > drained.closed) {
            let message = format!("{guest:?} is made on the host that is drained");
            self.wrong.get_or_insert(message);
        }
    }

    fn is_wanted(&self, guest: &SeenGuest) -> bool {
        let mut demands = self.demands.iter().map(|(_, demand)| demand);
        demands.any(|demand| demand.edition == guest.edition)
            || self.rolled_out.contains(&guest.edition)
    }

    /// Whether a user took this guest away, it leaves its host, or a demand that may still show has another in its
    /// place or none.
    fn may_be_taken(&self, now: Instant, guest: &SeenGuest) -> bool {
        let is_excused = self.excused.get(&guest.number) == Some(&guest.uid);
        let mut drained = self.drained.iter();
        let mut left = self.left.iter();
        let leaves = drained.any(|drained| drained.host == guest.host)
            || left.any(|(host, at)| *host == guest.host && now.duration_since(*at) <= LAG);
        let mut demands = self.demands.iter();
        is_excused || leaves || demands.any(|(_, demand)| !demand.keeps(guest))
    }

    /// A guest that serves is taken away only for a reason, and only if enough others serve.
    fn check_serving(&mut self, now: Instant, guests_before: &BTreeMap<Uuid, SeenGuest>) {
        let before = std::mem::take(&mut self.serving);
        for guest in self.guests.values().filter(|guest| guest.edition != BROKEN) {
            let Some(started) = guest.started else {
                continue;
            };
            let since = self
                .serving_since
                .entry((guest.uid, started))
                .or_insert(now);
            if now.duration_since(*since) >= BOOTS {
                self.serving.insert(guest.uid);
                let number = guest.number;
                if self
                    .excused
                    .get(&number)
                    .is_some_and(|uid| *uid != guest.uid)
                {
                    self.excused.remove(&number);
                }
            }
        }
        let taken = before.difference(&self.serving);
        let taken: Vec<_> = taken.filter_map(|uid| guests_before.get(uid)).collect();
        if let Some(guest) = taken.iter().find(|guest| !self.may_be_taken(now, guest)) {
            let message = format!("{guest:?} is taken away for nothing: {:?}", self.demands);
            self.wrong.get_or_insert(message);
        }
        let floors = self.demands.iter().map(|(_, demand)| demand.floor());
        let floor = floors.min().unwrap_or(0).saturating_sub(self.excused.len());
        let serve = self.serving.len();
        if !taken.is_empty() && serve < floor {
            let message = format!("{serve} serve, and {floor} have to: {:?}", self.demands);
            self.wrong.get_or_insert(message);
        }
    }
}

impl ControllerModel for PoolModel {
    fn wrong(&self) -> Option<String> {
        self.wrong.clone()
    }

    fn verdict(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let demand = self.demand();
        let numbers: Vec<_> = {
            let mut all: Vec<_> = self.guests.values().map(|guest| guest.number).collect();
            all.sort_unstable();
            all
        };
        if numbers != (0..demand.replicas).collect::<Vec<_>>() {
            return Err(format!("the members are {numbers:?}: {demand:?}"));
        }
        let due = self
            .guests
            .values()
            .filter(|guest| guest.number >= demand.partition);
        for guest in due {
            if guest.edition != demand.edition || !self.serving.contains(&guest.uid) {
                return Err(format!("{guest:?} is not as asked: {demand:?}"));
            }
        }
        Ok(())
    }
}
