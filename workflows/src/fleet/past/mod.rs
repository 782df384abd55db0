//! The fleet as of an earlier moment of the journal.
//!
//! It answers every query that the journal alone can answer, with the same code as for the current state.
//! It contacts no host, has no secrets and records nothing.

pub(super) mod difference;
pub(super) mod moment;

use std::sync::Arc;

use async_trait::async_trait;
use vsiflow_engine::{
    Engine,
    executor::StateAsOf,
    journal::{Entry, JournalAsOf, Offset},
    model::{Failure, FailureClass, Timestamp},
    secret::MemorySecrets,
};
use vsiflow_steps::ports::{HostPorts, Hosts, PortError, PortErrorKind, PortResult};

use self::moment::Moment;
use super::{
    ErrorKind, Fleet, FleetError, HistoryHandle, merged::of_one_journal, vsi::object::rfc3339,
};
use crate::{
    hosts::HostDirectory,
    reach::Reach,
    record::{HostRecord, kind},
    spec::HostSettings,
};

/// The error code for a moment before the journal begins.
const BEFORE: &str = "VSI0026";

impl HistoryHandle<'_> {
    /// Offset and time (RFC 3339) of the newest event that this fleet shows; `None` if there is none.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn newest_event(self) -> Result<Option<(Offset, String)>, FleetError> {
        let Some(offset) = self.end().checked_sub(1) else {
            return Ok(None);
        };
        let found = self.fleet.recorded_from(offset, Offset::MAX).await?;
        Ok(found.map(|(event_offset, at)| (event_offset, rfc3339(at))))
    }

    /// The offset after the newest event that a moment includes.
    ///
    /// # Errors
    /// As for [`Fleet::at`].
    pub async fn end_of(self, moment: Moment) -> Result<Offset, FleetError> {
        let end = self.end();
        match moment {
            Moment::Offset(offset) if offset < end => Ok(offset.saturating_add(1)),
            Moment::Offset(offset) => {
                let what = format!("no event has the offset {offset} yet");
                Err(of_the_future(&what, end))
            }
            Moment::Event { journal, .. } => {
                let why = format!("{moment} is an offset of journal {journal} of a set");
                let remedy = "name the offset alone, or a time such as 2026-11-22T09:30:00Z";
                Err(of_one_journal(&why, remedy))
            }
            Moment::Time(time) if time > self.fleet.clock.now() => {
                let what = format!("{} has not come yet", rfc3339(time));
                Err(of_the_future(&what, end))
            }
            Moment::Time(time) => match self.fleet.end_at(time, end).await? {
                0 => Err(self.fleet.before_the_journal(time).await?),
                end => Ok(end),
            },
        }
    }

    /// The time at which the event at an offset was recorded.
    pub(in crate::fleet) async fn time_of(self, offset: Offset) -> Result<Timestamp, FleetError> {
        let end = self.end_of(Moment::Offset(offset)).await?;
        let found = self.fleet.recorded_from(offset, Offset::MAX).await?;
        // An undecodable event has the time of the next decodable one.
        let found = found.map(|(_, at)| at);
        found.ok_or_else(|| of_the_future(&format!("no event has the offset {offset}"), end))
    }

    /// The end of a moment in one of several journals that are read as one: 0 for a journal that began
    /// after that time and has all its events since then.
    pub(in crate::fleet) async fn end_among(self, moment: Moment) -> Result<Offset, FleetError> {
        match self.end_of(moment).await {
            Err(error) if error.failure.code.as_str() == BEFORE => {
                match self.first_event().await? {
                    Some((offset, _)) if offset > 0 => Err(error),
                    _ => Ok(0),
                }
            }
            end => end,
        }
    }

    /// Offset and time of the first event in the journal.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn first_event(self) -> Result<Option<(Offset, Timestamp)>, FleetError> {
        self.fleet.recorded_from(0, Offset::MAX).await
    }
}

impl Fleet {
    /// The fleet as of a moment. It reads what the journal holds since the nearest base before the moment.
    ///
    /// # Errors
    /// `VSI0024` for a moment in the future, `VSI0026` for one before the journal; and when the journal
    /// cannot be read.
    pub async fn at(&self, moment: Moment) -> Result<Self, FleetError> {
        let end = self.history().end_of(moment).await?;
        self.before(end).await
    }

    /// The offset after the newest event that was recorded by then. If the clock was set back, several
    /// offsets may have the same time; it is one of those.
    async fn end_at(&self, time: Timestamp, end: Offset) -> Result<Offset, FleetError> {
        let (mut from, mut to) = (0, end);
        while from < to {
            let middle = Offset::midpoint(from, to);
            match self.recorded_from(middle, to).await? {
                Some((offset, at)) if at <= time => from = offset.saturating_add(1),
                _ => to = middle,
            }
        }
        Ok(from)
    }

    /// Offset and time of the first event from `from` on and before `to` that can be decoded.
    async fn recorded_from(
        &self,
        from: Offset,
        to: Offset,
    ) -> Result<Option<(Offset, Timestamp)>, FleetError> {
        let mut next = from;
        while next < to {
            let page = self.journal.read_entries(next, 1).await?;
            match page.first() {
                Some(Entry::Event(record)) if record.offset < to => {
                    return Ok(Some((record.offset, record.event.at)));
                }
                Some(Entry::Undecodable { offset, .. }) => next = offset.saturating_add(1),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    async fn before_the_journal(&self, time: Timestamp) -> Result<FleetError, FleetError> {
        let first = self.recorded_from(0, Offset::MAX).await?;
        let begins = match first {
            Some((_, at)) => format!("it begins at {}", rfc3339(at)),
            None => "it has no event".to_owned(),
        };
        let message = format!("{} is before the journal: {begins}", rfc3339(time));
        let failure = Failure::new(FailureClass::Blocked, BEFORE, message)
            .with_remedy("Ask for an offset, or for a time since then.");
        Ok(FleetError::new(ErrorKind::NotFound, failure))
    }

    pub(super) async fn before(&self, end: Offset) -> Result<Self, FleetError> {
        let journal = Arc::new(JournalAsOf::new(self.journal.clone(), end));
        let past = StateAsOf::load(self.journal.as_ref(), end).await?;
        let secrets = Arc::new(MemorySecrets::new());
        let reach = Reach::new(Arc::new(NoHosts), Arc::default());
        let fleet = Self {
            engine: Engine::of_past(past, self.engine.watched_room()),
            journal,
            secrets,
            hosts: reach.clone(),
            reach,
            directory: Arc::new(HostDirectory::default()),
            credentials: Arc::default(),
            uploads: Arc::default(),
            addresses: Arc::default(),
            health: Arc::default(),
            catalogue: Arc::default(),
            pools: Arc::default(),
            capacities: Arc::default(),
            footprints: Arc::default(),
            drawing: Arc::default(),
            seen_blobs: Arc::default(),
            summaries: Arc::default(),
            read: Arc::default(),
            ..self.clone()
        };
        fleet.register_machines().await?;
        fleet.load_host_settings().await?;
        Ok(fleet)
    }

    /// Loads the recorded settings of hosts, without their secrets.
    async fn load_host_settings(&self) -> Result<(), FleetError> {
        for (_, state, host) in self.all_desired::<HostRecord>(kind::HOST).await? {
            let cordoned = crate::phase::why_cordoned(state.state.as_ref());
            self.reach.cordon(&host.record.id(), cordoned);
            self.directory.put(HostSettings {
                namespace: host.namespace,
                labels: host.labels,
                limits: host.limits,
                ..host.record.into()
            });
        }
        Ok(())
    }
}

fn of_the_future(what: &str, end: Offset) -> FleetError {
    let message = format!("{what}: the next event will have the offset {end}");
    let failure = Failure::new(FailureClass::Blocked, "VSI0024", message).with_remedy(
        "Ask for an offset that `vsiflow events -o wide` shows, or for a time up to now.",
    );
    FleetError::new(ErrorKind::NotFound, failure)
}

/// A past fleet contacts no host.
struct NoHosts;

#[async_trait]
impl Hosts for NoHosts {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let message = "the journal does not hold what hosts showed at that moment";
        Err(PortError::new(PortErrorKind::Denied, id, "", message))
    }
}
