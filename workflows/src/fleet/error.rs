//! The errors of the fleet's methods.

use vsiflow_engine::{
    EngineError,
    journal::JournalError,
    model::{Failure, FailureClass, Name, Text},
    secret::SecretError,
};

/// The way in which an error ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetErrorKind {
    /// The command failed.
    Failed,
    /// The named object does not exist.
    NotFound,
    /// A person must first decide or remove something.
    Blocked,
}

/// An error with code, host, object and the user's next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct FleetError {
    /// The way in which this error ends a command.
    pub kind: FleetErrorKind,
    /// What happened.
    pub failure: Box<Failure>,
}

impl FleetError {
    /// The failure of an operation.
    pub fn new(kind: FleetErrorKind, failure: Failure) -> Self {
        Self {
            kind,
            failure: Box::new(failure),
        }
    }

    /// The failure of an operation on an object that does not exist.
    pub fn not_found(what: &str, name: &str) -> Self {
        let failure = Failure::new(
            FailureClass::Blocked,
            "VSI0703",
            format!("{what} {name} is not known here"),
        )
        .of_object(format!("{what}/{name}"))
        .with_remedy(match what {
            "domain" => "`vsiflow host inventory` lists what is on the host",
            "host" => "`vsiflow get host` lists the hosts that this state directory knows",
            "image" => "`vsiflow image list` lists the images that this state directory knows",
            "pool" => "`vsiflow get pools -A` lists the pools of this state directory",
            "group" => "`vsiflow get groups -A` lists the groups of this state directory",
            "snapshot" => "`vsiflow get snapshots -A` lists the snapshots of this state directory",
            "token" => "`vsiflow token list` lists the tokens of this state directory",
            "network" => "`vsiflow get networks -A` lists the networks of this state directory",
            "quota" => "`vsiflow get quotas -A` lists the quotas of this state directory",
            "type" => "`vsiflow get types` lists the types",
            "run" => "`vsiflow get runs` lists the runs of this state directory",
            "disk" => "`vsiflow get disk -A` lists the data disks of this state directory",
            _ => "`vsiflow get -A` lists the VSIs of this state directory",
        });
        Self::new(FleetErrorKind::NotFound, failure)
    }

    pub(crate) fn going(full_name: &str) -> Self {
        Self::going_of("vsi", full_name)
    }

    pub(crate) fn going_of(kind: &str, full_name: &str) -> Self {
        let failure = Failure::new(FailureClass::Blocked, "VSI0702", "it is being deleted")
            .of_object(format!("{kind}/{full_name}"))
            .with_remedy(
                "wait until it is gone (`vsiflow delete --wait`), then apply again; if its deletion was cancelled, \
                 `vsiflow delete --orphan` and `vsiflow adopt` keep it",
            );
        Self::new(FleetErrorKind::Blocked, failure)
    }

    /// The error of what must not happen: a defect of this program.
    pub fn defect(message: impl AsRef<str>) -> Self {
        let failure = Failure::new(FailureClass::Blocked, "VSI0001", message)
            .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`");
        Self::new(FleetErrorKind::Failed, failure)
    }
}

impl From<Failure> for FleetError {
    fn from(failure: Failure) -> Self {
        let kind = match failure.class {
            FailureClass::Blocked | FailureClass::Recheck => FleetErrorKind::Blocked,
            FailureClass::Transient | FailureClass::Failed => FleetErrorKind::Failed,
        };
        Self::new(kind, failure)
    }
}

impl From<JournalError> for FleetError {
    fn from(error: JournalError) -> Self {
        let (code, remedy) = match &error {
            JournalError::Newer { .. } => {
                ("VSI0003", "run the vsiflow that wrote it, or a newer one")
            }
            JournalError::Damaged { .. }
            | JournalError::DamagedRecord(_)
            | JournalError::MissingBlob(_) => (
                "VSI0004",
                "nothing was changed; copy the state directory and restore a backup",
            ),
            JournalError::Conflict { .. } | JournalError::TooLong { .. } => (
                "VSI0001",
                "this is a defect of vsiflow; please report it with `vsiflow history`",
            ),
            JournalError::LeaseLost => (
                "VSI0012",
                "no action is needed: the process that took over continues; start this one again as its standby",
            ),
            JournalError::Storage(_) | JournalError::Closed => (
                "VSI0006",
                "see that the state directory can be written and has room, then start again",
            ),
        };
        let failure = Failure {
            class: FailureClass::Blocked,
            code: Name::of(code),
            message: Text::new(error.to_string()),
            host: Text::default(),
            object: Text::default(),
            remedy: Text::new(remedy),
        };
        Self::new(FleetErrorKind::Failed, failure)
    }
}

impl From<EngineError> for FleetError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Journal(error) => error.into(),
            EngineError::Refused(failure) => failure.into(),
            EngineError::Divergence { .. } => {
                let failure = Failure::new(FailureClass::Blocked, "VSI0004", error.to_string())
                    .with_remedy(
                        "nothing was changed; copy the state directory and restore a backup",
                    );
                Self::new(FleetErrorKind::Failed, failure)
            }
            EngineError::ObservesOnly => {
                let failure = Failure::new(FailureClass::Blocked, "VSI0008", error.to_string())
                    .with_remedy(
                        "make sure that no process works with the original state directory, then \
                         `vsiflow restore --confirm`",
                    );
                Self::new(FleetErrorKind::Blocked, failure)
            }
            EngineError::Ended => {
                let failure = Failure::new(FailureClass::Transient, "VSI0007", error.to_string())
                    .with_remedy("start vsiflow again; acknowledged changes are safe");
                Self::new(FleetErrorKind::Failed, failure)
            }
        }
    }
}

impl From<SecretError> for FleetError {
    fn from(error: SecretError) -> Self {
        let (code, remedy) = match error {
            SecretError::Key(_) => (
                "VSI0835",
                "make a key with `age-keygen -o FILE`, or take the one that secrets were sealed with, and name it with \
                 --journal-key FILE",
            ),
            _ => (
                "VSI0006",
                "see that the state directory can be written and has room, then start again",
            ),
        };
        let failure = Failure::new(FailureClass::Blocked, code, error.to_string());
        Self::new(FleetErrorKind::Failed, failure.with_remedy(remedy))
    }
}
