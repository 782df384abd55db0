//! The objects of an entity whose content cannot be made again, and the orders to destroy them.
//!
//! What a guest wrote exists once. So the journal records each object that a guest may have written to
//! (a volume of a host), and each order to destroy one: a *warrant*. A warrant names one object, is made
//! together with the request that asks for it, and is spent once, before the call that destroys. None is
//! ever derived from a desired state that is not reached. These facts are part of the entity's state, so
//! they last as long as the entity, whatever happens to the states of its runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    event::{EventKind, RunResult},
    id::{InvalidId, RunId},
    text::{Name, Text},
};

/// The identity of a warrant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WarrantId(pub Ulid);

impl fmt::Display for WarrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WarrantId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Ulid::from_string(text)
            .map(Self)
            .map_err(|_| InvalidId::new("warrant id", text))
    }
}

/// The object that the entity's definition on its host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInUse {
    /// The object.
    pub object: Text,
    /// The generation that the definition was written for.
    pub generation: u64,
}

/// The step that spends a warrant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spender {
    /// Its run.
    pub run: RunId,
    /// Its node in the graph of the run.
    pub node: Name,
}

/// A permission to destroy one object, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    /// The object.
    pub object: Text,
    /// The act that destroys it, such as `rebuild`.
    pub act: Name,
    /// The step that spends it; `None` while it is open.
    pub spent: Option<Spender>,
}

impl Warrant {
    /// Whether an order for this object and act takes the place of this one, if it is open.
    pub fn is_replaced_by(&self, object: &Text, act: &Name) -> bool {
        self.object == *object || self.act == *act
    }
}

/// What the journal knows of an entity's objects, folded from its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// The objects that a guest may have written to, with what identified each when it was made.
    pub made: BTreeMap<Text, Text>,
    /// The one that the definition names.
    pub in_use: Option<ObjectInUse>,
    /// Objects whose replacement was begun by a run that did not finish it, with the act.
    pub unfinished: BTreeMap<Text, Name>,
    /// The warrants that are open, or are spent by the open run.
    pub warrants: BTreeMap<WarrantId, Warrant>,
    /// The objects that steps began to make and no definition names: nothing of a guest is in them.
    pub begun: BTreeSet<Text>,
    /// The object that was begun last, also after it is gone: no other gets its name.
    pub newest: Option<Text>,
}

impl Objects {
    /// No object and no warrant.
    pub const fn none() -> Self {
        Self {
            made: BTreeMap::new(),
            in_use: None,
            unfinished: BTreeMap::new(),
            warrants: BTreeMap::new(),
            begun: BTreeSet::new(),
            newest: None,
        }
    }

    /// The warrant by which this step may destroy the object: one that it spent before, or an open one.
    pub fn warrant_for(&self, object: &Text, run: RunId, node: &Name) -> Option<WarrantId> {
        let is_spender = |spender: &Spender| spender.run == run && spender.node == *node;
        let of_object = || {
            self.warrants
                .iter()
                .filter(|(_, warrant)| warrant.object == *object)
        };
        let spent = of_object().find(|(_, warrant)| warrant.spent.as_ref().is_some_and(is_spender));
        let open_warrant = || of_object().find(|(_, warrant)| warrant.spent.is_none());
        spent.or_else(open_warrant).map(|(id, _)| *id)
    }

    /// Whether the object is known as whole with this identity, and nothing has begun to destroy it since.
    pub fn is_whole(&self, object: &Text, identity: &Text) -> bool {
        self.made.get(object) == Some(identity) && !self.is_being_destroyed(object)
    }

    /// Whether something began to destroy the object, and did not record its end.
    pub fn is_being_destroyed(&self, object: &Text) -> bool {
        let mut warrants = self.warrants.values();
        self.unfinished.contains_key(object)
            || warrants.any(|warrant| warrant.object == *object && warrant.spent.is_some())
    }

    /// Whether an open warrant permits to destroy the object.
    pub fn is_ordered(&self, object: &Text) -> bool {
        let mut warrants = self.warrants.values();
        warrants.any(|warrant| warrant.object == *object && warrant.spent.is_none())
    }

    /// Whether an open warrant, or one that the open run spent, permits to destroy the object.
    pub fn is_permitted(&self, object: &Text) -> bool {
        let mut warrants = self.warrants.values();
        warrants.any(|warrant| warrant.object == *object)
    }

    /// Whether an open or spent warrant permits to destroy the object by this act.
    pub fn is_ordered_by(&self, object: &Text, act: &str) -> bool {
        let mut warrants = self.warrants.values();
        warrants.any(|warrant| warrant.object == *object && warrant.act.as_str() == act)
    }

    /// The warrants among those that are not spent.
    pub fn open(&self, is_meant: impl Fn(&Warrant) -> bool) -> Vec<WarrantId> {
        (self.warrants.iter())
            .filter(|(_, warrant)| warrant.spent.is_none() && is_meant(warrant))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The events after which nothing of the entity is destroyed without a new order: the journal is another
    /// copy than the one that the orders were given to, and that one may have handed to a guest what was begun.
    pub fn disowned(&self) -> Vec<EventKind> {
        let warrants = self.warrants.keys();
        let voided = warrants.map(|warrant| EventKind::WarrantVoided { warrant: *warrant });
        let begun = self.begun.iter();
        let written = begun.map(|object| EventKind::ObjectMade {
            object: object.clone(),
            identity: Text::default(),
        });
        voided.chain(written).collect()
    }

    /// Folds an event about objects; an error says why it cannot follow what came before. `open_run` and
    /// `generation` are those of the entity's open run.
    pub(super) fn apply(
        &mut self,
        kind: &EventKind,
        open_run: Option<RunId>,
        generation: u64,
    ) -> Result<(), &'static str> {
        match kind {
            EventKind::ObjectBegun { object } => {
                self.begun.insert(object.clone());
                self.newest = Some(object.clone());
            }
            EventKind::ObjectMade { object, identity } => {
                self.begun.remove(object);
                self.made.insert(object.clone(), identity.clone());
                self.unfinished.remove(object);
                // It is whole again: what destroyed it before is done.
                self.warrants
                    .retain(|_, warrant| warrant.object != *object || warrant.spent.is_none());
            }
            EventKind::ObjectInUse { object } => {
                self.begun.remove(object);
                let used = ObjectInUse {
                    object: object.clone(),
                    generation,
                };
                let replaced = self.in_use.replace(used).map(|former| former.object);
                // What lasts for one start is not recorded as made: nobody needs it once no definition names it.
                let is_left = |volume: &Text| volume != object && !self.made.contains_key(volume);
                self.begun.extend(replaced.filter(is_left));
            }
            EventKind::ObjectGone { object } => {
                self.begun.remove(object);
                self.made.remove(object);
                self.unfinished.remove(object);
                self.warrants.retain(|_, warrant| warrant.object != *object);
                // A definition that the open run wrote stays in use: it names what is made anew for each start.
                self.in_use
                    .take_if(|used| used.object == *object && used.generation < generation);
            }
            EventKind::Warranted {
                warrant,
                object,
                act,
                ..
            } => {
                if self.warrants.contains_key(warrant) {
                    return Err("a warrant of this identity is there");
                }
                let ordered = Warrant {
                    object: object.clone(),
                    act: act.clone(),
                    spent: None,
                };
                self.warrants.insert(*warrant, ordered);
            }
            EventKind::WarrantSpent { warrant, run, node } => {
                let Some(spent) = self.warrants.get_mut(warrant) else {
                    return Err("no such warrant is open");
                };
                if spent.spent.is_some() {
                    return Err("the warrant is spent");
                }
                if open_run != Some(*run) {
                    return Err("the run that spends it is not open");
                }
                spent.spent = Some(Spender {
                    run: *run,
                    node: node.clone(),
                });
            }
            EventKind::WarrantVoided { warrant } => {
                let Some(voided) = self.warrants.remove(warrant) else {
                    return Err("no such warrant is open");
                };
                if voided.spent.is_some() {
                    self.unfinished.insert(voided.object, voided.act);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets the warrants that the closed run spent. What it began to replace and did not finish is
    /// noted, unless the object is gone. If it reached the newest desired state, no open order is needed any
    /// more.
    pub(super) fn close_run(&mut self, run: RunId, result: &RunResult, is_newest: bool) {
        let of_run = |warrant: &Warrant| {
            warrant
                .spent
                .as_ref()
                .is_some_and(|spender| spender.run == run)
        };
        for warrant in self.warrants.values().filter(|warrant| of_run(warrant)) {
            if *result == RunResult::Succeeded {
                self.unfinished.remove(&warrant.object);
            } else {
                self.unfinished
                    .insert(warrant.object.clone(), warrant.act.clone());
            }
        }
        let is_settled = is_newest && *result == RunResult::Succeeded;
        self.warrants
            .retain(|_, warrant| !of_run(warrant) && !is_settled);
    }
}
