//! The oracle: which tokens must be there, and which orders of the user are open.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// The time between a guard's look at a host and the call that follows it.
const UNSEEN: Duration = Duration::from_secs(1);

/// What tokens are written into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskId {
    /// The boot disk of a VSI.
    Boot(Uuid),
    /// A data disk.
    Data(Uuid),
    /// The copies of a snapshot.
    Copies(Uuid),
    /// The disk of a machine that vsiflow does not know, by number.
    Foreign(u32),
}

/// A disk that a running guest reads.
pub struct RunningDisk {
    pub disk: DiskId,
    /// The host, the domain and the file, for people.
    pub place: String,
    /// The tokens that the guest reads, with the newest.
    pub read: BTreeSet<u64>,
    /// The token that it wrote now.
    pub written: u64,
    /// The token that it overwrote itself.
    pub overwritten: Option<u64>,
}

/// What all hosts had at one moment.
#[derive(Default)]
pub struct HostsSeen {
    pub tokens: BTreeSet<u64>,
    pub running: Vec<RunningDisk>,
    /// The tokens of the copies of each snapshot.
    pub copies: BTreeMap<Uuid, BTreeSet<u64>>,
    /// The guests that are on, or on their way.
    pub active: BTreeSet<Uuid>,
    /// The guests that were saved with their memory.
    pub saved: BTreeSet<Uuid>,
    /// The guests that are on with each MAC address.
    pub macs: BTreeMap<String, BTreeSet<Uuid>>,
}

/// The present incarnation of a disk.
#[derive(Clone, Debug, Default)]
struct DiskLedger {
    tokens: BTreeSet<u64>,
    /// Those that its guest does not read any more, since the administrator gave it an earlier definition.
    aside: BTreeSet<u64>,
    /// Whether an order to end this incarnation is open.
    is_ordered: bool,
    /// How many orders to end it were given whose answers are not known yet. One of them may be for the next
    /// incarnation, if another order ends this one meanwhile.
    asked: u32,
    /// Whether this incarnation was made for one start.
    is_disposable: bool,
    /// Whether one that is made now may be made for one start.
    may_be_ephemeral: bool,
    /// Whether its document makes it anew without an order.
    is_made_anew: bool,
    /// Whether it is to be deleted as soon as nothing uses it.
    is_deleted: bool,
    /// When the administrator made it, for the disk of a machine of their own.
    made: Option<Instant>,
}

impl DiskLedger {
    /// Ends the incarnation; `false` if nobody ordered that.
    fn end(&mut self) -> bool {
        let needs_order =
            !(self.is_disposable || self.is_made_anew || self.is_deleted || self.is_just_made());
        if needs_order && !self.has_order() {
            return false;
        }
        // An order is for this incarnation, however often it was given.
        if needs_order && !std::mem::take(&mut self.is_ordered) {
            self.asked -= 1;
        }
        self.forget();
        true
    }

    fn has_order(&self) -> bool {
        self.is_ordered || self.asked > 0
    }

    fn close_orders(&mut self) {
        (self.is_ordered, self.asked) = (false, 0);
    }

    /// Whether it was made after the look of a guard whose call follows now. A host has no lock against that.
    fn is_just_made(&self) -> bool {
        self.made.is_some_and(|made| made.elapsed() < UNSEEN)
    }

    fn forget(&mut self) {
        self.tokens.clear();
        self.aside.clear();
    }
}

/// The incarnations of all disks.
#[derive(Default)]
pub struct Oracle {
    disks: BTreeMap<DiskId, DiskLedger>,
    /// Snapshots whose copies were whole.
    whole: BTreeSet<Uuid>,
    /// What each snapshot that was asked for must have once it is whole: what its disks had at that moment, less
    /// what their guests overwrote since.
    asked_for: BTreeMap<Uuid, BTreeMap<DiskId, BTreeSet<u64>>>,
    /// The guests that were saved with their memory.
    saved: BTreeSet<Uuid>,
    /// How many tokens were written so far.
    pub next: u64,
    violations: Vec<String>,
    /// How many incarnations ended by an order.
    pub ended: u32,
}

impl Oracle {
    /// The first violation.
    pub fn verdict(&self) -> Result<(), String> {
        match self.violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// The user orders the end of the present incarnation.
    pub fn order(&mut self, disk: DiskId) {
        self.disks.entry(disk).or_default().asked += 1;
    }

    /// An order was accepted. It takes the place of those before.
    pub fn confirm(&mut self, disk: DiskId) {
        let ledger = self.disks.entry(disk).or_default();
        ledger.is_ordered |= std::mem::take(&mut ledger.asked) > 0;
    }

    /// An order was refused.
    pub fn withdraw(&mut self, disk: DiskId) {
        let ledger = self.disks.entry(disk).or_default();
        ledger.asked = ledger.asked.saturating_sub(1);
    }

    /// The user ordered its deletion, which happens as soon as nothing uses the disk. Returns whether they had
    /// ordered it before.
    pub fn delete(&mut self, disk: DiskId) -> bool {
        std::mem::replace(&mut self.disks.entry(disk).or_default().is_deleted, true)
    }

    /// Its deletion was refused, or is not ordered any more.
    pub fn keep(&mut self, disk: DiskId) {
        self.disks.entry(disk).or_default().is_deleted = false;
    }

    /// The disks for which an order is open.
    pub fn ordered(&self) -> Vec<DiskId> {
        let ordered = self.disks.iter().filter(|(_, ledger)| ledger.has_order());
        ordered.map(|(disk, _)| *disk).collect()
    }

    /// Whether a guest ever wrote to this disk.
    pub fn has_seen(&self, disk: DiskId) -> bool {
        self.disks.contains_key(&disk)
    }

    pub fn has_order(&self, disk: DiskId) -> bool {
        self.disks.get(&disk).is_some_and(DiskLedger::has_order)
    }

    /// Closes the orders that are open. `read` are the tokens that the defined disk has, if it is known: a disk
    /// that is another one by now was replaced by such an order.
    pub fn close_orders(&mut self, disk: DiskId, read: Option<&BTreeSet<u64>>) {
        let ledger = self.disks.get_mut(&disk);
        let Some(ledger) = ledger.filter(|ledger| ledger.has_order()) else {
            return;
        };
        if read.is_some_and(|read| !ledger.tokens.is_subset(read)) {
            ledger.end();
            self.ended += 1;
        }
        ledger.close_orders();
    }

    /// A backup of the journal is restored: all open orders are void.
    pub fn close_all_orders(&mut self) {
        for ledger in self.disks.values_mut() {
            ledger.close_orders();
            ledger.is_deleted = false;
        }
    }

    /// The object was deleted by an order: nothing of it must be there any more.
    pub fn forget(&mut self, disk: DiskId) {
        self.disks.remove(&disk);
        if let DiskId::Copies(snapshot) = disk {
            self.whole.remove(&snapshot);
        }
    }

    /// Whether a boot disk that is made from now on may be made for one start.
    pub fn may_be_ephemeral(&mut self, disk: DiskId, may_be: bool) {
        self.disks.entry(disk).or_default().may_be_ephemeral = may_be;
    }

    /// Whether the document itself makes the boot disk anew, after a first boot that failed fatally.
    pub fn is_made_anew(&mut self, disk: DiskId, is_made_anew: bool) {
        self.disks.entry(disk).or_default().is_made_anew = is_made_anew;
    }

    /// The administrator destroyed these tokens.
    pub fn excuse(&mut self, tokens: &BTreeSet<u64>) {
        for ledger in self.disks.values_mut() {
            ledger.tokens.retain(|token| !tokens.contains(token));
            ledger.aside.retain(|token| !tokens.contains(token));
        }
    }

    /// The administrator gave a guest a definition from which it does not read these tokens. They must be in some
    /// file still.
    pub fn set_aside(&mut self, disk: DiskId, tokens: &BTreeSet<u64>) {
        let ledger = self.disks.entry(disk).or_default();
        let (aside, tokens) = ledger
            .tokens
            .iter()
            .partition(|token| tokens.contains(token));
        ledger.aside.extend::<BTreeSet<u64>>(aside);
        ledger.tokens = tokens;
    }

    /// This guest, or any, may have been started. If it was saved, that used its memory up.
    pub fn may_have_started(&mut self, guest: Option<Uuid>) {
        match guest {
            Some(guest) => {
                self.saved.remove(&guest);
            }
            None => self.saved.clear(),
        }
    }

    /// The user exported a disk, and got these tokens.
    pub fn is_exported(&mut self, disk: DiskId, exported: &BTreeSet<u64>) {
        let Some(ledger) = self.disks.get_mut(&disk) else {
            return;
        };
        if let Some(token) = ledger.tokens.difference(exported).next().copied()
            && !ledger.end()
        {
            let stale = format!("what was exported of {disk:?} lacks token {token}");
            self.violations.push(stale);
        }
    }

    /// The administrator wrote a token into the disk of a machine of their own.
    pub fn write_foreign(&mut self, number: u32) -> u64 {
        self.next += 1;
        let ledger = self.disks.entry(DiskId::Foreign(number)).or_default();
        ledger.tokens.insert(self.next);
        ledger.made = Some(Instant::now());
        self.next
    }

    /// The user asked for a snapshot of these disks. It has no boot disk that is made for one start.
    pub fn snapshot(&mut self, snapshot: Uuid, disks: &[DiskId]) {
        let tokens = |disk: &DiskId| {
            let ledger = self.disks.get(disk)?;
            let lasts = !ledger.is_disposable && !ledger.may_be_ephemeral;
            lasts.then(|| (*disk, ledger.tokens.clone()))
        };
        let asked_for = disks.iter().filter_map(tokens).collect();
        self.asked_for.insert(snapshot, asked_for);
    }

    /// The copies of this snapshot are whole, and have these tokens.
    pub fn is_whole(&mut self, snapshot: Uuid, copied: &BTreeSet<u64>) {
        self.whole.insert(snapshot);
        let asked_for = self.asked_for.remove(&snapshot).unwrap_or_default();
        for (disk, tokens) in asked_for {
            if let Some(token) = tokens.difference(copied).next() {
                self.violations.push(format!(
                    "snapshot {snapshot} is whole and lacks token {token}, which {disk:?} had when it was asked for"
                ));
            }
        }
    }

    /// Compares what the hosts have now with what must be there. `cause` is what happened before, for people.
    pub fn compare(&mut self, seen: &HostsSeen, cause: &str) {
        for running in &seen.running {
            if let (Some(ledger), Some(token)) =
                (self.disks.get_mut(&running.disk), running.overwritten)
            {
                ledger.tokens.remove(&token);
            }
        }
        self.nothing_is_gone(seen, cause);
        seen.running
            .iter()
            .for_each(|running| self.reads_its_own(running, cause));
        self.copies_stay(seen, cause);
        self.memory_stays(seen, cause);
        self.cards_differ(seen, cause);
        for (disk, asked_for) in self.asked_for.values_mut().flatten() {
            let ledger = self.disks.get(disk);
            asked_for.retain(|token| ledger.is_some_and(|its| its.tokens.contains(token)));
        }
    }

    fn nothing_is_gone(&mut self, seen: &HostsSeen, cause: &str) {
        for (disk, ledger) in &mut self.disks {
            let mut tokens = ledger.tokens.union(&ledger.aside);
            let Some(token) = tokens.find(|token| !seen.tokens.contains(token)).copied() else {
                continue;
            };
            if ledger.end() {
                self.ended += 1;
            } else {
                let gone = format!(
                    "after {cause}: token {token} of {disk:?} is gone, and the user ordered nothing like it"
                );
                self.violations.push(gone);
                ledger.forget();
            }
        }
    }

    /// The memory that a guest was saved with is used up only by its start, or deleted with its VSI.
    fn memory_stays(&mut self, seen: &HostsSeen, cause: &str) {
        for guest in self.saved.difference(&seen.saved) {
            let ledger = self.disks.get(&DiskId::Boot(*guest));
            let goes = ledger.is_some_and(|ledger| ledger.is_deleted || ledger.is_made_anew);
            if !goes && !seen.active.contains(guest) {
                let gone = format!("after {cause}: the memory that {guest} was saved with is gone");
                self.violations.push(gone);
            }
        }
        self.saved.clone_from(&seen.saved);
    }

    /// No two guests have one MAC address.
    fn cards_differ(&mut self, seen: &HostsSeen, cause: &str) {
        let shared = seen.macs.iter().find(|(_, guests)| guests.len() > 1);
        if let Some((mac, guests)) = shared {
            let violation = format!("after {cause}: {guests:?} have one MAC address, {mac}");
            self.violations.push(violation);
        }
    }

    fn reads_its_own(&mut self, running: &RunningDisk, cause: &str) {
        let ledger = self.disks.entry(running.disk).or_default();
        // A guest may have written after the hosts were searched for tokens that an earlier host has.
        if let Some(token) = ledger.tokens.difference(&running.read).next().copied()
            && !ledger.end()
        {
            let place = &running.place;
            let stale = format!(
                "after {cause}: the guest of {place} does not read token {token} of {:?}, and the user ordered \
                 nothing like it",
                running.disk
            );
            self.violations.push(stale);
            ledger.tokens.clear();
        }
        if ledger.tokens.is_empty() {
            ledger.tokens.clone_from(&running.read);
            ledger.is_disposable = ledger.may_be_ephemeral;
        }
        ledger.tokens.insert(running.written);
    }

    fn copies_stay(&mut self, seen: &HostsSeen, cause: &str) {
        let none = BTreeSet::new();
        for snapshot in &self.whole {
            let disk = DiskId::Copies(*snapshot);
            let ledger = self.disks.entry(disk).or_default();
            let read = seen.copies.get(snapshot).unwrap_or(&none);
            if ledger.tokens.is_empty() {
                ledger.tokens.clone_from(read);
            }
            if let Some(token) = ledger.tokens.difference(read).next().copied()
                && !ledger.end()
            {
                let gone = format!(
                    "after {cause}: the copies of snapshot {snapshot} lack token {token}, and the user did not \
                     order their deletion"
                );
                self.violations.push(gone);
                ledger.tokens.clear();
            }
        }
        let disks = &self.disks;
        let is_kept = |snapshot: &Uuid| {
            let ledger = disks.get(&DiskId::Copies(*snapshot));
            ledger.is_some_and(|ledger| !ledger.tokens.is_empty())
        };
        self.whole.retain(is_kept);
    }
}
