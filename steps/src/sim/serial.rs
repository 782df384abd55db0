//! The serial console of a simulated guest: it echoes what is typed, asks for a login, and then answers
//! each line with the same line.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::mpsc, time::interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::SimHost;
use crate::ports::{GuestConsole, PortError, PortErrorKind, PortResult};

/// How often to check whether the guest still runs.
const POLL: Duration = Duration::from_millis(100);

/// The open consoles of a host, each with the token that closes it.
pub(super) type OpenConsoles = Arc<Mutex<HashMap<Uuid, CancellationToken>>>;

/// An open console of a guest.
pub(super) struct SerialConsole {
    host: SimHost,
    uuid: Uuid,
    taken_over: CancellationToken,
    open: OpenConsoles,
    guest: LoginGuest,
}

impl SerialConsole {
    /// Opens the console; `force` disconnects another client. `None` if another client has it open.
    pub(super) fn open(host: &SimHost, uuid: Uuid, name: &str, force: bool) -> Option<Self> {
        let consoles = host.consoles.clone();
        let taken_over = CancellationToken::new();
        {
            let mut open_consoles = consoles.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(client) = open_consoles.get(&uuid) {
                if !force {
                    return None;
                }
                client.cancel();
            }
            open_consoles.insert(uuid, taken_over.clone());
        }
        Some(Self {
            host: host.clone(),
            uuid,
            taken_over,
            open: consoles,
            guest: LoginGuest::named(name),
        })
    }

    /// Waits until the guest no longer runs.
    async fn ended(host: SimHost, uuid: Uuid) {
        let mut look = interval(POLL);
        loop {
            look.tick().await;
            if !host.runs(uuid).await {
                return;
            }
        }
    }
}

impl Drop for SerialConsole {
    fn drop(&mut self) {
        // A client that took the console over has its own entry.
        if !self.taken_over.is_cancelled() {
            let mut open_consoles = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open_consoles.remove(&self.uuid);
        }
    }
}

#[async_trait]
impl GuestConsole for SerialConsole {
    async fn carry(
        mut self: Box<Self>,
        mut keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> PortResult<()> {
        let (host, uuid) = (self.host.clone(), self.uuid);
        let mut ended = std::pin::pin!(Self::ended(host, uuid));
        loop {
            let typed = tokio::select! {
                typed = keys.recv() => typed,
                () = shown.closed() => None,
                () = &mut ended => None,
                () = self.taken_over.cancelled() => {
                    let words = "another session took the console over";
                    let object = format!("domain {uuid}");
                    let name = crate::ports::HostPort::name(&self.host);
                    return Err(PortError::new(PortErrorKind::OutcomeUnknown, name, object, words));
                }
            };
            let Some(typed) = typed else {
                return Ok(());
            };
            let answer = self.guest.answer_typed(&typed);
            if !answer.is_empty() && shown.send(answer.into()).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// A guest that accepts any login.
struct LoginGuest {
    hostname: String,
    user: Option<String>,
    line: Vec<u8>,
}

/// Maximum length of a line in bytes.
const LINE_MAX: usize = 4_096;

impl LoginGuest {
    fn named(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            user: None,
            line: Vec::new(),
        }
    }

    /// The guest's output for typed bytes.
    fn answer_typed(&mut self, typed: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        for byte in typed {
            match byte {
                b'\r' | b'\n' => answer.extend(self.answer()),
                byte if self.line.len() < LINE_MAX => {
                    self.line.push(*byte);
                    answer.push(*byte);
                }
                _ => {}
            }
        }
        answer
    }

    fn answer(&mut self) -> Vec<u8> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let answer = match (&self.user, line.trim()) {
            (None, "") => String::new(),
            (None, user) => {
                self.user = Some(user.to_owned());
                format!("Welcome, {user}\r\n")
            }
            (Some(_), "exit") => {
                self.user = None;
                "logout\r\n".to_owned()
            }
            (Some(_), "") => String::new(),
            (Some(_), line) => format!("{line}\r\n"),
        };
        let prompt = match &self.user {
            None => format!("{} login: ", self.hostname),
            Some(user) => format!("{user}@{}$ ", self.hostname),
        };
        format!("\r\n{answer}{prompt}").into_bytes()
    }
}
