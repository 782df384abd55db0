//! A VSI's serial console or screen, both ways.
//!
//! Who opens one is recorded before the host is asked, and that it is closed afterwards: a crash in
//! between leaves a console recorded as open that is not, never one that nobody knows of. What is
//! typed there and what the guest answers is not recorded.

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

/// How much of what was said before is shown first, in bytes.
const SAID: u64 = 16 * 1024;

/// By what somebody sits before a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleWay {
    /// Its serial console.
    Serial,
    /// Its screen, by VNC.
    Vnc,
}

impl ConsoleWay {
    /// Its name in commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serial => "console",
            Self::Vnc => "vnc",
        }
    }

    /// What is recorded of one that is about to be opened.
    fn opened(self) -> &'static str {
        match self {
            Self::Serial => "console_opened",
            Self::Vnc => "vnc_opened",
        }
    }

    /// What is recorded of one that is closed, or could not be opened.
    fn closed(self) -> &'static str {
        match self {
            Self::Serial => "console_closed",
            Self::Vnc => "vnc_closed",
        }
    }
}

/// What is recorded of a console: that it is about to be opened, or that it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleNote {
    vsi: Uuid,
    way: ConsoleWay,
    is_open: bool,
    /// That it is opened by force, or why it is closed.
    detail: String,
}

/// The way to a VSI's console. It needs the fleet no more once it is had, so that an open console
/// keeps nobody from the state directory.
pub struct ConsoleAccess {
    way: ConsoleWay,
    log: ConsoleLog,
    uuid: Uuid,
    label: String,
    /// Whether its document asks for a screen.
    has_screen: bool,
    /// Who has it open, as far as this journal knows.
    holder: Option<Actor>,
}

/// An open console. Dropped, it is closed.
pub struct OpenConsole {
    console: Box<dyn GuestConsole>,
    output: Bytes,
}

impl VsiHandle<'_> {
    /// The way to a VSI's console. Its host is not asked yet.
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

    /// Records something of a console. One that is about to be opened is not to be opened where that fails.
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

    /// Records that the console of this VSI that somebody had open is closed, since what they had it open by was
    /// killed.
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

    /// What is recorded before it is opened.
    pub fn opened(&self, force: bool) -> ConsoleNote {
        let detail = if force { "by force" } else { "" };
        self.note(true, detail)
    }

    /// What is recorded once it is closed, and why where it was not they who left.
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

    /// Opens the console; with `force` whoever has it open loses it.
    ///
    /// # Errors
    /// `VSI0711` where somebody has it open, `VSI0741` to `VSI0743` where there is no screen; what
    /// the host says otherwise.
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
        // Read once it is open, so that nothing is missed between the two.
        let output = self.recent_output().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "what the guest said before cannot be read");
            Bytes::new()
        });
        Ok(OpenConsole { console, output })
    }

    /// The end of what the guest said so far, from the beginning of a line.
    async fn recent_output(&self) -> Result<Bytes, FleetError> {
        let end = self.log.end().await?;
        let from = end.offset.saturating_sub(SAID);
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
            None => "somebody has the console open, not by this state directory".to_owned(),
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
    /// Shows what was said before, and then carries bytes both ways until one side ends: the
    /// guest's, or the caller's by dropping `keys` or `shown`.
    ///
    /// # Errors
    /// What the host has against it; the console is closed then, too.
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

/// Who opened the console last and has not left it.
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
