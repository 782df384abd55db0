//! Renders a state.

use maud::{Markup, html};

/// A state in its colour, with a symbol for users who do not see colours.
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
