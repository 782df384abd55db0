//! Who runs the command.

use vsiflow_engine::{
    executor::By,
    model::{Actor, Text, Who},
};

/// The Unix user, and the reason given on the command line.
pub(crate) fn by(reason: &str) -> By {
    let uid = rustix::process::getuid().as_raw();
    let name = name_of(uid)
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_default();
    By {
        actor: Actor::Unix {
            uid,
            name: Who::new(name),
        },
        reason: Text::new(reason),
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
