//! Measures a take-over: kills a process with many open runs, and times its successor's first append.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    Answer, OPEN,
    engine::{Steps, open},
};

/// The argument of the process that is killed.
pub(crate) const ARGUMENT: &str = "--hold";
/// What that process prints once its runs are open.
const OPENED: &str = "opened";
/// How many entities it submits at the same time.
const BATCH: usize = 100;

/// Opens [`OPEN`] runs, prints [`OPENED`] and waits to be killed.
pub(crate) async fn hold(url: &str) -> Answer<()> {
    let open = open(url, Steps::Stay).await?;
    for first in (0..OPEN).step_by(BATCH) {
        let submits = (first..OPEN.min(first.saturating_add(BATCH)))
            .map(|number| format!("open-{number}"))
            .collect::<Vec<_>>();
        futures::future::try_join_all(submits.iter().map(|name| open.submit(name))).await?;
    }
    println!("{OPENED}");
    std::future::pending().await
}

/// Seconds from the kill of one process to the first acknowledged append of its successor.
pub(crate) async fn measure(url: &str) -> Answer<f64> {
    let mut dying = Command::new(std::env::current_exe()?)
        .args([ARGUMENT, url])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = dying.stdout.take().ok_or("it has no output")?;
    let mut line = String::new();
    let read = BufReader::new(output).read_line(&mut line);
    let killed = dying.kill();
    let began = Instant::now();
    dying.wait()?;
    read?;
    killed?;
    if line.trim() != OPENED {
        return Err("the process that was to die did not open its runs".into());
    }
    let open = open(url, Steps::Stay).await?;
    open.submit("first-of-the-successor").await?;
    let took = began.elapsed().as_secs_f64();
    open.close().await;
    Ok(took)
}
