//! Where an incarnation of vsiflow dies: numbered calls, and a moment at each of them.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex},
};

use futures::FutureExt as _;
use tokio::sync::Notify;

/// When, at a call, the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The call is not sent.
    Before,
    /// The call was written: it has its effect while the next process starts already.
    Written,
    /// The call had its effect, and its answer is not seen.
    After,
}

/// What a call is to the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It changes something on a host: once written it has its effect.
    Effect,
    /// It only looks, or is over at once.
    Plain,
}

/// The place at which an incarnation dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The call's number in this incarnation, from 0.
    pub call: usize,
    /// The moment at it.
    pub moment: Moment,
}

/// What an incarnation's calls go through.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    died: Notify,
}

#[derive(Default)]
struct State {
    calls: usize,
    crash: Option<Crash>,
    dead: bool,
    at: Option<String>,
    list: Option<Vec<(String, Kind)>>,
}

impl Gate {
    /// A gate that nobody dies at, unless it is told to later.
    pub fn safe() -> Arc<Self> {
        Arc::default()
    }

    /// A gate that remembers every call.
    pub fn listing() -> Arc<Self> {
        let gate = Self::default();
        gate.state.lock().unwrap().list = Some(Vec::new());
        Arc::new(gate)
    }

    /// A gate to die at.
    pub fn deadly(crash: Crash) -> Arc<Self> {
        let gate = Self::default();
        gate.state.lock().unwrap().crash = Some(crash);
        Arc::new(gate)
    }

    /// From now on, dies at the call that many calls ahead.
    pub fn die_in(&self, calls: usize, moment: Moment) {
        let mut state = self.state.lock().unwrap();
        let call = state.calls + calls;
        state.crash = Some(Crash { call, moment });
    }

    /// The process dies at once, wherever it is.
    pub fn die(&self) {
        self.state.lock().unwrap().dead = true;
        self.died.notify_one();
    }

    /// Waits for the end of the process.
    pub async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    pub fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    /// The calls that came through a listing gate.
    pub fn list(&self) -> Vec<(String, Kind)> {
        self.state.lock().unwrap().list.clone().unwrap_or_default()
    }

    /// The call at which the process died.
    pub fn died_at(&self) -> Option<String> {
        self.state.lock().unwrap().at.clone()
    }

    /// Numbers a call; the moment to die at it, if it is the one. `None` when nobody lives.
    fn enter(&self, name: impl FnOnce() -> String, kind: Kind) -> Option<Option<Moment>> {
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return None;
        }
        let number = state.calls;
        state.calls += 1;
        let moment = state
            .crash
            .filter(|crash| crash.call == number)
            .map(|crash| crash.moment);
        if state.list.is_some() || moment.is_some() {
            let name = name();
            if moment.is_some() {
                state.at = Some(name.clone());
            }
            state
                .list
                .iter_mut()
                .for_each(|list| list.push((name.clone(), kind)));
        }
        Some(moment)
    }

    /// Lets a call through. Of one that changes something the connection's own task takes care:
    /// it is carried out even when nobody waits for it any more.
    pub async fn pass<T: Send + 'static>(
        &self,
        name: impl FnOnce() -> String,
        kind: Kind,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let Some(moment) = self.enter(name, kind) else {
            return pending().await;
        };
        if moment == Some(Moment::Before) {
            return self.dies().await;
        }
        let work = match kind {
            Kind::Plain => work.boxed(),
            Kind::Effect => {
                let sent = tokio::spawn(work);
                async { sent.await.expect("a simulated call does not panic") }.boxed()
            }
        };
        if moment == Some(Moment::Written) {
            // A plain call that is cut off here was not carried out: like `Before`.
            return self.dies().await;
        }
        let answer = work.await;
        if moment == Some(Moment::After) {
            return self.dies().await;
        }
        if self.is_dead() {
            return pending().await;
        }
        answer
    }

    async fn dies<T>(&self) -> T {
        self.die();
        pending().await
    }
}
