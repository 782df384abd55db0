//! Measures durable events per second of the journal alone.

use std::{path::Path, sync::Arc, time::Instant};

use vsiflow_engine::journal::{Append, DiskJournal, Journal as _};

use crate::{
    Answer, TIME,
    sample::{self, STEPS},
};

/// Events per stream, as many as the stream of a run typically has.
const PER_STREAM: u64 = 30;

/// Appends single events to one stream after another until `until`; returns how many.
async fn appender(journal: Arc<DiskJournal>, mut number: u64, until: Instant) -> Answer<u32> {
    let mut count = 0;
    while Instant::now() < until {
        for seq in 0..PER_STREAM {
            let append = Append {
                stream: sample::stream(number),
                expected_seq: seq,
                events: vec![sample::succeeded(STEPS[4], 1)],
            };
            journal.append(vec![append]).await?;
            count += 1;
        }
        number += 1;
    }
    Ok(count)
}

/// Appends per second when `tasks` tasks append at the same time to a new journal.
pub(crate) async fn rate(dir: &Path, tasks: usize) -> Answer<f64> {
    let journal = Arc::new(DiskJournal::open(dir.join(format!("appends-{tasks}")), "bench").await?);
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks as u64)
        .map(|task| tokio::spawn(appender(journal.clone(), task << 24, start + TIME)))
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    journal.close().await;
    Ok(rate)
}
