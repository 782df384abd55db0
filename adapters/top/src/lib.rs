//! `top`: the fleet in a terminal, as it is now.
//!
//! [`Top`] is what is shown: a [`FleetSnapshot`] of the fleet, the kind that is listed, a filter, a selection, a
//! text over it. A key or an answer changes it ([`Top::press`], [`Top::take`]), and [`draw`] paints it
//! into cells; neither does any input or output, reads a clock, or knows where the fleet is. [`screen`]
//! has the terminal: it reads keys, hands on what is asked, and paints again.
//!
//! What it never does: change anything of the fleet, hold a state directory between two looks, or hand
//! a terminal what somebody else wrote: all text from outside loses what a terminal would obey
//! ([`clean`]) and is cut.
//!
//! It guarantees that the terminal is as it was before when it ends: by `q`, by a signal that can be
//! caught, by an error, and by a panic.

mod clean;
mod draw;
mod kind;
mod rates;
mod rows;
pub mod screen;
mod snapshot;
mod state;
mod units;

pub use clean::clean;
pub use draw::draw;
pub use kind::Kind;
pub use snapshot::{FleetSnapshot, HostRow, StepRow, UploadRow, VsiRow};
pub use state::{KeyEffect, KeyPress, Top, WorkerAnswer};
