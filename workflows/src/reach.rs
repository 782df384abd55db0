//! Which hosts are out of reach, and which take nothing new.
//!
//! The engine marks a host that does not answer, and probes it ([`Lanes`]). As long as it is marked
//! every call that would go there fails at once with what is known, so that nothing waits for
//! time-outs of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use async_trait::async_trait;
use vsiflow_engine::{
    Engine,
    executor::By,
    lane::Lanes,
    model::{Actor, Failure, FailureClass, Name, Precedence, Text},
    workflow::Wish,
};
use vsiflow_steps::{
    error,
    ports::{HostPorts, Hosts, PortError, PortErrorKind, PortResult},
};

use crate::wanted::{WantedMachine, kind, machine_entity};

/// The hosts, as far as they are in reach.
pub(crate) struct Reach {
    hosts: Arc<dyn Hosts>,
    marks: RwLock<Marks>,
    /// Where it is recorded which machines the hosts are; nowhere where everything is only looked at.
    book: OnceLock<Engine>,
}

#[derive(Default)]
struct Marks {
    down: BTreeMap<String, PortError>,
    looks: BTreeMap<String, Option<String>>,
    cordoned: BTreeMap<String, String>,
    machines: BTreeMap<String, String>,
}

impl Reach {
    pub(crate) fn new(hosts: Arc<dyn Hosts>) -> Arc<Self> {
        let marks = RwLock::default();
        let book = OnceLock::new();
        Arc::new(Self { hosts, marks, book })
    }

    /// From now on machines that are seen first are recorded.
    pub(crate) fn keep_book(&self, engine: Engine) {
        let _ = self.book.set(engine);
    }

    /// Remembers which machine a host is.
    pub(crate) fn is_machine(&self, id: &str, machine: &str) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.machines.insert(id.to_owned(), machine.to_owned());
    }

    /// Records which machine a host is; nothing is done there before that is durable.
    pub(crate) async fn record(&self, id: &str, machine: &str, by: By) -> Result<(), Failure> {
        if let Some(engine) = self.book.get() {
            let wanted = WantedMachine {
                host: id.to_owned(),
                machine: machine.to_owned(),
            };
            let defect = |error: &dyn std::fmt::Display| Failure::defect(error.to_string());
            let wish = Wish {
                entity: machine_entity(id).map_err(|error| defect(&error))?,
                workflow: Name::of(kind::MACHINE),
                precedence: Precedence::Record,
                desired: serde_json::to_vec(&wanted).map_err(|error| defect(&error))?,
                made_from: None,
            };
            engine.desire(vec![wish], by).await.map_err(|error| {
                let message = format!("which machine it is cannot be recorded: {error}");
                error::HOST_ERROR.failure(message).on_host(id)
            })?;
        }
        self.is_machine(id, machine);
        Ok(())
    }

    /// The host's ports, which speak to no other machine than the recorded one. One that is seen
    /// first is recorded.
    async fn pinned(&self, id: &str) -> PortResult<HostPorts> {
        let ports = self.hosts.host(id).await?;
        let recorded = self.read(|marks| marks.machines.get(id).cloned());
        if let Some(machine) = recorded {
            ports.host.pin(Some(&machine));
            return Ok(ports);
        }
        if let Some(machine) = ports.host.machine().await? {
            let by = By {
                actor: Actor::Engine,
                reason: Text::new("the host was seen for the first time"),
            };
            let recorded = self.record(id, &machine, by).await;
            recorded.map_err(|failure| {
                PortError::new(PortErrorKind::Other, id, "", failure.message.as_str())
            })?;
            ports.host.pin(Some(&machine));
        }
        Ok(ports)
    }

    /// The ports of a host, whether it is marked or not.
    pub(crate) async fn any_host(&self, id: &str) -> PortResult<HostPorts> {
        self.hosts.host(id).await
    }

    /// What keeps the host out of reach.
    pub(crate) fn down(&self, id: &str) -> Option<PortError> {
        self.read(|marks| marks.down.get(id).cloned())
    }

    /// Remembers how the newest look at a host came out: what kept it from answering.
    pub(crate) fn looked(&self, id: &str, problem: Option<String>) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.looks.insert(id.to_owned(), problem);
    }

    /// Whether the host answered when it was asked last, and what kept it from that; none where it
    /// was not asked yet.
    pub(crate) fn answers(&self, id: &str) -> Option<Result<(), String>> {
        self.read(|marks| match (marks.down.get(id), marks.looks.get(id)) {
            (Some(down), _) => Some(Err(down.message.clone())),
            (None, Some(Some(problem))) => Some(Err(problem.clone())),
            (None, Some(None)) => Some(Ok(())),
            (None, None) => None,
        })
    }

    /// Marks the host as taking nothing new, and why, or as taking it again.
    pub(crate) fn cordon(&self, id: &str, why: Option<&str>) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => marks.cordoned.insert(id.to_owned(), why.to_owned()),
            None => marks.cordoned.remove(id),
        };
    }

    fn read<T>(&self, look: impl FnOnce(&Marks) -> T) -> T {
        look(&self.marks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Hosts for Reach {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        match self.down(id) {
            Some(error) => Err(error),
            None => self.pinned(id).await,
        }
    }

    async fn leave(&self) {
        self.hosts.leave().await;
    }

    fn cordoned(&self, id: &str) -> Option<String> {
        self.read(|marks| marks.cordoned.get(id).cloned())
    }
}

#[async_trait]
impl Lanes for Reach {
    fn is_down(&self, failure: &Failure) -> bool {
        failure.class == FailureClass::Transient && error::is_host_down(failure)
    }

    async fn probe(&self, lane: &Text) -> Result<(), Failure> {
        // Whichever machine it is: that it is another one is for steps to say.
        let ports = self.hosts.host(lane.as_str()).await?;
        ports.host.facts().await?;
        Ok(())
    }

    fn note(&self, lane: &Text, down: Option<&Failure>) {
        let error = down.and_then(error::host_down);
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => marks.down.insert(lane.as_str().to_owned(), error),
            None => marks.down.remove(lane.as_str()),
        };
    }
}
