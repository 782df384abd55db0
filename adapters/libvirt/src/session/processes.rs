//! Commands that run as long as uploads. If sshd permits too few channels, they end for other commands, and
//! no new ones are started.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::connect_error::ConnectError;
use crate::ssh::{ExecError, ExecOutput, SshInput, SshProcess};

/// How often a command retries for the channel of one that ends, and the pause between. That one first
/// finishes its current read.
const RETRIES: u32 = 40;
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Limits how many such commands run.
#[derive(Debug)]
pub(super) struct Processes {
    places: Arc<Semaphore>,
    count: usize,
    gave_way: CancellationToken,
}

/// The permit for one such command.
pub(super) struct SocketPlace {
    permit: OwnedSemaphorePermit,
    gives_way: CancellationToken,
}

/// A command that runs as long as an upload. When this is dropped, the command reads the end of its input.
pub struct HostProcess {
    process: SshProcess,
    place: SocketPlace,
}

impl Processes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count)),
            count,
            gave_way: CancellationToken::new(),
        }
    }

    /// A permit, if one is free and none had to end before.
    pub(super) fn place(&self) -> Option<SocketPlace> {
        if self.gave_way.is_cancelled() {
            return None;
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let gives_way = self.gave_way.clone();
        Some(SocketPlace { permit, gives_way })
    }

    /// Runs a command. If it gets no channel, the commands beside uploads end for it.
    pub(super) async fn make_room_for<F>(
        &self,
        run: impl Fn() -> F,
    ) -> Result<ExecOutput, ExecError>
    where
        F: Future<Output = Result<ExecOutput, ExecError>>,
    {
        let mut outcome = run().await;
        if !is_refused(&outcome) || self.places.available_permits() == self.count {
            return outcome;
        }
        self.gave_way.cancel();
        for _ in 0..RETRIES {
            tokio::time::sleep(RETRY_DELAY).await;
            outcome = run().await;
            if !is_refused(&outcome) {
                break;
            }
        }
        outcome
    }
}

fn is_refused(outcome: &Result<ExecOutput, ExecError>) -> bool {
    matches!(
        outcome,
        Err(ExecError::Connect(ConnectError::ChannelRefused { .. }))
    )
}

impl SocketPlace {
    pub(super) fn hold(self, process: SshProcess) -> HostProcess {
        let place = self;
        HostProcess { process, place }
    }
}

impl HostProcess {
    /// Like [`SshProcess::input`].
    pub fn input(&self) -> SshInput {
        self.process.input()
    }

    /// Like [`SshProcess::write_line`].
    ///
    /// # Errors
    /// As for [`SshProcess::write_line`].
    pub async fn write_line(&self, line: &str) -> Result<(), ExecError> {
        self.process.write_line(line).await
    }

    /// Like [`SshProcess::read_line`]; also `None` if it has to end for another command.
    pub async fn read_line(&mut self) -> Option<String> {
        tokio::select! {
            line = self.process.read_line() => line,
            () = self.place.gives_way.cancelled() => None,
        }
    }

    /// Whether it has to end because another command needs its channel.
    pub fn gives_way(&self) -> bool {
        self.place.gives_way.is_cancelled()
    }

    /// Why it ended, from its standard error.
    #[must_use]
    pub fn last_words(&self) -> String {
        if self.place.gives_way.is_cancelled() {
            return "another command needed its place".to_owned();
        }
        let _held = &self.place.permit;
        let errors = self.process.errors();
        if errors.is_empty() {
            "it ended without a word".to_owned()
        } else {
            errors
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn refused() -> Result<ExecOutput, ExecError> {
        Err(ExecError::Connect(ConnectError::ChannelRefused {
            host: "h".to_owned(),
            path: "a command".to_owned(),
            message: "open failed".to_owned(),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_finds_no_place_gets_that_of_one_beside_an_upload() {
        let processes = Processes::new(2);
        let (calls, beside) = (AtomicU32::new(0), processes.place());
        let gives_way = beside.as_ref().map(|place| place.gives_way.clone());
        let run = || async {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0..3 => refused(),
                _ => Ok(ExecOutput::default()),
            }
        };
        assert!(processes.make_room_for(run).await.is_ok());
        assert!(gives_way.is_some_and(|token| token.is_cancelled()));
        drop(beside);
        assert!(processes.place().is_none(), "it happens again and again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_nobody_beside_an_upload_causes_stays_one() {
        let processes = Processes::new(2);
        let calls = AtomicU32::new(0);
        let run = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            refused()
        };
        assert!(is_refused(&processes.make_room_for(run).await));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(processes.place().is_some());
    }
}
