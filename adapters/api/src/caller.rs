//! Who asks, and what they may do.

use axum::{extract::Request, middleware::Next, response::Response};
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};

use crate::Problem;

/// What somebody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rights {
    /// What shows something and does nothing else.
    Look,
    /// That, and what keeps things going: power, retries, approvals, maintenance, consoles.
    Operate,
    /// Everything that its owner may.
    Everything,
}

/// Who asks; an extension of each request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the history names them.
    pub actor: Actor,
    /// What they may ask for.
    pub rights: Rights,
}

impl Caller {
    /// Them, with the reason they give.
    pub(crate) fn by(&self, reason: &str) -> By {
        By {
            actor: self.actor.clone(),
            reason: Text::new(reason),
        }
    }
}

impl Caller {
    /// Why they are refused who may not do something.
    pub(crate) fn refused(&self) -> Problem {
        match self.actor {
            Actor::Token(_) => Problem::not_the_role(),
            _ => Problem::view_only(),
        }
    }
}

/// Lets through who may change anything.
pub(crate) async fn may_change(request: Request, next: Next) -> Result<Response, Problem> {
    may(Rights::Everything, request, next).await
}

/// Lets through who may keep things going.
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
