//! The group commit under shuttle: the same source, with a scheduler that decides at each step
//! which thread continues. Each property is tried in many random orders and, as far as time allows,
//! in every order there is.

// The file itself, a second time: `super::sync` is shuttle's in here.
#[allow(dead_code)]
#[expect(unreachable_pub, reason = "elsewhere in this crate it is public")]
#[path = "group_commit/mod.rs"]
mod group_commit;

mod disk;
mod panic_tests;
mod properties;
mod sabotage_tests;
mod sync;
mod tests;
