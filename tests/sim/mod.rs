//! The seeded simulation: random games of user commands, faults on hosts (the weather), and a process that
//! dies now and then.
//!
//! A game depends only on its seed, and its time is virtual: the same seed gives the same game to the last
//! event. After the last beat all faults end, and everything must settle in its desired state.

mod clusters;
mod game;
mod game_log;
mod neighbours;
mod observer;
mod oracle;
mod plan;
mod rolling;
mod sanctity;
mod settle;
mod tests;
mod traffic;
mod weather;

pub use game::{play, play_aloud};
pub use sanctity::TokenWatch;
