//! Reads 100 MB of each kind of hostile console, and prints time and the most memory it took.
//!
//! `cargo bench -p vsiflow-steps --bench console_flood`

use std::time::Instant;

use vsiflow_steps::hpl::{MessageKind, Scanner};

/// How much of each kind is read.
const ALL: usize = 100_000_000;
/// How much is read from a host at once.
const PIECE: usize = 64 * 1024;

fn main() {
    let noise: Vec<u8> = (0..PIECE as u64)
        .map(|n| (n.wrapping_mul(6_364_136_223_846_793_005) >> 33) as u8)
        .collect();
    let escapes = b"\x1b[31mHPL99999E\x1b[0m: \xff\xe2\x80\xae x\r\n".repeat(3_000);
    println!(
        "{:<14} {:>8} {:>10} {:>10}",
        "console", "s", "warnings", "peak MiB"
    );
    for (name, piece) in [
        ("endless line", vec![b'x'; PIECE]),
        ("line ends", vec![b'\n'; PIECE]),
        ("binary", noise),
        ("codes", escapes),
    ] {
        let (began, mut warnings) = (Instant::now(), 0_u64);
        let mut scanner = Scanner::default();
        for _ in 0..ALL / piece.len() {
            scanner.push(&piece, |finding| {
                warnings += u64::from(finding.kind == MessageKind::Warning)
            });
        }
        scanner.finish(|_| ());
        let took = began.elapsed().as_secs_f64();
        println!("{name:<14} {took:>8.2} {warnings:>10} {:>10}", peak_mib());
    }
}

/// The most memory this process ever took.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
