//! Decides what to do for a group. Pure: no input or output, no clock.

/// The state of a member or a pool of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemState {
    /// Its pool does not exist.
    Missing,
    /// Work on its pool is in progress, or its state is unknown.
    Busy,
    /// Every member of its pool is ready.
    Available,
    /// Its pool waits for a person.
    Stuck,
    /// Its pool is being deleted.
    Deleting {
        /// Whether that waits for a person.
        stuck: bool,
    },
}

/// A member or a pool of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemView {
    /// Its state.
    pub state: ItemState,
    /// Whether its pool matches the group's current document.
    pub current: bool,
    /// Whether it was removed for good.
    pub removed: bool,
    /// The wave after whose gate it is removed.
    pub remove_after: Option<usize>,
}

/// A wave.
#[derive(Clone, Debug, Default)]
pub struct WaveView {
    /// Whether its gate opened for the wave's current revision.
    pub open: bool,
    /// Whether one ready member is enough to check its gate.
    pub any: bool,
    /// Whether outputs of its members were not read yet.
    pub unread: bool,
    /// Its members and pools.
    pub items: Vec<ItemView>,
}

/// A group and the state of its pools.
#[derive(Clone, Debug, Default)]
pub struct GroupView {
    /// Whether the group is being deleted.
    pub deleting: bool,
    /// Whether no order permits to replace and delete members.
    pub is_held: bool,
    /// The waves, in their order.
    pub waves: Vec<WaveView>,
}

/// Something to do, by the numbers of wave and item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAction {
    /// Make its pool.
    Make(usize, usize),
    /// Bring its pool to the current document.
    Update(usize, usize),
    /// Record that it is removed for good.
    Remove(usize, usize),
    /// Delete its pool.
    Delete(usize, usize),
    /// Check the gate of a wave.
    Ask(usize),
    /// Read the outputs of a wave whose gate is open already.
    Read(usize),
}

/// The result for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupOutcome {
    /// Every gate is open, and everything that stays is available.
    Available,
    /// Work on this wave is in progress.
    Progressing(usize),
    /// The gate of this wave is not open.
    Gate(usize),
    /// The gate of this wave is open, and an output that was added later is not read yet.
    Outputs(usize),
    /// This item waits for a person.
    Stuck(usize, usize),
    /// Something is to be changed or deleted, and no order permits it.
    Held,
    /// The group is deleted, and nothing of it is left.
    Gone,
}

/// What to do for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDecision {
    /// What to do, in this order.
    pub actions: Vec<GroupAction>,
    /// The state of the group.
    pub outcome: GroupOutcome,
}

/// Decides what to do for a group.
pub fn decide(view: &GroupView) -> GroupDecision {
    let mut decision = if view.deleting {
        view.deletion()
    } else {
        view.rollout()
    };
    if view.is_held && decision.actions.iter().any(GroupAction::needs_order) {
        decision.actions.retain(|action| !action.needs_order());
        decision.outcome = GroupOutcome::Held;
    }
    decision
}

impl GroupAction {
    /// Whether what a member's guest wrote may be gone after it.
    fn needs_order(&self) -> bool {
        match self {
            Self::Make(..) | Self::Ask(_) | Self::Read(_) => false,
            Self::Update(..) | Self::Remove(..) | Self::Delete(..) => true,
        }
    }
}

impl GroupView {
    /// Brings the waves to the current document, one after the other.
    fn rollout(&self) -> GroupDecision {
        let mut actions = self.reads();
        actions.extend(self.removals());
        let mut outcome = GroupOutcome::Available;
        let mut unsettled = None;
        for (number, wave) in self.waves.iter().enumerate() {
            let (mut more, mut found) = wave.decide_wave(number);
            if let Some(earlier) = unsettled {
                // An upgrade stops at the first pool that is not available, whatever its gate asks for.
                let wanted = more.len();
                more.retain(|action| !matches!(action, GroupAction::Update(..)));
                if more.len() < wanted {
                    found = earlier;
                }
            }
            actions.extend(more);
            if found != GroupOutcome::Available {
                outcome = found;
                break;
            }
            unsettled = unsettled.or(wave.unsettled(number));
        }
        if outcome == GroupOutcome::Available {
            outcome = self.leftovers();
        }
        GroupDecision { actions, outcome }
    }

    /// Deletes the newest wave that has anything left, all of it at the same time.
    fn deletion(&self) -> GroupDecision {
        let there = |item: &ItemView| item.state != ItemState::Missing;
        let newest = self.waves.iter().enumerate().rev();
        let mut newest = newest.filter(|(_, wave)| wave.items.iter().any(there));
        let Some((number, wave)) = newest.next() else {
            let (actions, outcome) = (Vec::new(), GroupOutcome::Gone);
            return GroupDecision { actions, outcome };
        };
        let items = wave.items.iter().enumerate();
        let goes = items.filter(|(_, item)| there(item) && !item.is_leaving());
        let actions = goes
            .map(|(item, _)| GroupAction::Delete(number, item))
            .collect();
        let stuck = wave.items.iter().position(ItemView::is_stuck_leaving);
        let outcome = match stuck {
            Some(item) => GroupOutcome::Stuck(number, item),
            None => GroupOutcome::Progressing(number),
        };
        GroupDecision { actions, outcome }
    }

    /// The open waves whose outputs are to be read, whatever the waves before them wait for.
    fn reads(&self) -> Vec<GroupAction> {
        let waves = self.waves.iter().enumerate();
        let unread = waves.filter(|(_, wave)| wave.reads_later());
        unread
            .map(|(number, _)| GroupAction::Read(number))
            .collect()
    }

    /// The items to remove or delete because the gate of their `remove_after` wave opened.
    fn removals(&self) -> Vec<GroupAction> {
        let mut actions = Vec::new();
        for (number, wave) in self.waves.iter().enumerate() {
            for (place, item) in wave.items.iter().enumerate() {
                let after = item.remove_after.and_then(|after| self.waves.get(after));
                let is_due = after.is_some_and(|after| after.open);
                if is_due && !item.removed {
                    actions.push(GroupAction::Remove(number, place));
                } else if item.removed && item.is_there() && !item.is_leaving() {
                    actions.push(GroupAction::Delete(number, place));
                }
            }
        }
        actions
    }

    /// The outcome of items that are removed but still exist, or are not settled although their gate is
    /// open.
    fn leftovers(&self) -> GroupOutcome {
        for (number, wave) in self.waves.iter().enumerate() {
            let mut items = wave.items.iter().enumerate();
            let is_open = |item: &ItemView| {
                if item.removed {
                    item.is_there()
                } else {
                    !item.is_settled()
                }
            };
            if let Some((place, item)) = items.find(|(_, item)| is_open(item)) {
                return match item.state {
                    ItemState::Stuck | ItemState::Deleting { stuck: true } => {
                        GroupOutcome::Stuck(number, place)
                    }
                    _ => GroupOutcome::Progressing(number),
                };
            }
        }
        let unread = self.waves.iter().position(WaveView::reads_later);
        unread.map_or(GroupOutcome::Available, GroupOutcome::Outputs)
    }
}

impl ItemView {
    fn is_there(&self) -> bool {
        self.state != ItemState::Missing
    }

    fn is_leaving(&self) -> bool {
        matches!(self.state, ItemState::Deleting { .. })
    }

    fn is_stuck_leaving(&self) -> bool {
        self.state == ItemState::Deleting { stuck: true }
    }

    /// Whether it matches the current document, and is ready.
    fn is_settled(&self) -> bool {
        self.current && self.state == ItemState::Available
    }
}

impl WaveView {
    /// Whether outputs are to be read although its gate is open: they were added after that.
    fn reads_later(&self) -> bool {
        self.open && self.unread
    }

    /// What to do for the wave, and its state.
    fn decide_wave(&self, number: usize) -> (Vec<GroupAction>, GroupOutcome) {
        let stays = || {
            let items = self.items.iter().enumerate();
            items.filter(|(_, item)| !item.removed)
        };
        let missing = stays().filter(|(_, item)| item.state == ItemState::Missing);
        let mut actions: Vec<_> = missing
            .map(|(place, _)| GroupAction::Make(number, place))
            .collect();
        // One update at a time, after everything before it is settled.
        let first = stays().find(|(_, item)| item.is_there() && !item.is_settled());
        if let Some((place, item)) = first
            && !item.current
            && !item.is_leaving()
        {
            actions.push(GroupAction::Update(number, place));
        }
        if !actions.is_empty() {
            return (actions, GroupOutcome::Progressing(number));
        }
        let open = self.unsettled(number);
        let may_ask = open.is_none() || self.any && stays().all(|(_, item)| item.current);
        if !self.open && stays().next().is_some() && may_ask {
            return (
                vec![GroupAction::Ask(number)],
                open.unwrap_or(GroupOutcome::Gate(number)),
            );
        }
        // If one member is enough and opened the gate, the following waves do not wait for the others.
        let waits = open.filter(|_| !(self.any && self.open));
        (Vec::new(), waits.unwrap_or(GroupOutcome::Available))
    }

    /// Its state because of its first item that exists and is not settled; `None` if there is none.
    fn unsettled(&self, number: usize) -> Option<GroupOutcome> {
        let mut items = self.items.iter().enumerate();
        let first = items.find(|(_, item)| !item.removed && item.is_there() && !item.is_settled());
        first.map(|(place, item)| match item.state {
            ItemState::Stuck | ItemState::Deleting { stuck: true } => {
                GroupOutcome::Stuck(number, place)
            }
            _ => GroupOutcome::Progressing(number),
        })
    }
}

#[cfg(test)]
mod tests;
