//! A state as pages show it.

use maud::{Markup, html};

/// A state in its colour, with a sign of its own for whoever sees none.
pub(super) fn state(state: &str) -> Markup {
    let (class, sign) = match state {
        "Running" | "Succeeded" | "Ready" | "Available" | "Open" => ("good", "✓"),
        "Failed" | "Unreadable" | "NotReady" => ("bad", "✗"),
        "Blocked" | "Degraded" | "Delayed" | "Partial" => ("stands", "!"),
        "Pending" | "Waiting" | "Unknown" | "Closed" => ("waits", "·"),
        "Stopped" | "Deleted" | "Skipped" | "Cancelled" | "Superseded" | "Removed" => {
            ("still", "–")
        }
        _ => ("moves", "…"),
    };
    html! { span.state.(class) { span aria-hidden="true" { (sign) " " } (state) } }
}
