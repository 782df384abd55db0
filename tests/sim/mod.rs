//! The seeded simulation: a user, the weather on the hosts, and a process that dies now and then.
//!
//! Everything in a game comes from its seed, and its time is virtual: the same seed gives the
//! same game to the last event. After the last beat the sky clears, and everything must settle.

mod clusters;
mod game;
mod game_log;
mod observer;
mod plan;
mod rolling;
mod settle;
mod tests;
mod traffic;
mod weather;

pub use game::{play, play_aloud};
