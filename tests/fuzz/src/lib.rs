//! Fuzz tests: runs parsers on mutated input, as a hostile peer might send it.
//!
//! A [`FuzzTarget`] is a parser and its bounds. [`FuzzTarget::check`] runs it on each file of its corpus,
//! `tests/corpus/NAME`, and then on mutations of them: a sample, or for as many seconds as
//! `VSIFLOW_FUZZ_SECONDS` says. No input may make it panic, hold more memory or use more processor time than
//! its bounds, or never return. An input that does is made as small as possible and written into the
//! corpus, where the next run finds it.
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

/// A parser of bytes from outside, and its bounds.
#[derive(Clone, Copy)]
pub struct FuzzTarget {
    /// The folder of its corpus below `tests/corpus`.
    pub name: &'static str,
    /// Parses the input. Panics if the parser does, or if the accepted value breaks an invariant.
    pub run: fn(&[u8]),
    /// The most bytes it may hold at the same time, whatever the input. No target may hold more than 64 MiB.
    pub memory: u64,
    /// How many more bytes it may hold for each byte of input.
    pub memory_per_byte: u64,
    /// The most processor time that one input may take; 1 s at most.
    pub time: Duration,
    /// Words of the format, which mutations insert anywhere.
    pub words: &'static [&'static str],
}

impl FuzzTarget {
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

    /// Runs the parser on its corpus and on mutations.
    ///
    /// # Panics
    /// With the first input that breaks a bound.
    pub fn check(self) {
        watch::on_thread(self, run::all);
    }
}
