//! Desired state from YAML files.
//!
//! [`load()`] reads files, directories and standard input into [`Documents`]; [`Loaded::resolve`]
//! follows their selectors. Both find everything that is wrong, not only the first thing, and say
//! it as [`Diagnostic`]s: which file, line and field, what is wrong, and what to do about it.
//!
//! What this crate never does: guess (an unknown field, or a number where text belongs, is an
//! error), print a secret, or panic on whatever bytes it is given.
//!
//! The way of the data: bytes are cut into documents (`split`), read into trees that know where
//! everything stands (`yaml`, `node`), read from there into the types of `vsiflow-workflows`
//! (`de`, `read`, `document`); what goes wrong is put into words (`words`, `hints`) beside a line
//! without secrets (`redact`, `source`).
//!
//! [`Documents`]: vsiflow_workflows::spec::Documents

mod de;
pub mod diagnostic;
mod directory;
mod document;
mod fault;
mod hints;
mod input;
pub mod load;
mod manifest;
mod node;
mod read;
mod redact;
mod source;
mod split;
mod words;
mod yaml;

pub use diagnostic::{Diagnostic, DiagnosticSeverity, Diagnostics, Snippet};
pub use directory::directory;
pub use input::{Input, InputText, LARGEST_FILE, gather};
pub use load::{Loaded, MOST_DOCUMENTS, load, load_text};
