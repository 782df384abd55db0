//! The caller of a request, and the caller's rights.

use axum::{extract::Request, middleware::Next, response::Response};
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};

use crate::Problem;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rights {
    /// Only read.
    Look,
    /// Also operate: power, retries, approvals, maintenance, consoles.
    Operate,
    /// Everything that the owner of the state directory may do.
    Everything,
}

/// The caller of a request; an extension of each request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The caller's name in the history.
    pub actor: Actor,
    /// The caller's rights.
    pub rights: Rights,
}

impl Caller {
    /// The caller with a reason.
    pub(crate) fn by(&self, reason: &str) -> By {
        By {
            actor: self.actor.clone(),
            reason: Text::new(reason),
        }
    }

    /// What the caller's turns, places and bytes are counted by.
    pub fn key(&self) -> String {
        format!("{:?}", self.actor)
    }

    /// The problem of a caller without the necessary rights.
    pub(crate) fn refused(&self) -> Problem {
        match self.actor {
            Actor::Token(_) => Problem::not_the_role(),
            _ => Problem::view_only(),
        }
    }
}

/// Middleware: requires [`Rights::Everything`].
pub(crate) async fn may_change(request: Request, next: Next) -> Result<Response, Problem> {
    may(Rights::Everything, request, next).await
}

/// Middleware: requires [`Rights::Operate`].
pub(crate) async fn may_operate(request: Request, next: Next) -> Result<Response, Problem> {
    may(Rights::Operate, request, next).await
}

async fn may(needs: Rights, request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.rights >= needs => Ok(next.run(request).await),
        Some(caller) => Err(caller.refused()),
        None => Err(Problem::view_only()),
    }
}
