//! Failures of steps, and how the engine reacts to each class of them.

use serde::{Deserialize, Serialize};

use super::text::{Name, Text};

/// How the engine reacts to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// Disappears without action (unreachable, time-out, 5xx): tried again with a growing delay,
    /// without limit.
    Transient,
    /// Others may remove the cause (pool full, network missing): tried again every 5 minutes.
    Recheck,
    /// Remains until the input changes or a user runs `retry` (authentication, contract).
    Blocked,
    /// The object itself failed (a guest's boot): the run ends.
    Failed,
}

/// A failure as the history stores it and users read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// How the engine reacts to it.
    pub class: FailureClass,
    /// The documented code, `VSI0001` and so on.
    pub code: Name,
    /// What happened.
    pub message: Text,
    /// The host on which it happened; empty if none is involved.
    pub host: Text,
    /// The object that it concerns; empty if none is involved.
    pub object: Text,
    /// What the user can do.
    pub remedy: Text,
}

impl Failure {
    /// A failure without host, object and remedy.
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

    /// A failure that should never happen: a defect of vsiflow itself.
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

    /// The same failure, with a remedy for the user.
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
