//! Crash tests of the whole engine: the crash matrix and the seeded simulation. They run in one process, on
//! simulated hosts, in virtual time.
//!
//! The matrix runs short stories and lets vsiflow die at every numbered point of each: before and after every
//! append, every call of a port and every write of a checkpoint, blob or secret. For calls that change a host
//! it also dies just after the call was sent. The simulation plays long random games by seed.
//! `tests/parts/crash` and `tests/parts/sim` run both at length.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test ends at the first surprise, and is nobody's library"
)]

mod admission;
mod audit;
mod care;
mod cases;
mod changes;
mod check;
mod clock;
mod clock_back;
mod controllers;
mod disks;
mod documents;
mod earlier_versions;
mod gate;
mod groups;
mod journals;
mod late;
mod matrix;
mod matrix_tests;
mod networks;
mod outcome;
mod ownership;
mod pool_plans;
mod pools;
mod ports;
mod sabotage;
mod sabotage_tests;
mod schedules;
#[path = "../sim/mod.rs"]
mod sim;
mod snapshots;
mod source;
mod stores;
mod stories;
mod story;
mod unreadable;
mod waves;
mod world;
