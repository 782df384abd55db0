//! Measurements at the size of a real fleet, run on request.

use std::time::Instant;

use super::*;

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    line.trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                size(&path)
            } else {
                path.metadata().unwrap().len()
            }
        })
        .sum()
}

#[test]
#[ignore = "prints figures"]
fn figures_of_ten_thousand_entities() {
    let dir = PathBuf::from(std::env::var("VSIFLOW_TEST_INDEX").unwrap());
    let step = std::env::var("STEP").unwrap_or_default();
    let before = status("VmRSS");
    let start = Instant::now();
    let opened = open::to_write(&dir, facts(), WritePermit::always(), pace());
    println!(
        "open: {:?}, {:?} states, {:?}; RSS {} -> {} KiB, peak {}",
        start.elapsed(),
        opened.states.as_ref().map(|states| states.streams.len()),
        opened.rebuilt,
        before,
        status("VmRSS"),
        status("VmHWM"),
    );
    let step_began = Instant::now();
    match step.as_str() {
        "fill" => {
            let rss_before = status("VmRSS");
            let states = fleet(10_000);
            println!(
                "the states alone: RSS {rss_before} -> {} KiB",
                status("VmRSS")
            );
            opened.index.publish(all(&states));
        }
        "update" => {
            let as_of = opened.states.map_or(0, |states| states.as_of) + 1;
            let first = as_of % 9_000;
            opened.index.publish(update(as_of, first..first + 1_000));
        }
        _ => {}
    }
    let published = step_began.elapsed();
    drop(opened.index);
    println!(
        "{step} in {published:?}, closed in {:?}; RSS {} KiB, peak {}; {} KiB on disk",
        step_began.elapsed(),
        status("VmRSS"),
        status("VmHWM"),
        size(&dir) / 1024,
    );
}
