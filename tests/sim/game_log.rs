//! Prints the log of a game, to debug one that failed.

use vsiflow_engine::journal::Record;

use crate::world::{CrashWorld, HOSTS};

/// The longest line, in characters.
const WIDTH: usize = 400;
/// How many calls of each host are printed, the newest.
const CALLS: usize = 200;

/// Prints every event, and the newest calls that each host received.
pub async fn print_game(world: &CrashWorld) {
    let records = world.audit.ledger().records.clone();
    records.iter().for_each(print);
    for host in HOSTS {
        let calls = world.hosts.sim(host).await.unwrap().calls().await;
        let older = calls.len().saturating_sub(CALLS);
        for call in &calls[older..] {
            println!("{host} {} {}", call.name, call.object);
        }
    }
}

fn print(record: &Record) {
    let line = format!(
        "{:>5} {} {} {:?}",
        record.offset, record.event.at.0, record.stream, record.event.kind
    );
    println!("{}", line.chars().take(WIDTH).collect::<String>());
}
