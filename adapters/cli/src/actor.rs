//! Who runs the command.

use std::future::Future;

use vsiflow_engine::{
    executor::By,
    model::{Actor, Text, Who},
};

tokio::task_local! {
    static CALLER: u32;
}

/// Does some work for another user, as the kernel told who that is.
pub(crate) async fn for_caller<T>(uid: u32, work: impl Future<Output = T>) -> T {
    CALLER.scope(uid, work).await
}

/// The Unix user, and the reason given on the command line.
pub(crate) fn by(reason: &str) -> By {
    let own = rustix::process::getuid().as_raw();
    let uid = CALLER.try_with(|uid| *uid).unwrap_or(own);
    By {
        actor: of(uid),
        reason: Text::new(reason),
    }
}

/// A Unix user.
pub(crate) fn of(uid: u32) -> Actor {
    // The environment is this process's.
    let own = rustix::process::getuid().as_raw();
    let environment = || std::env::var("USER").ok().filter(|_| uid == own);
    let name = name_of(uid).or_else(environment).unwrap_or_default();
    Actor::Unix {
        uid,
        name: Who::new(name),
    }
}

/// The user's name in `/etc/passwd`; names from other sources are not asked for.
fn name_of(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
