//! What binds a journal to something outside it: heads that are kept elsewhere, and signatures.

mod head;
mod key;
mod signature;

pub use head::{Head, InvalidHead};
pub use key::{InvalidKey, PublicKey, SigningKey};
pub use signature::{check_base, sign_base};

pub(super) use head::{hash, time};
