//! A small model of lease, epoch, link and take-over: every order in which statements and answers may
//! arrive, be late or be lost, in which processes die, stop and resume, within small bounds.
//!
//! It checks: only the holder's statements write; what was acknowledged remains, once and in order; no
//! two processes hold the lease by their own clocks; and from every state a process can write again.
//! Without any one of the rules a check fails.

use std::collections::{HashMap, VecDeque};

/// The number of epochs.
const EPOCHS: u8 = 4;
/// How long a lease lasts.
const LEASE_DURATION: u8 = 2;
/// The number of things that may be written.
const VALUES: u8 = 2;
/// The number of processes that may be started, one after another in two places.
const STARTS: u8 = 3;

/// The rules that are in force.
#[derive(Clone, Copy)]
struct ModelRules {
    epoch: bool,
    link: bool,
    lease: bool,
}

const ALL: ModelRules = ModelRules {
    epoch: true,
    link: true,
    lease: true,
};

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Statement {
    Append {
        by: u8,
        epoch: u8,
        after: u8,
        value: u8,
    },
    Regain {
        by: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Doing {
    Nothing,
    Awaits(u8),
    Regains(u8),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum ModelProcess {
    Waits,
    Holds {
        epoch: u8,
        left: u8,
        known: u8,
        doing: Doing,
    },
    Ended,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct ModelWorld {
    epoch: u8,
    holder: u8,
    /// The remaining time of the lease; all fields with this name mean the same.
    left: u8,
    log: Vec<u8>,
    acknowledged: Vec<u8>,
    /// The unique number of each process, and its state.
    processes: [(u8, ModelProcess); 2],
    started: u8,
    values: u8,
    wire: Vec<Statement>,
}

impl ModelWorld {
    fn new() -> Self {
        Self {
            epoch: 0,
            holder: 0,
            left: 0,
            log: Vec::new(),
            acknowledged: Vec::new(),
            processes: [(1, ModelProcess::Waits), (2, ModelProcess::Waits)],
            started: 2,
            values: 0,
            wire: Vec::new(),
        }
    }

    fn len(&self) -> u8 {
        self.log.len().try_into().unwrap()
    }

    fn holds(&self) -> bool {
        self.left > 0
    }

    fn send(&mut self, statement: Statement) {
        self.wire.push(statement);
        self.wire.sort();
    }

    /// The state a moment later.
    fn later(&self) -> Self {
        let mut world = self.clone();
        world.left = world.left.saturating_sub(1);
        for (_, process) in &mut world.processes {
            if let ModelProcess::Holds { left, .. } = process {
                *left = left.saturating_sub(1);
            }
        }
        world
    }

    /// Everything that may happen next.
    fn next(&self, rules: ModelRules) -> Vec<Self> {
        let mut all = Vec::new();
        all.push(self.later());
        for place in 0..2 {
            self.of_process(place, &mut all);
        }
        for at in 0..self.wire.len() {
            let mut world = self.clone();
            let statement = world.wire.remove(at);
            all.push(world.clone());
            let answer = world.execute(&statement, rules);
            all.push(world.clone());
            world.deliver(&statement, answer);
            all.push(world);
        }
        all
    }

    fn of_process(&self, place: usize, all: &mut Vec<Self>) {
        let (number, process) = &self.processes[place];
        let number = *number;
        // It dies, and is started again as a new process.
        if *process != ModelProcess::Waits && self.started < STARTS {
            let mut world = self.clone();
            world.started += 1;
            world.processes[place] = (world.started, ModelProcess::Waits);
            all.push(world);
        }
        match process {
            ModelProcess::Waits if !self.holds() && self.epoch < EPOCHS => {
                let mut world = self.clone();
                (world.epoch, world.holder) = (self.epoch + 1, number);
                world.left = LEASE_DURATION;
                // Its answer is lost, so that no process has the lease; or it was delayed.
                all.push(ModelWorld {
                    holder: u8::MAX,
                    ..world.clone()
                });
                for late in 0..=1 {
                    let mut world = world.clone();
                    world.processes[place].1 = ModelProcess::Holds {
                        epoch: world.epoch,
                        left: world.left - late,
                        known: world.len(),
                        doing: Doing::Nothing,
                    };
                    all.push(world);
                }
            }
            ModelProcess::Holds { left: 0, .. } => {
                let mut world = self.clone();
                world.processes[place].1 = ModelProcess::Ended;
                all.push(world);
            }
            ModelProcess::Holds {
                epoch,
                left,
                known,
                doing,
            } => {
                let held = |what| ModelProcess::Holds {
                    epoch: *epoch,
                    left: *left,
                    known: *known,
                    doing: what,
                };
                if self.holder == number && self.holds() {
                    let mut world = self.clone();
                    world.left = LEASE_DURATION;
                    all.push(world.clone());
                    world.processes[place].1 = ModelProcess::Holds {
                        epoch: *epoch,
                        left: world.left,
                        known: *known,
                        doing: *doing,
                    };
                    all.push(world);
                }
                let mut world = self.clone();
                match *doing {
                    Doing::Nothing if self.values < VALUES => {
                        world.values += 1;
                        let value = world.values;
                        world.processes[place].1 = held(Doing::Awaits(value));
                        let (epoch, after) = (*epoch, *known);
                        world.send(Statement::Append {
                            by: number,
                            epoch,
                            after,
                            value,
                        });
                    }
                    Doing::Awaits(value) => world.processes[place].1 = held(Doing::Regains(value)),
                    Doing::Regains(_) if !self.wire.contains(&Statement::Regain { by: number }) => {
                        world.send(Statement::Regain { by: number });
                    }
                    _ => return,
                }
                all.push(world);
            }
            _ => {}
        }
    }

    /// Executes a statement in the database. Returns whether it changed anything.
    fn execute(&mut self, statement: &Statement, rules: ModelRules) -> bool {
        match *statement {
            Statement::Append {
                epoch,
                after,
                value,
                ..
            } => {
                let fits = (!rules.epoch || epoch == self.epoch)
                    && (!rules.link || after == self.len())
                    && (!rules.lease || self.holds());
                if fits {
                    self.log.push(value);
                }
                fits
            }
            Statement::Regain { by } => {
                let fits = by == self.holder && self.holds() && self.epoch < EPOCHS;
                self.epoch += u8::from(fits);
                fits
            }
        }
    }

    /// The process handles the answer, if it still waits for it.
    fn deliver(&mut self, statement: &Statement, changed: bool) {
        let (Statement::Append { by, .. } | Statement::Regain { by }) = *statement;
        let Some(place) = (0..2).find(|place| self.processes[*place].0 == by) else {
            return;
        };
        let ModelProcess::Holds {
            epoch,
            left,
            known,
            doing,
        } = self.processes[place].1.clone()
        else {
            return;
        };
        let mut process = |next_epoch, next_known, next_doing| {
            self.processes[place].1 = ModelProcess::Holds {
                epoch: next_epoch,
                left,
                known: next_known,
                doing: next_doing,
            };
        };
        match (statement, doing) {
            (
                Statement::Append {
                    value, epoch: of, ..
                },
                Doing::Awaits(awaited),
            ) if *value == awaited && *of == epoch => {
                if changed {
                    process(epoch, known + 1, Doing::Nothing);
                    self.acknowledged.push(awaited);
                } else {
                    process(epoch, known, Doing::Regains(awaited));
                }
            }
            (Statement::Regain { .. }, Doing::Regains(value)) => {
                let found = self.len();
                if !changed {
                    self.processes[place].1 = ModelProcess::Ended;
                } else if found == known + 1 && self.log.last() == Some(&value) {
                    self.acknowledged.push(value);
                    let granted_epoch = self.epoch;
                    self.processes[place].1 = ModelProcess::Holds {
                        epoch: granted_epoch,
                        left,
                        known: found,
                        doing: Doing::Nothing,
                    };
                } else if found == known {
                    let granted_epoch = self.epoch;
                    self.processes[place].1 = ModelProcess::Holds {
                        epoch: granted_epoch,
                        left,
                        known,
                        doing: Doing::Awaits(value),
                    };
                    self.send(Statement::Append {
                        by,
                        epoch: granted_epoch,
                        after: known,
                        value,
                    });
                } else {
                    self.processes[place].1 = ModelProcess::Ended;
                }
            }
            _ => {}
        }
    }

    /// The invariants; returns the one that is violated.
    fn wrong(&self, before: &Self) -> Option<&'static str> {
        let mut seen = self.log.clone();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() != self.log.len() {
            return Some("something was written twice");
        }
        if !self.log.starts_with(&before.log) {
            return Some("something that was written is gone");
        }
        if self
            .acknowledged
            .iter()
            .any(|value| !self.log.contains(value))
        {
            return Some("something that was acknowledged is not there");
        }
        let acts = |(_, process): &&(u8, ModelProcess)| {
            matches!(process, ModelProcess::Holds { left: 1.., .. })
        };
        if self.processes.iter().filter(acts).count() > 1 {
            return Some("two processes act");
        }
        None
    }

    /// Whether a statement that just wrote was from a process without the lease.
    fn of_another(&self, before: &Self) -> bool {
        if self.log.len() == before.log.len() {
            return false;
        }
        let value = self.log.last();
        let by = before.wire.iter().find_map(|statement| match statement {
            Statement::Append { by, value: of, .. } if Some(of) == value => Some(*by),
            _ => None,
        });
        by != Some(before.holder) || !before.holds()
    }
}

/// Explores all reachable states. Returns the first violation, or the number of states.
fn explore(rules: ModelRules) -> Result<usize, &'static str> {
    let first = ModelWorld::new();
    let mut known = HashMap::from([(first.clone(), 0)]);
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut hopeful = Vec::new();
    let mut todo = VecDeque::from([(first, 0)]);
    while let Some((world, number)) = todo.pop_front() {
        for next in world.next(rules) {
            if let Some(wrong) = next.wrong(&world) {
                return Err(wrong);
            }
            if next.of_another(&world) {
                return Err("a process without the right wrote");
            }
            let fresh = before.len();
            let place = *known.entry(next.clone()).or_insert(fresh);
            if place == fresh {
                before.push(Vec::new());
                // A process wrote, or the model's bounds are reached.
                let all = next.values == VALUES || next.started == STARTS || next.epoch == EPOCHS;
                if all || next.acknowledged.len() > world.acknowledged.len() {
                    hopeful.push(fresh);
                }
                todo.push_back((next, fresh));
            }
            before[place].push(number);
        }
    }
    // From every state there is a path to a process that writes.
    let mut reached = vec![false; before.len()];
    while let Some(place) = hopeful.pop() {
        if !std::mem::replace(&mut reached[place], true) {
            hopeful.extend(&before[place]);
        }
    }
    if reached.iter().all(|reached| *reached) {
        Ok(before.len())
    } else {
        Err("nobody gets to write any more")
    }
}

#[test]
fn one_writer_in_every_order() {
    let worlds = explore(ALL).unwrap();
    assert!(worlds > 10_000, "{worlds}");
}

#[test]
fn without_an_epoch_a_process_that_wakes_writes() {
    let rules = ModelRules {
        epoch: false,
        ..ALL
    };
    assert!(explore(rules).is_err());
}

#[test]
fn without_a_lease_in_the_statement_one_writes_after_its_end() {
    let rules = ModelRules {
        lease: false,
        ..ALL
    };
    assert!(explore(rules).is_err());
}

#[test]
fn without_epoch_and_link_something_is_written_twice() {
    let rules = ModelRules {
        epoch: false,
        link: false,
        ..ALL
    };
    assert!(explore(rules).is_err());
}
