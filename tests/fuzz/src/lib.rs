//! Runs a parser on input that is broken in every way that a hostile peer might think of.
//!
//! A [`Target`] is a parser and its bounds. [`Target::check`] runs it on each file of its corpus,
//! `tests/corpus/NAME`, and then on mutations of them: a sample, or for as many seconds as
//! `VSIFLOW_FUZZ_SECONDS` says. No input may make it panic, take more memory at once than its
//! bound, use more processor time, or not come back. What does is made as small as possible and
//! written into the corpus, where the next run finds it.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a failure of this crate is the failure of the test that uses it"
)]

mod corpus;
mod mutation;
mod run;
mod watch;

use std::time::Duration;

/// A parser that meets bytes from outside, and what it may take.
#[derive(Clone, Copy)]
pub struct Target {
    /// The folder of its corpus below `tests/corpus`.
    pub name: &'static str,
    /// Parses. Panics where the parser does, or where what it accepted breaks a promise.
    pub run: fn(&[u8]),
    /// The most bytes it may hold at once, whatever the input.
    pub memory: u64,
    /// How many bytes more it may hold for each byte of input.
    pub memory_per_byte: u64,
    /// The most processor time that one input may take.
    pub time: Duration,
    /// Words of the format, which mutations put anywhere.
    pub words: &'static [&'static str],
}

impl Target {
    /// Bounds that suit a parser whose output is about as large as its input.
    pub const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self {
            name,
            run,
            memory: 64 * 1024,
            memory_per_byte: 16,
            time: Duration::from_secs(1),
            words: &[],
        }
    }

    /// Runs it on its corpus and on mutations.
    ///
    /// # Panics
    /// With the first input that breaks a bound.
    pub fn check(self) {
        watch::on_thread(self, run::all);
    }
}
