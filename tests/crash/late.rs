//! Hosts that answer each call late.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use vsiflow_steps::ports::PortResult;

use super::ports::{CallPath, PortCall};

/// How late each host answers. A host that is not named answers immediately.
#[derive(Default)]
pub struct LateAnswers {
    late: Mutex<BTreeMap<String, Duration>>,
    /// Held while a host is asked, as a deliberate defect.
    one_turn: tokio::sync::Mutex<()>,
    has_one_turn: AtomicBool,
}

impl LateAnswers {
    pub fn set(&self, host: &str, late: Duration) {
        self.late.lock().unwrap().insert(host.to_owned(), late);
    }

    /// From now on all hosts are asked one after another.
    pub fn ask_one_at_a_time(&self) {
        self.has_one_turn.store(true, Ordering::Relaxed);
    }
}

impl CallPath for LateAnswers {
    async fn go<T: Send + 'static>(
        &self,
        call: PortCall,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        let _turn = if self.has_one_turn.load(Ordering::Relaxed) {
            Some(self.one_turn.lock().await)
        } else {
            None
        };
        let late = self.late.lock().unwrap().get(&call.host).copied();
        if let Some(late) = late {
            tokio::time::sleep(late).await;
        }
        work.await
    }
}
