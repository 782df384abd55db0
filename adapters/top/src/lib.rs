//! `top`: the fleet in a terminal, as it is now.
//!
//! [`Top`] is the state: a [`FleetOverview`](vsiflow_workflows::fleet::FleetOverview), the listed kind, a filter, a selection, and a text over
//! the list. A key or an answer changes it ([`Top::press`], [`Top::take`]), and [`draw`] draws it into
//! cells; neither does any input or output, reads a clock, or knows where the fleet is. [`screen`]
//! handles the terminal: it reads keys, passes requests on, and draws again.
//!
//! What it never does: change anything in the fleet, hold a state directory between two refreshes, or
//! send text from outside to the terminal unchanged: [`clean`] removes control characters and truncates
//! it.
//!
//! It guarantees that the terminal is restored when it ends: by `q`, by a signal that can be caught, by
//! an error, and by a panic.

mod clean;
mod draw;
mod kind;
mod rates;
mod rows;
pub mod screen;
mod state;
mod units;

pub use clean::clean;
pub use draw::draw;
pub use kind::Kind;
pub use state::{KeyEffect, KeyPress, Top, WorkerAnswer};
