//! Reads the desired state from YAML files.
//!
//! [`load()`] reads files, directories and standard input into [`Documents`]; [`Loaded::resolve`] resolves
//! their selectors. Both report every mistake, not only the first, as a [`Diagnostic`]: file, line and field,
//! the mistake, and the remedy.
//!
//! ```
//! let text = "\
//! apiVersion: hpse.ibm.com/v1
//! kind: HyperProtectContainerRuntimeOnPrem
//! metadata: {name: web}
//! spec: {contract: 'env: e', imageUrl: 'https://images.example.com/hpcr.qcow2'}
//! ";
//! let mistakes = vsiflow_file::load_text("web.yaml", text.as_bytes()).unwrap_err();
//! assert!(mistakes.to_string().contains("imageURL"), "the field's right name is proposed");
//! ```
//!
//! Guarantees of this crate: it does not guess (an unknown field, or a number in place of text, is an error),
//! it prints no secret, and it does not panic on any input.
//!
//! The pipeline: bytes are cut into documents (`split`), parsed into trees with positions (`yaml`, `node`),
//! and read into the types of `vsiflow-workflows` (`de`, `read`, `document`). Mistakes become text
//! (`messages`, `hints`) beside a line without secrets (`redact`, `secrecy`, `source`).
//!
//! [`Documents`]: vsiflow_workflows::spec::Documents

mod de;
mod directory;
mod document;
mod fault;
mod hints;
mod input;
mod kubevirt;
pub mod load;
mod manifest;
mod messages;
mod node;
mod parts;
mod read;
mod redact;
mod schemas;
mod secrecy;
mod source;
mod split;
mod substitute;
mod yaml;

pub use directory::directory;
pub use input::{Input, InputText, LARGEST_FILE, gather, is_manifest, manifests, read_folder};
pub use kubevirt::KubevirtTarget;
pub use load::{Loaded, MAX_DOCUMENTS, load, load_for, load_text, load_up_to};
pub use parts::{DocumentPart, parts};
pub use vsiflow_workflows::spec::{Diagnostic, DiagnosticSeverity, Diagnostics, Snippet};
