//! Records what steps say of the objects of their entities, and decides whether a warrant permits a step
//! to destroy one.

use ulid::Ulid;

use super::{
    control::Control,
    projection::{LoadError, Projection},
    recorder::EventCause,
    timers::Waiter,
};
use crate::{
    journal::{Append, Journal, JournalError},
    model::{
        EntityId, Event, EventKind, Failure, FailureClass, Name, Objects, RunId, Spender, StreamId,
        Text, Warrant, WarrantId,
    },
    step::{ObjectChange, ObjectFact},
    workflow::DestructionOrder,
};

/// An entity whose orders, and begun objects, belong to another copy of the journal.
pub(crate) struct DisownedEntity {
    pub(crate) entity: EntityId,
    /// The number of the next event of its stream.
    pub(crate) next_seq: u64,
    /// The events that disown them.
    pub(crate) events: Vec<EventKind>,
}

impl DisownedEntity {
    /// Appends these events, each as `event` says by whom and when.
    pub(crate) fn append(self, event: &dyn Fn(EventKind) -> Event) -> Append {
        Append {
            stream: StreamId::Entity(self.entity),
            expected_seq: self.next_seq,
            events: self.events.into_iter().map(event).collect(),
        }
    }
}

/// The entities of a journal with orders or begun objects, which a copy of it must not act by.
pub(crate) async fn disowned_entities(
    journal: &dyn Journal,
) -> Result<Vec<DisownedEntity>, JournalError> {
    let loaded = Projection::load(journal).await;
    let projection = loaded.map_err(|LoadError::Journal(error)| error)?;
    let entities = projection.entities.iter();
    let disowned = entities.map(|(entity, folded)| DisownedEntity {
        entity: entity.clone(),
        next_seq: folded.next_seq,
        events: folded.state.objects.disowned(),
    });
    Ok(disowned
        .filter(|entity| !entity.events.is_empty())
        .collect())
}

impl Control {
    /// Records a fact about an object, once. The failure says why the step may not act.
    pub(super) fn note_object(
        &mut self,
        entity: &EntityId,
        waiter: &Waiter,
        fact: ObjectFact,
    ) -> Result<(), Failure> {
        let objects = self.objects_of(entity);
        let kind = match fact {
            ObjectFact::Begun { object } => {
                if objects.begun.contains(&object) {
                    return Ok(());
                }
                EventKind::ObjectBegun { object }
            }
            ObjectFact::Made { object, identity } => {
                if objects.is_whole(&object, &identity) {
                    return Ok(());
                }
                self.end_orders_of_before(entity, waiter, &object);
                EventKind::ObjectMade { object, identity }
            }
            ObjectFact::Of {
                owner,
                object,
                change,
            } => {
                self.note_change(&owner, object, change);
                return Ok(());
            }
            ObjectFact::InUse { object } => EventKind::ObjectInUse { object },
            ObjectFact::Gone { object } => EventKind::ObjectGone { object },
            ObjectFact::Replacing { object } => {
                return self.is_replacement_ordered(entity, waiter, &object);
            }
            ObjectFact::Destroying { object } => return self.spend(entity, waiter, &object),
            ObjectFact::Discarding { object, ground } => EventKind::Noted {
                what: Name::of("deletion_begun"),
                detail: Text::new(format!("{object}: {ground}")),
            },
        };
        self.recorder
            .entity_event(entity, kind, &EventCause::engine());
        Ok(())
    }

    /// Records what becomes of an object of an entity that another one works on, if that is not recorded already.
    fn note_change(&mut self, owner: &EntityId, object: Text, change: ObjectChange) {
        let projection = &self.recorder.projection;
        let Some(state) = projection.entity(owner) else {
            return;
        };
        if projection.unreadable.contains_key(owner) {
            return;
        }
        let Objects {
            made,
            in_use,
            begun,
            ..
        } = &state.objects;
        let is_recorded = match &change {
            ObjectChange::Begun => begun.contains(&object),
            ObjectChange::Made(identity) => made.get(&object) == Some(identity),
            ObjectChange::InUse => in_use.as_ref().is_some_and(|used| used.object == object),
            ObjectChange::Gone => !made.contains_key(&object) && !begun.contains(&object),
        };
        if is_recorded {
            return;
        }
        let is_another = match &change {
            ObjectChange::Made(_) => made.contains_key(&object),
            ObjectChange::InUse => true,
            ObjectChange::Begun | ObjectChange::Gone => false,
        };
        if is_another {
            // Orders that are open were given for what the object was before.
            self.void_warrants(owner, &EventCause::engine(), |_| true);
        }
        let kind = match change {
            ObjectChange::Begun => EventKind::ObjectBegun { object },
            ObjectChange::Made(identity) => EventKind::ObjectMade { object, identity },
            ObjectChange::InUse => EventKind::ObjectInUse { object },
            ObjectChange::Gone => EventKind::ObjectGone { object },
        };
        self.recorder
            .entity_event(owner, kind, &EventCause::engine());
    }

    /// Voids the open orders for an object that is made for the first time, or anew, or that is another one now: they
    /// were given for what was there before. An order that came with a newer desired state than the run works for stays
    /// open, because it is for what this run makes.
    fn end_orders_of_before(&mut self, entity: &EntityId, (run, _): &Waiter, object: &Text) {
        let projection = &self.recorder.projection;
        let desired = projection
            .entity(entity)
            .and_then(|state| state.desired.as_ref());
        let newest = desired.map(|desired| desired.generation);
        let is_of_newest = projection.run(*run).map(|run| run.generation) == newest;
        if !is_of_newest {
            return;
        }
        self.void_warrants(entity, &EventCause::engine(), |warrant| {
            warrant.object == *object
        });
    }

    /// Voids the open orders that new ones take the place of: those for the same objects, and those for the same
    /// act. So one object never has two.
    pub(super) fn replace_orders(
        &mut self,
        entity: &EntityId,
        orders: &[DestructionOrder],
        cause: &EventCause,
    ) {
        self.void_warrants(entity, cause, |warrant| {
            orders
                .iter()
                .any(|order| warrant.is_replaced_by(&order.object, &order.act))
        });
    }

    pub(super) fn objects_of(&self, entity: &EntityId) -> Objects {
        let state = self.recorder.projection.entity(entity);
        state.map(|state| state.objects.clone()).unwrap_or_default()
    }

    /// Whether a warrant permits this run to destroy the object: an open one, one that it spent, or one of a
    /// standing policy. The failure says why none does.
    fn is_replacement_ordered(
        &self,
        entity: &EntityId,
        waiter: &Waiter,
        object: &Text,
    ) -> Result<(), Failure> {
        let (run, _) = waiter;
        self.may_still_destroy(*run, object)?;
        let state = self.recorder.projection.entity(entity);
        let mut warrants = state
            .iter()
            .flat_map(|state| state.objects.warrants.values());
        let is_for_the_run = |spender: &Spender| spender.run == *run;
        let permits = |warrant: &Warrant| {
            warrant.object == *object && warrant.spent.as_ref().is_none_or(is_for_the_run)
        };
        if warrants.any(permits) || self.standing_order(entity, object).is_some() {
            Ok(())
        } else {
            Err(unordered(object, "no order for it is open"))
        }
    }

    /// Refuses a run that is to end.
    fn may_still_destroy(&self, run: RunId, object: &Text) -> Result<(), Failure> {
        let state = self.recorder.projection.run(run);
        if state.is_none_or(|state| state.cancel.is_some() || state.result().is_some()) {
            return Err(unordered(object, "the run is to end"));
        }
        Ok(())
    }

    /// The order that a standing policy of the workflow gives for the object.
    fn standing_order(&self, entity: &EntityId, object: &Text) -> Option<DestructionOrder> {
        let state = self.recorder.projection.entity(entity)?;
        let workflows = &self.parts.workflows;
        workflows.standing_order(entity, state, object.as_str())
    }

    /// Spends the warrant by which the step destroys the object. A step that spent it before may act again.
    fn spend(&mut self, entity: &EntityId, waiter: &Waiter, object: &Text) -> Result<(), Failure> {
        let (run, node) = waiter;
        self.may_still_destroy(*run, object)?;
        let objects = self.objects_of(entity);
        let warrant = match objects.warrant_for(object, *run, node) {
            Some(id) if objects.warrants.get(&id).is_some_and(|w| w.spent.is_some()) => {
                return Ok(());
            }
            Some(id) => id,
            None => self.standing_warrant(entity, object)?,
        };
        let spent = EventKind::WarrantSpent {
            warrant,
            run: *run,
            node: node.clone(),
        };
        self.recorder
            .entity_event(entity, spent, &EventCause::engine());
        Ok(())
    }

    /// Records the warrant that a standing policy of the workflow gives for the object.
    fn standing_warrant(&mut self, entity: &EntityId, object: &Text) -> Result<WarrantId, Failure> {
        let order = self
            .standing_order(entity, object)
            .ok_or_else(|| unordered(object, "no order for it is open"))?;
        Ok(self.record_order(entity, order, &EventCause::engine()))
    }

    /// Records an order to destroy an object.
    pub(super) fn record_order(
        &mut self,
        entity: &EntityId,
        order: DestructionOrder,
        cause: &EventCause,
    ) -> WarrantId {
        let warrant = WarrantId(Ulid::from_parts(self.parts.clock.now().0, rand::random()));
        let warranted = EventKind::Warranted {
            warrant,
            object: order.object,
            act: order.act,
            shown: order.shown,
        };
        self.recorder.entity_event(entity, warranted, cause);
        warrant
    }

    /// Voids the open orders of an entity by these acts.
    pub(super) fn void_orders_of(&mut self, entity: &EntityId, acts: &[Name], cause: &EventCause) {
        self.void_warrants(entity, cause, |warrant| acts.contains(&warrant.act));
    }

    /// Voids the warrants of an entity that are not spent. Returns how many there were.
    pub(super) fn void_open_warrants(&mut self, entity: &EntityId, cause: &EventCause) -> usize {
        self.void_warrants(entity, cause, |_| true)
    }

    /// Voids the warrants among those that are not spent. Returns how many there were.
    fn void_warrants(
        &mut self,
        entity: &EntityId,
        cause: &EventCause,
        is_void: impl Fn(&Warrant) -> bool,
    ) -> usize {
        let voided = self.objects_of(entity).open(is_void);
        for warrant in &voided {
            let kind = EventKind::WarrantVoided { warrant: *warrant };
            self.recorder.entity_event(entity, kind, cause);
        }
        voided.len()
    }
}

fn unordered(object: &Text, why: &str) -> Failure {
    let message = format!("nothing permits to destroy {object}: {why}; nothing was changed");
    Failure::new(FailureClass::Blocked, "VSI0041", message)
        .of_object(object.as_str())
        .with_remedy("order it again, or undo the change that needs it")
}
