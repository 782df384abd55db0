//! The actor of a command: the user who runs it.

use std::future::Future;

use vsiflow_api::Caller;
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text, Who},
};

tokio::task_local! {
    static CALLER: Caller;
}

/// Runs `work` on behalf of a caller.
pub(crate) async fn for_caller<T>(caller: Caller, work: impl Future<Output = T>) -> T {
    CALLER.scope(caller, work).await
}

/// The caller whose command runs here; `None` if it is this process's own.
pub(crate) fn caller() -> Option<Caller> {
    CALLER.try_with(Caller::clone).ok()
}

/// The actor, and the reason given on the command line.
pub(crate) fn by(reason: &str) -> By {
    let own = || of(rustix::process::getuid().as_raw());
    By {
        actor: caller().map_or_else(own, |caller| caller.actor),
        reason: Text::new(reason),
    }
}

/// A Unix user.
pub(crate) fn of(uid: u32) -> Actor {
    // The environment describes this process's user only.
    let own = rustix::process::getuid().as_raw();
    let environment = || std::env::var("USER").ok().filter(|_| uid == own);
    let name = name_of(uid).or_else(environment).unwrap_or_default();
    Actor::Unix {
        uid,
        name: Who::new(name),
    }
}

/// The user's name in `/etc/passwd`; other name services are not queried.
fn name_of(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
