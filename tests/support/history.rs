//! Reads histories, and checks what must hold in each of them.

use std::collections::BTreeSet;

use serde_json::Value;

/// The steps that provision a VSI and its base image, in the order in which they usually end.
pub const STEPS: [&str; 16] = [
    "check_contract",
    "resolve_host",
    "attach_data_disks",
    "resolve_networks",
    "create_console_log",
    "write_cidata",
    "claim",
    "probe_source",
    "upload_chunks",
    "verify_image",
    "mark_whole",
    "ensure_base_image",
    "clone_boot_disk",
    "define_domain",
    "start_domain",
    "monitor_console",
];

/// One line of `history -o json`.
#[derive(Clone, Debug)]
pub struct Event(pub Value);

impl Event {
    /// Reads a line.
    ///
    /// # Panics
    /// When the line is not a JSON object.
    pub fn parse(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(value.is_object(), "{line}");
        Self(value)
    }

    /// The text of a key; empty if the event does not have it.
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// The kind of event, such as `step_succeeded`.
    pub fn kind(&self) -> &str {
        self.text("type")
    }

    /// The name of the step; empty if the event does not belong to one.
    pub fn step(&self) -> &str {
        self.text("step")
    }

    /// The failure that the event records, if any.
    pub fn error(&self) -> Option<Failure> {
        let error = self.0.get("error")?;
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        Some(Failure {
            code: text("code"),
            class: text("class"),
            message: text("message"),
            host: text("host"),
            object: text("object"),
            remedy: text("remedy"),
        })
    }
}

/// A failure in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error code.
    pub code: String,
    /// The failure class: what the engine does about it.
    pub class: String,
    /// What happened.
    pub message: String,
    /// The host.
    pub host: String,
    /// The object.
    pub object: String,
    /// What the user can do.
    pub remedy: String,
}

/// The newest failure with this code.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn failure(history: &[Event], code: &str) -> Failure {
    let mut failures = history.iter().rev().filter_map(Event::error);
    failures
        .find(|failure| failure.code == code)
        .unwrap_or_else(|| panic!("no {code} in {history:#?}"))
}

/// The newest failure of this step, if it failed.
pub fn failure_of(step: &str, history: &[Event]) -> Option<Failure> {
    let mut events = history.iter().rev().filter(|event| event.step() == step);
    events.find_map(Event::error)
}

/// Asserts that no step ran again after its success was recorded, and that offsets only grow.
///
/// # Panics
/// When one of these does not hold, or no step succeeded.
#[track_caller]
pub fn assert_nothing_done_twice(history: &[Event]) {
    let mut done = BTreeSet::new();
    let mut last = 0;
    for event in history {
        let offset = event.0["offset"].as_u64().expect("an offset");
        assert!(offset > last, "{offset} after {last}");
        last = offset;
        let step = (event.text("run"), event.step());
        match event.kind() {
            "step_succeeded" => assert!(done.insert(step), "succeeded twice: {event:?}"),
            "step_started" => assert!(!done.contains(&step), "ran again: {event:?}"),
            _ => {}
        }
    }
    assert!(!done.is_empty(), "no step succeeded: {history:#?}");
}
