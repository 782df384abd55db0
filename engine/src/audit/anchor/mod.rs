//! Ties a journal to something outside it: audit anchors, seals and signatures.

mod audit_anchor;
mod key;
mod seal;
mod signature;

pub use audit_anchor::{AuditAnchor, InvalidHead};
pub use key::{InvalidKey, PublicKey, SigningKey};
pub use seal::Seal;
pub use signature::{check_base, sign_base};

pub(super) use audit_anchor::{hash, time};
