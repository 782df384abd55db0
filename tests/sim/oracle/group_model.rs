//! The reference model of a group: what docs/how-to/groups.md permits at a moment.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use uuid::Uuid;

use super::controller_game::{BOOTS, BROKEN, ControllerModel, LAG};

/// The items of the waves. The first one is removed after the second wave.
pub(super) const WAVES: [&[&str]; 3] = [&["a", "b"], &["c"], &["d", "e"]];
pub(super) const REMOVED: &str = "a";

/// What the document asks of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemDemand {
    pub(super) replicas: u32,
    pub(super) edition: u32,
}

/// What the document asks: its items, and those whose first member has an output.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct GroupDemand {
    pub(super) items: BTreeMap<&'static str, ItemDemand>,
    /// Whether one member opens the gate of the first wave.
    pub(super) any: bool,
    /// Each is matched in the console of its member by this pattern.
    pub(super) outputs: BTreeMap<&'static str, &'static str>,
}

/// A guest of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenMember {
    item: &'static str,
    number: u32,
    edition: u32,
    /// When it was started, by its host's clock; `None` if it is off.
    started: Option<u64>,
}

/// A member of an item, made from the template of an edition.
type MemberTemplate = (&'static str, u32, u32);

impl SeenMember {
    fn template(&self) -> MemberTemplate {
        (self.item, self.number, self.edition)
    }

    /// The member whose domain has this title.
    pub(super) fn titled(title: &str, edition: u32, started: Option<u64>) -> Option<Self> {
        let (item, number) = title.strip_prefix("default/grp-")?.split_once('-')?;
        let mut items = WAVES.into_iter().flatten();
        Some(Self {
            item: items.find(|known| **known == item)?,
            number: number.parse().ok()?,
            edition,
            started,
        })
    }
}

/// A group as its documents and the host show it.
#[derive(Default)]
pub(super) struct GroupModel {
    /// The demands since everything was as asked.
    demands: Vec<GroupDemand>,
    members: BTreeMap<Uuid, SeenMember>,
    since: BTreeMap<(Uuid, u64), Instant>,
    serving: BTreeSet<Uuid>,
    /// What was there since everything was as asked. A drain may make it again on another host.
    were_there: BTreeSet<MemberTemplate>,
    /// Whether members move to other hosts.
    is_draining: bool,
    /// Since when members are cordoned, by item and number.
    cordoned: BTreeMap<(&'static str, u32), Instant>,
    /// Whether a member of the first wave served as asked, before everything was as asked for the first time.
    has_begun: bool,
    has_settled: bool,
    /// Whether the item that is removed was there, and is gone.
    was_there: bool,
    is_removed: bool,
    pub(super) wrong: Option<String>,
}

impl GroupModel {
    /// The newest demand.
    pub(super) fn demand(&self) -> GroupDemand {
        self.demands.last().cloned().unwrap_or_default()
    }

    /// A document changed the demand.
    pub(super) fn ask(&mut self, demand: GroupDemand) {
        self.demands.push(demand);
    }

    /// A user drains a host, or lets it take members again.
    pub(super) fn drain(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// A user cordons a member, or ends that.
    pub(super) fn cordon(&mut self, item: &'static str, number: u32, is_cordoned: bool) {
        if is_cordoned {
            self.cordoned.insert((item, number), Instant::now());
        } else {
            self.cordoned.remove(&(item, number));
        }
    }

    /// Everything is as asked: earlier demands do not show any more.
    pub(super) fn settled(&mut self) {
        self.demands = vec![self.demand()];
        self.has_settled = true;
        let members = self.members.values();
        self.were_there = members.map(SeenMember::template).collect();
        let there = self.members.values().any(|member| member.item == REMOVED);
        self.was_there |= self.demand().items[REMOVED].replicas > 0;
        self.is_removed |= !there;
    }

    /// Holds what the hosts show now against the demands.
    pub(super) fn observe(&mut self, now: Instant, members: BTreeMap<Uuid, SeenMember>) {
        let before = std::mem::replace(&mut self.members, members);
        for (uid, member) in self.members.clone() {
            let earlier = before.get(&uid);
            if earlier.is_none_or(|earlier| earlier.edition != member.edition) {
                self.check_change(&member, &before);
                self.check_cordoned(now, &member);
            }
            self.were_there.insert(member.template());
        }
        for (uid, member) in &self.members {
            let Some(started) = member.started else {
                continue;
            };
            self.since.entry((*uid, started)).or_insert(now);
        }
        let serves = |uid: &Uuid, member: &SeenMember| {
            let since = member.started.and_then(|at| self.since.get(&(*uid, at)));
            let boots = since.is_some_and(|since| now.duration_since(*since) >= BOOTS);
            boots && member.edition != BROKEN
        };
        let serving = self
            .members
            .iter()
            .filter(|(uid, member)| serves(uid, member));
        let serving = serving.map(|(uid, _)| *uid).collect();
        let served = std::mem::replace(&mut self.serving, serving);
        let mut taken = served.difference(&self.serving);
        let taken = taken.find_map(|uid| before.get(uid).filter(|one| !self.may_be_taken(one)));
        if let Some(member) = taken {
            let message = format!("{member:?} is taken away for nothing: {:?}", self.demands);
            self.wrong.get_or_insert(message);
        }
        let demand = self.demand();
        let mut first = self.members.iter().filter(|(_, member)| {
            WAVES[0].contains(&member.item) && demand.items[member.item].edition == member.edition
        });
        self.has_begun |= first.any(|(uid, _)| self.serving.contains(uid));
    }

    /// A member is made or changed only as a demand asks, and only while all earlier waves are as asked. Where one
    /// member opens a gate, the next wave is made for the first time before all of them are; an upgrade waits for all.
    fn check_change(&mut self, member: &SeenMember, before: &BTreeMap<Uuid, SeenMember>) {
        let permits = |demand: &&GroupDemand| {
            let item = demand.items[member.item];
            let asked = item.edition == member.edition && member.number < item.replicas;
            let moves = self.is_draining && self.were_there.contains(&member.template());
            let mut earlier = self.waves_before(member.item);
            let begins = demand.any && self.has_begun && !self.has_settled;
            let is_passed = |name: &str| {
                begins && WAVES[0].contains(&name) || self.is_as_asked(demand, name, before)
            };
            asked && (moves || earlier.all(is_passed))
        };
        if member.item == REMOVED && self.is_removed {
            self.wrong
                .get_or_insert(format!("{member:?} was removed for good"));
        } else if !self.demands.iter().any(|demand| permits(&demand)) {
            let demands = &self.demands;
            let message = format!("{member:?} comes too early: {demands:?}, {before:?}");
            self.wrong.get_or_insert(message);
        }
    }

    /// Whether a member that serves leaves its host, is removed, or has another or none in its place, by a demand that
    /// may still show.
    fn may_be_taken(&self, member: &SeenMember) -> bool {
        let mut demands = self.demands.iter();
        let is_changed = demands.any(|demand| {
            let asked = demand.items[member.item];
            member.number >= asked.replicas || member.edition != asked.edition
        });
        self.is_draining || member.item == REMOVED || is_changed
    }

    /// A cordoned member is neither made again nor changed.
    fn check_cordoned(&mut self, now: Instant, member: &SeenMember) {
        let since = self.cordoned.get(&(member.item, member.number));
        if since.is_some_and(|since| now.duration_since(*since) > LAG) {
            let message = format!("{member:?} is cordoned, and was made or changed");
            self.wrong.get_or_insert(message);
        }
    }

    fn waves_before(&self, item: &str) -> impl Iterator<Item = &'static str> + use<> {
        let wave = WAVES
            .iter()
            .position(|items| items.contains(&item))
            .unwrap();
        WAVES.into_iter().take(wave).flatten().copied()
    }

    /// Whether the members of an item serve as asked; the one that is removed may be gone.
    fn is_as_asked(
        &self,
        demand: &GroupDemand,
        item: &str,
        members: &BTreeMap<Uuid, SeenMember>,
    ) -> bool {
        let asked = demand.items[item];
        let own = members.iter().filter(|(_, member)| member.item == item);
        let own = own
            .filter(|(uid, member)| self.serving.contains(uid) && member.edition == asked.edition);
        let numbers: BTreeSet<_> = own.map(|(_, member)| member.number).collect();
        item == REMOVED || (0..asked.replicas).all(|number| numbers.contains(&number))
    }
}

impl ControllerModel for GroupModel {
    fn wrong(&self) -> Option<String> {
        self.wrong.clone()
    }

    fn verdict(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let demand = self.demand();
        for (item, asked) in &demand.items {
            let own = self.members.values().filter(|member| member.item == *item);
            let mut numbers: Vec<_> = own.map(|member| member.number).collect();
            numbers.sort_unstable();
            let replicas = if *item == REMOVED { 0 } else { asked.replicas };
            let is_there = numbers == (0..replicas).collect::<Vec<_>>();
            if !is_there || *item != REMOVED && !self.is_as_asked(&demand, item, &self.members) {
                return Err(format!("{item} has {numbers:?}: {:?}", self.members));
            }
        }
        Ok(())
    }
}
