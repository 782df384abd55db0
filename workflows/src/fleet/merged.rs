//! The journals of a set, read as one fleet. Each object is in one journal only: a list is the
//! concatenation of all lists, and a query for one object finds the fleet that has it. A single journal is
//! a set of one.
//!
//! [`Fleets`] only reads. Writes go through the fleet of one journal.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use vsiflow_engine::{
    journal::Offset,
    model::{EntityId, Failure, FailureClass, Timestamp},
};

use super::{
    DiskObject, ErrorKind, Fleet, FleetError, GroupObject, HistoryLine, HostObject, ImageObject,
    Metadata, Moment, NetworkObject, OtherJournal, PoolObject, QuotaObject, RunObject,
    ServerTypeObject, SnapshotObject, VsiObject, VsiSummary,
};
use crate::phase::{self, Phase};

/// The fleets of the journals that are read, by journal number. Every method fails if a journal cannot be
/// read.
#[derive(Clone)]
pub struct Fleets {
    /// The fleet of journal 0, which has pools, groups, quotas, types and tokens.
    decides: Fleet,
    /// The fleets of the other journals, from journal 1 on.
    rest: Vec<Fleet>,
    /// The numbers of the journals that no process works on.
    unheld: BTreeSet<usize>,
    /// The source that the fleets are read from. It lives as long as this value and its clones.
    source: Option<Arc<dyn Any + Send + Sync>>,
}

impl From<Fleet> for Fleets {
    fn from(fleet: Fleet) -> Self {
        Self::of(fleet, [])
    }
}

/// The objects of one kind that all fleets list.
macro_rules! all {
    ($self:ident, $kind:ident $list:ident $(, $argument:expr)?) => {{
        let mut all = Vec::new();
        for fleet in $self.all() {
            all.extend(fleet.$kind().$list($($argument)?).await?);
        }
        all
    }};
}

impl Fleets {
    /// The fleet of journal 0, and those of the others in order of their numbers.
    pub fn of(decides: Fleet, others: impl IntoIterator<Item = Fleet>) -> Self {
        Self {
            decides,
            rest: others.into_iter().collect(),
            unheld: BTreeSet::new(),
            source: None,
        }
    }

    /// Holds `source`, which the fleets are read from, as long as this value, a clone or a past state of it
    /// lives.
    #[must_use]
    pub fn read_from(self, source: Arc<dyn Any + Send + Sync>) -> Self {
        let source = Some(source);
        Self { source, ..self }
    }

    /// Marks the journals with these numbers as ones that no process works on.
    #[must_use]
    pub fn with_unheld(self, unheld: impl IntoIterator<Item = usize>) -> Self {
        let unheld = unheld.into_iter().collect();
        Self { unheld, ..self }
    }

    /// The fleet of journal 0, which has pools, groups, quotas, types and tokens.
    pub fn decides(&self) -> &Fleet {
        &self.decides
    }

    /// All fleets, by journal number.
    pub fn all(&self) -> impl Iterator<Item = &Fleet> {
        std::iter::once(&self.decides).chain(&self.rest)
    }

    /// Whether this is a set of journals and not a single one.
    pub fn are_several(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The fleet that has an object, named as in [`HistoryHandle::lines`](super::HistoryHandle::lines). An
    /// existing object comes before a deleted one. A single journal is returned without a check.
    pub async fn that_has(&self, namespace: &str, name: &str) -> Result<&Fleet, FleetError> {
        if !self.are_several() {
            return Ok(&self.decides);
        }
        let mut found: Result<&Fleet, FleetError> = Err(FleetError::not_found("VSI", name));
        for fleet in self.all() {
            match fleet.entities_named(namespace, name).await {
                Ok(named) if named.iter().all(|(id, state)| phase::is_gone(id, state)) => {
                    found = found.or(Ok(fleet));
                }
                Ok(_) => return Ok(fleet),
                Err(error) if error.kind == ErrorKind::NotFound => {
                    found = found.map_err(|_| error);
                }
                Err(error) => return Err(error),
            }
        }
        found
    }

    /// The number of the journal that has a host.
    ///
    /// # Errors
    /// `VSI0703` if no journal knows it.
    pub fn journal_of_host(&self, host: &str) -> Result<u16, FleetError> {
        let mut numbered = (0..).zip(self.all());
        let knows_it = |(_, fleet): &(u16, &Fleet)| fleet.hosts().settings(host).is_ok();
        match numbered.find(knows_it) {
            Some((number, _)) => Ok(number),
            // The same error as the fleet of one journal.
            None => self.decides.hosts().settings(host).map(|_| 0),
        }
    }

    /// The numbers of the journals that have a network: one for each of its hosts.
    ///
    /// # Errors
    /// `VSI0703` if there is no such network.
    pub async fn that_have_network(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<u16>, FleetError> {
        let mut numbers = Vec::new();
        for (number, fleet) in (0..).zip(self.all()) {
            match fleet.networks().find(namespace, name).await {
                Err(error) if error.kind == ErrorKind::NotFound => {}
                entities => {
                    entities?;
                    numbers.push(number);
                }
            }
        }
        if numbers.is_empty() {
            return Err(FleetError::not_found("network", name));
        }
        Ok(numbers)
    }

    /// The history of an object, named as in [`HistoryHandle::lines`](super::HistoryHandle::lines). In a
    /// set, each line has the number of its journal.
    pub async fn history(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        let fleet = self.that_has(namespace, name).await?;
        let mut lines = Box::pin(fleet.history().lines(namespace, name)).await?;
        self.number(&mut lines, fleet);
        Ok(lines)
    }

    /// Sets the journal number of the lines of one fleet of a set.
    pub fn number(&self, lines: &mut [HistoryLine], of: &Fleet) {
        let number = self.number_of(of);
        lines.iter_mut().for_each(|line| line.journal = number);
    }

    /// The newest events of all journals before these offsets: one offset per journal, no bound for a
    /// journal without one. At most `most` events, oldest first, sorted by time; events of one journal stay
    /// in journal order.
    pub async fn events_before(
        &self,
        before: &[Offset],
        most: u64,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        let mut all = Vec::new();
        for (number, fleet) in self.all().enumerate() {
            let end = fleet.history().end();
            let to = before.get(number).map_or(end, |before| end.min(*before));
            let from = to.saturating_sub(most);
            let length = usize::try_from(to.saturating_sub(from)).unwrap_or_default();
            if length == 0 {
                continue;
            }
            let mut lines = fleet.history().events(from)?.page(length).await?;
            lines.retain(|line| line.offset < to);
            self.number(&mut lines, fleet);
            all.push(lines);
        }
        Ok(newest_of(all, usize::try_from(most).unwrap_or(usize::MAX)))
    }

    /// The time of the first event of all journals; `None` if there is no event.
    pub async fn first_event(&self) -> Result<Option<Timestamp>, FleetError> {
        let mut first = None;
        for fleet in self.all() {
            let own = fleet.history().first_event().await?;
            first = first.into_iter().chain(own.map(|(_, at)| at)).min();
        }
        Ok(first)
    }

    /// The fleet that has events of an entity.
    pub fn that_knows(&self, entity: &EntityId) -> Option<&Fleet> {
        let mut all = self.all();
        all.find(|fleet| fleet.history().knows(entity))
    }

    /// The fleets as of a moment. A journal of a set that began later is empty then.
    pub async fn at(&self, moment: Moment) -> Result<Self, FleetError> {
        self.before(&self.ends_of(moment).await?).await
    }

    /// The fleets as of these offsets, one per journal.
    pub async fn before(&self, ends: &[Offset]) -> Result<Self, FleetError> {
        let mut ends = ends.iter().copied();
        let decides = ends.next().unwrap_or_default();
        let decides = self.decides.before(decides).await?;
        let mut rest = Vec::new();
        for (fleet, end) in self.rest.iter().zip(ends) {
            rest.push(fleet.before(end).await?);
        }
        Ok(Self {
            decides,
            rest,
            unheld: self.unheld.clone(),
            source: self.source.clone(),
        })
    }

    /// The offset after the newest event that a moment includes, for each journal; 0 for a journal that
    /// began later.
    pub async fn ends_of(&self, moment: Moment) -> Result<Vec<Offset>, FleetError> {
        if !self.are_several() {
            return Ok(vec![self.decides.history().end_of(moment).await?]);
        }
        let (time, known) = match moment {
            Moment::Time(_) => (moment, None),
            Moment::Event { journal, offset } => {
                let time = self.numbered(journal)?.history().time_of(offset).await?;
                let end = (usize::from(journal), offset.saturating_add(1));
                (Moment::Time(time), Some(end))
            }
            Moment::Offset(_) => {
                let why = "an offset is one of a journal";
                let remedy = "name it with its journal, such as 2:41, or a time, such as 2026-11-22T09:30:00Z";
                return Err(of_one_journal(why, remedy));
            }
        };
        let mut ends = Vec::new();
        for (number, fleet) in self.all().enumerate() {
            ends.push(match known {
                Some((own, end)) if own == number => end,
                _ => fleet.history().end_among(time).await?,
            });
        }
        if ends.iter().all(|end| *end == 0) {
            // This error names the time at which the first journal begins.
            self.decides.history().end_of(time).await?;
        }
        Ok(ends)
    }

    /// The fleet of one journal.
    pub fn numbered(&self, journal: u16) -> Result<&Fleet, FleetError> {
        let found = self.all().nth(usize::from(journal));
        found.ok_or_else(|| {
            let (why, last) = (format!("it has no journal {journal}"), self.rest.len());
            of_one_journal(&why, &format!("name one of 0 to {last}"))
        })
    }

    /// The journal number of a fleet of the set; `None` for a single journal.
    pub fn number_of(&self, fleet: &Fleet) -> Option<u16> {
        let number = self.all().position(|own| std::ptr::eq(own, fleet));
        let number = number.and_then(|number| u16::try_from(number).ok());
        number.filter(|_| self.are_several())
    }

    /// Offset and time (RFC 3339) of the newest event of all journals; `None` if there is no event.
    pub async fn newest_event(&self) -> Result<Option<(Offset, String)>, FleetError> {
        let mut newest: Option<(Offset, String)> = None;
        for fleet in self.all() {
            let own = fleet.history().newest_event().await?;
            let time =
                |event: &Option<(Offset, String)>| event.as_ref().map(|(_, time)| time.clone());
            if time(&own) > time(&newest) {
                newest = own;
            }
        }
        Ok(newest)
    }

    /// The journals other than journal 0, as journal 0 sees them.
    pub fn others(&self) -> Vec<OtherJournal<'_>> {
        let others = (1..).zip(&self.rest);
        others
            .map(|(number, fleet)| OtherJournal {
                fleet,
                is_held: !self.unheld.contains(&number),
            })
            .collect()
    }

    /// The global pause of one of the journals, if any: no step is started there.
    pub fn global_pause(&self) -> Option<Failure> {
        self.all().find_map(Fleet::global_pause)
    }

    /// All VSIs as lists show them.
    pub async fn vsi_summaries(&self, deleted: bool) -> Result<Vec<Arc<VsiSummary>>, FleetError> {
        let all = all!(self, vsis summaries, deleted);
        Ok(self.sorted(all, |one: &Arc<VsiSummary>| &one.metadata))
    }

    /// All VSIs.
    pub async fn vsis(&self, deleted: bool) -> Result<Vec<VsiObject>, FleetError> {
        let all = all!(self, vsis list, deleted);
        Ok(self.sorted(all, |one: &VsiObject| &one.metadata))
    }

    /// Sorts a list by namespace and name, as each journal lists its objects.
    fn sorted<T>(&self, mut all: Vec<T>, metadata: impl Fn(&T) -> &Metadata) -> Vec<T> {
        if self.are_several() {
            all.sort_by(|one, other| {
                let (one, other) = (metadata(one), metadata(other));
                (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
            });
        }
        all
    }

    /// One VSI.
    pub async fn vsi(&self, namespace: &str, name: &str) -> Result<VsiObject, FleetError> {
        let fleet = self.that_has(namespace, name).await?;
        fleet.vsis().get(namespace, name).await
    }

    /// All pools, with their members in all journals.
    pub async fn pools(&self, deleted: bool) -> Result<Vec<PoolObject>, FleetError> {
        let others = self.others();
        Box::pin(self.decides.pools().list_over(deleted, &others)).await
    }

    /// One pool.
    pub async fn pool(&self, namespace: &str, name: &str) -> Result<PoolObject, FleetError> {
        let (pools, others) = (self.decides.pools(), self.others());
        Box::pin(pools.get_over(namespace, name, &others)).await
    }

    /// All groups, with their members in all journals.
    pub async fn groups(&self, deleted: bool) -> Result<Vec<GroupObject>, FleetError> {
        let others = self.others();
        Box::pin(self.decides.groups().list_over(deleted, &others)).await
    }

    /// One group.
    pub async fn group(&self, namespace: &str, name: &str) -> Result<GroupObject, FleetError> {
        let (groups, others) = (self.decides.groups(), self.others());
        Box::pin(groups.get_over(namespace, name, &others)).await
    }

    /// All data disks.
    pub async fn disks(&self, deleted: bool) -> Result<Vec<DiskObject>, FleetError> {
        Ok(all!(self, disks list, deleted))
    }

    /// One data disk: one that a journal made, or that a VSI refers to.
    pub async fn disk(&self, namespace: &str, name: &str) -> Result<DiskObject, FleetError> {
        let mut found = Err(FleetError::not_found("disk", name));
        for fleet in self.all() {
            match fleet.disks().get(namespace, name).await {
                Ok(disk) if disk.status.phase != Phase::Deleted.as_str() => return Ok(disk),
                Ok(disk) => found = found.or(Ok(disk)),
                Err(error) if error.kind == ErrorKind::NotFound => {
                    found = found.map_err(|_| error);
                }
                Err(error) => return Err(error),
            }
        }
        found
    }

    /// All snapshots.
    pub async fn snapshots(&self, deleted: bool) -> Result<Vec<SnapshotObject>, FleetError> {
        let all = all!(self, snapshots list, deleted);
        Ok(self.sorted(all, |one: &SnapshotObject| &one.metadata))
    }

    /// One snapshot.
    pub async fn snapshot(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<SnapshotObject, FleetError> {
        let object = format!("snapshot/{name}");
        let fleet = self.that_has(namespace, &object).await?;
        fleet.snapshots().get(namespace, name).await
    }

    /// All quotas, with the usage in all journals.
    pub async fn quotas(&self) -> Result<Vec<QuotaObject>, FleetError> {
        let others: Vec<_> = self.rest.iter().collect();
        self.decides.quotas().list_over(&others).await
    }

    /// All networks.
    pub async fn networks(&self) -> Result<Vec<NetworkObject>, FleetError> {
        Ok(all!(self, networks list))
    }

    /// All hosts.
    pub async fn hosts(&self) -> Result<Vec<HostObject>, FleetError> {
        Ok(all!(self, hosts list))
    }

    /// All server types. Journal 0 has them.
    pub async fn server_types(&self) -> Result<Vec<ServerTypeObject>, FleetError> {
        self.decides.server_types().list().await
    }

    /// All base images.
    pub async fn images(&self) -> Result<Vec<ImageObject>, FleetError> {
        Ok(all!(self, images list))
    }

    /// All runs.
    pub fn runs(&self) -> Vec<RunObject> {
        let all = self.all();
        all.flat_map(|fleet| fleet.history().runs()).collect()
    }
}

/// The error `VSI0764`: the request is for a single journal and not for a set of journals.
pub fn of_one_journal(why: &str, remedy: &str) -> FleetError {
    let message = format!("this is not for a set of journals: {why}");
    let failure = Failure::new(FailureClass::Blocked, "VSI0764", message).with_remedy(remedy);
    FleetError::new(ErrorKind::Blocked, failure)
}

/// The newest events of several journals, at most `most`, oldest first. They are sorted by time, but each
/// journal's own order is unchanged even if its clock was set back.
pub fn newest_of(journals: Vec<Vec<HistoryLine>>, most: usize) -> Vec<HistoryLine> {
    let mut all: Vec<(String, HistoryLine)> = Vec::new();
    for lines in journals {
        let mut newest = String::new();
        all.extend(lines.into_iter().map(|line| {
            if newest < line.time {
                newest.clone_from(&line.time);
            }
            (newest.clone(), line)
        }));
    }
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let extra = all.len().saturating_sub(most);
    all.into_iter().skip(extra).map(|(_, line)| line).collect()
}
