//! Who asks, and what they may do.

use axum::{extract::Request, middleware::Next, response::Response};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};

use crate::Problem;

/// What somebody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// What shows something and does nothing else.
    Look,
    /// Everything that its owner may.
    Everything,
}

/// Who asks; an extension of each request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the history names them.
    pub actor: Actor,
    /// The Unix user, as the kernel says.
    pub uid: u32,
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

/// Lets nobody through who may only look.
pub(crate) async fn may_change(request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.rights == Rights::Everything => Ok(next.run(request).await),
        _ => Err(Problem::looks_only()),
    }
}
