//! A VSI's serial console or screen, input and output.
//!
//! The journal records who opens a console before the host is asked, and later that it is closed. After a
//! crash in between, a closed console may still be recorded as open, but an open one is never unrecorded.
//! Input and output are not recorded.

mod screen;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    journal::Record,
    model::{Actor, EventKind, Failure, FailureClass, Name, StreamId, Text},
};
use vsiflow_steps::ports::{ConsolePosition, GuestConsole, PortError, PortErrorKind};

use crate::{
    fleet::{ConsoleLog, ErrorKind, FleetError, VsiHandle},
    record::vsi_entity,
};

/// How much earlier console output is shown first, in bytes.
const RECENT_OUTPUT: u64 = 16 * 1024;

/// The kind of console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleWay {
    /// The serial console.
    Serial,
    /// The screen, by VNC.
    Vnc,
}

impl ConsoleWay {
    /// The name of the command that opens it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serial => "console",
            Self::Vnc => "vnc",
        }
    }

    /// The name of the event before a console of this kind is opened.
    fn opened(self) -> &'static str {
        match self {
            Self::Serial => "console_opened",
            Self::Vnc => "vnc_opened",
        }
    }

    /// The name of the event after it is closed or could not be opened.
    fn closed(self) -> &'static str {
        match self {
            Self::Serial => "console_closed",
            Self::Vnc => "vnc_closed",
        }
    }
}

/// A console event to record: it is about to be opened, or it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleNote {
    vsi: Uuid,
    way: ConsoleWay,
    is_open: bool,
    /// That it is opened by force, or the reason why it is closed.
    detail: String,
}

/// Access to a VSI's console. It does not hold the fleet, so an open console does not keep other processes
/// from the state directory.
pub struct ConsoleAccess {
    way: ConsoleWay,
    log: ConsoleLog,
    uuid: Uuid,
    label: String,
    /// Whether the VSI's document asks for a screen.
    has_screen: bool,
    /// The actor that has the console open, as far as this journal knows.
    holder: Option<Actor>,
}

/// An open console. Dropping it closes the console.
pub struct OpenConsole {
    console: Box<dyn GuestConsole>,
    output: Bytes,
}

impl VsiHandle<'_> {
    /// Access to a VSI's console. The host is not contacted yet.
    ///
    /// # Errors
    /// When there is no such VSI, or its host's settings are not known.
    pub async fn console(
        self,
        namespace: &str,
        name: &str,
        way: ConsoleWay,
    ) -> Result<ConsoleAccess, FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        let log = self.fleet.history().console_log(namespace, name).await?;
        let stream = StreamId::Entity(known.entity.clone());
        let holder = holder(&self.fleet.records(&stream).await?);
        Ok(ConsoleAccess {
            way,
            has_screen: !known.record.vsi.machine.graphics.is_none(),
            log,
            uuid: known.record.uid,
            label: format!("vsi/{}", known.record.vsi.full_name()),
            holder,
        })
    }

    /// Records a console event. If recording an opening fails, the console must not be opened.
    ///
    /// # Errors
    /// When this journal has no such VSI, or fails.
    pub async fn note_console(self, note: &ConsoleNote, by: By) -> Result<(), FleetError> {
        let entity = vsi_entity(note.vsi).map_err(|error| FleetError::defect(error.to_string()))?;
        if self.fleet.engine.entity(&entity).is_none() {
            return Err(FleetError::not_found("vsi", &note.vsi.to_string()));
        }
        let what = if note.is_open {
            note.way.opened()
        } else {
            note.way.closed()
        };
        let (what, detail) = (Name::of(what), Text::new(&note.detail));
        Ok(self.fleet.engine.note(entity, what, detail, by).await?)
    }

    /// Records that a VSI's console is closed because the client that had it open was killed.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn note_console_lost(
        self,
        vsi: Uuid,
        way: ConsoleWay,
        by: By,
    ) -> Result<(), FleetError> {
        let entity = vsi_entity(vsi).map_err(|error| FleetError::defect(error.to_string()))?;
        let (what, detail) = (Name::of(way.closed()), Text::new("its client was killed"));
        Ok(self.fleet.engine.note(entity, what, detail, by).await?)
    }
}

impl ConsoleAccess {
    /// The VSI's UID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The event to record before the console is opened.
    pub fn opened(&self, force: bool) -> ConsoleNote {
        let detail = if force { "by force" } else { "" };
        self.note(true, detail)
    }

    /// The event to record once it is closed; `why` says the reason if the user did not leave it.
    pub fn closed(&self, why: &str) -> ConsoleNote {
        self.note(false, why)
    }

    fn note(&self, is_open: bool, detail: &str) -> ConsoleNote {
        ConsoleNote {
            vsi: self.uuid,
            way: self.way,
            is_open,
            detail: detail.to_owned(),
        }
    }

    /// Opens the console; with `force`, another user who has it open loses it.
    ///
    /// # Errors
    /// `VSI0711` if another user has it open, `VSI0741` to `VSI0744` if the screen cannot be opened; any
    /// other error of the host.
    pub async fn open(&self, force: bool) -> Result<OpenConsole, FleetError> {
        match self.way {
            ConsoleWay::Serial => self.open_serial(force).await,
            ConsoleWay::Vnc => self.open_screen().await,
        }
    }

    async fn open_serial(&self, force: bool) -> Result<OpenConsole, FleetError> {
        let domains = &self.log.ports().domains;
        let console = domains.open_console(self.uuid, force).await;
        let console = console.map_err(|error| self.refused(error))?;
        // Read after opening, so that no output between the two is missed.
        let output = self.recent_output().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "what the guest said before cannot be read");
            Bytes::new()
        });
        Ok(OpenConsole { console, output })
    }

    /// The end of the guest's output so far, from the beginning of a line.
    async fn recent_output(&self) -> Result<Bytes, FleetError> {
        let end = self.log.end().await?;
        let from = end.offset.saturating_sub(RECENT_OUTPUT);
        let chunk = self.log.read(ConsolePosition { offset: from }).await?;
        let output = Bytes::from(chunk.bytes);
        let cut = match from {
            0 => None,
            _ => output.iter().position(|byte| *byte == b'\n'),
        };
        Ok(output.slice(cut.map_or(0, |at| at.saturating_add(1))..))
    }

    fn refused(&self, error: PortError) -> FleetError {
        if error.kind != PortErrorKind::Busy {
            return Failure::from(error).into();
        }
        let who = match &self.holder {
            Some(actor) => format!("{actor} has the console open"),
            None => "a user has the console open, not through this state directory".to_owned(),
        };
        let words = format!("{who}: {}", error.message);
        let failure = Failure::new(FailureClass::Blocked, "VSI0711", words)
            .on_host(&error.host)
            .of_object(&self.label)
            .with_remedy("ask them to leave it, or take it over with `--force`");
        FleetError::new(ErrorKind::Blocked, failure)
    }
}

impl OpenConsole {
    /// Sends the earlier output to `shown`, then carries bytes both ways until the guest ends the
    /// connection, or the caller does so by dropping `keys` or `shown`.
    ///
    /// # Errors
    /// An error of the host; the console is closed then, too.
    pub async fn carry(
        self,
        keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> Result<(), FleetError> {
        if !self.output.is_empty() && shown.send(self.output).await.is_err() {
            return Ok(());
        }
        let carried = self.console.carry(keys, shown).await;
        carried.map_err(|error| Failure::from(error).into())
    }
}

/// The actor that opened the console last and has not closed it.
fn holder(records: &[Record]) -> Option<Actor> {
    let mut open: Vec<&Actor> = Vec::new();
    for record in records {
        let EventKind::Noted { what, .. } = &record.event.kind else {
            continue;
        };
        let actor = &record.event.actor;
        match what.as_str() {
            what if what == ConsoleWay::Serial.opened() => open.push(actor),
            what if what == ConsoleWay::Serial.closed() => {
                if let Some(at) = open.iter().rposition(|one| *one == actor) {
                    open.remove(at);
                }
            }
            _ => {}
        }
    }
    open.pop().cloned()
}
