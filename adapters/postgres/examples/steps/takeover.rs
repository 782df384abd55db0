//! The death of a process with many open runs, and how long its successor needs until it appends.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    Answer, OPEN,
    engine::{Steps, open},
};

/// Says that this process is the one that is killed.
pub(crate) const ARGUMENT: &str = "--hold";
/// What it prints once its runs are open.
const OPENED: &str = "opened";
/// What it asks for at once.
const BATCH: usize = 100;

/// Opens many runs, says so, and stays.
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

/// Seconds from the death of one to the first acknowledged append of the next.
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
