//! The gate that all calls of a simulated process pass, and at which it dies: at a numbered call, and at a
//! moment of that call.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex},
};

use futures::FutureExt as _;
use tokio::sync::Notify;

/// The moment of a call at which the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashMoment {
    /// The call is not sent.
    Before,
    /// The call was sent: it takes effect while the next process already starts.
    Written,
    /// The call took effect, and its answer is lost.
    After,
}

/// Whether a call has an effect that outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The call changes something on a host: once sent, it takes effect.
    Effect,
    /// The call only reads, or ends immediately.
    Plain,
}

/// The call and the moment at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The number of the call in this process, from 0.
    pub call: usize,
    /// The moment of the call.
    pub moment: CrashMoment,
}

/// The gate that all calls of one process pass.
#[derive(Default)]
pub struct CrashGate {
    state: Mutex<GateState>,
    died: Notify,
}

#[derive(Default)]
struct GateState {
    calls: usize,
    crash: Option<Crash>,
    dead: bool,
    at: Option<String>,
    list: Option<Vec<(String, CallKind)>>,
}

impl CrashGate {
    /// What a process comes to that passes this gate; `None` if it died before. Afterwards it makes no call.
    pub async fn outlived<T>(&self, process: impl Future<Output = T>) -> Option<T> {
        let ended = tokio::select! {
            biased;
            () = self.died() => None,
            ended = Box::pin(process) => Some(ended),
        };
        if ended.is_some() {
            self.die();
        }
        ended
    }

    /// A gate without a crash, until [`Self::die_in`] sets one.
    pub fn safe() -> Arc<Self> {
        Arc::default()
    }

    /// A gate that records every call.
    pub fn listing() -> Arc<Self> {
        let gate = Self::default();
        gate.state.lock().unwrap().list = Some(Vec::new());
        Arc::new(gate)
    }

    /// A gate with this crash.
    pub fn deadly(crash: Crash) -> Arc<Self> {
        let gate = Self::default();
        gate.state.lock().unwrap().crash = Some(crash);
        Arc::new(gate)
    }

    /// Lets the process die at the call that is this many calls ahead.
    pub fn die_in(&self, calls: usize, moment: CrashMoment) {
        let mut state = self.state.lock().unwrap();
        let call = state.calls + calls;
        state.crash = Some(Crash { call, moment });
    }

    /// The process dies immediately, whatever it does.
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

    /// The calls that passed a [`Self::listing`] gate.
    pub fn list(&self) -> Vec<(String, CallKind)> {
        self.state.lock().unwrap().list.clone().unwrap_or_default()
    }

    /// The call at which the process died.
    pub fn died_at(&self) -> Option<String> {
        self.state.lock().unwrap().at.clone()
    }

    /// Numbers a call. Returns the moment at which to die, if this is the call; `None` if the process died.
    fn enter(&self, name: impl FnOnce() -> String, kind: CallKind) -> Option<Option<CrashMoment>> {
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

    /// Lets a call pass. A call with an effect runs as its own task, as on a connection: it is carried out
    /// even if its caller is dead.
    pub async fn pass<T: Send + 'static>(
        &self,
        name: impl FnOnce() -> String,
        kind: CallKind,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let Some(moment) = self.enter(name, kind) else {
            return pending().await;
        };
        if moment == Some(CrashMoment::Before) {
            return self.dies().await;
        }
        let work = match kind {
            CallKind::Plain => work.boxed(),
            CallKind::Effect => {
                let sent = tokio::spawn(work);
                async { sent.await.expect("a simulated call does not panic") }.boxed()
            }
        };
        if moment == Some(CrashMoment::Written) {
            // A plain call has not been carried out here, as with `Before`.
            return self.dies().await;
        }
        let answer = work.await;
        if moment == Some(CrashMoment::After) {
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
