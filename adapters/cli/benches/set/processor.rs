//! Processor time of processes and peak memory of this process, read from `/proc`.

use std::fs;

use crate::Answer;

/// Clock ticks per second in `/proc` (`USER_HZ`), which is 100 on all supported machines.
const TICKS: f64 = 100.0;

/// The fields of `/proc/PID/stat` after the program's name, beginning with the state.
fn stat(pid: &str) -> Answer<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(after_name.split_whitespace().map(str::to_owned).collect())
}

fn seconds(stat: &[String], fields: impl IntoIterator<Item = usize>) -> f64 {
    let field = |at: usize| stat.get(at).and_then(|field| field.parse::<f64>().ok());
    let ticks: f64 = fields.into_iter().filter_map(field).sum();
    ticks / TICKS
}

/// Seconds of processor time that this process has used.
pub(crate) fn of_this() -> Answer<f64> {
    Ok(seconds(&stat("self")?, 11..=12))
}

/// Seconds of processor time that a server has used: its first process, and its children, ended and running.
pub(crate) fn of_server(pid: u32) -> Answer<f64> {
    let parent = pid.to_string();
    let mut used = seconds(&stat(&parent)?, 11..=14);
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(child) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        // A child that ends during this loop is counted with its parent the next time.
        if let Ok(stat) = stat(child)
            && stat.get(1) == Some(&parent)
        {
            used += seconds(&stat, 11..=12);
        }
    }
    Ok(used)
}

/// Peak memory of this process, in MiB.
pub(crate) fn most_mib() -> Answer<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.unwrap_or("0").parse::<f64>()? / 1_024.0)
}
