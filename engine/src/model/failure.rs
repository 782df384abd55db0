//! What can go wrong in a step, and what then happens.

use serde::{Deserialize, Serialize};

use super::text::{Name, Text};

/// What the engine does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// Passes by itself (unreachable, time-out, 5xx): tried again with a growing delay, no end.
    Transient,
    /// Somebody else may remove the cause (pool full, network missing): looked at every 5 minutes.
    Recheck,
    /// Stays until the input changes or somebody says `retry` (authentication, contract).
    Blocked,
    /// The thing itself failed (a guest's boot): the run ends.
    Failed,
}

/// A failure as history keeps it and people read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// What the engine does about it.
    pub class: FailureClass,
    /// The documented code, `VSI0001` and so on.
    pub code: Name,
    /// What happened.
    pub message: Text,
    /// The host it happened on; empty where none is involved.
    pub host: Text,
    /// The object it happened to; empty where none is involved.
    pub object: Text,
    /// What the user can do.
    pub remedy: Text,
}

impl Failure {
    /// A failure without host, object and remedy yet.
    pub fn new(class: FailureClass, code: &str, message: impl AsRef<str>) -> Self {
        Self {
            class,
            code: Name::of(code),
            message: Text::new(message),
            host: Text::default(),
            object: Text::default(),
            remedy: Text::default(),
        }
    }

    /// What should never happen: a defect of vsiflow itself.
    pub fn defect(message: impl AsRef<str>) -> Self {
        Self::new(FailureClass::Blocked, "VSI0001", message)
            .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`")
    }

    /// The same failure, naming the host.
    pub fn on_host(mut self, host: impl AsRef<str>) -> Self {
        self.host = Text::new(host);
        self
    }

    /// The same failure, naming the object.
    pub fn of_object(mut self, object: impl AsRef<str>) -> Self {
        self.object = Text::new(object);
        self
    }

    /// The same failure, saying what the user can do.
    pub fn with_remedy(mut self, remedy: impl AsRef<str>) -> Self {
        self.remedy = Text::new(remedy);
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.object.is_empty() {
            write!(f, " ({})", self.object)?;
        }
        if !self.host.is_empty() {
            write!(f, " [host {}]", self.host)?;
        }
        Ok(())
    }
}
