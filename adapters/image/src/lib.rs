//! Image sources: HTTP(S) and files.
//!
//! [`Router`] is the one source that others are handed: it looks at the URL and asks
//! [`HttpSource`] or [`FileSource`], or whoever was given certain hosts, and unpacks what ends in
//! `.gz`, `.xz` or `.zst`. Those who read one URL at the same time share one read.
//!
//! What this crate never does: hold more of an image in memory than one piece, take a web page or
//! half an image for an image, name a password in an error, or read what
//! [`AddressPolicy`] and [`Folders`] do not permit.

mod access;
mod address;
mod error;
pub mod file;
mod folders;
pub mod http;
mod packing;
pub mod router;
mod shared;

pub use access::ServerAccess;
pub use address::{AddressPolicy, Cidr};
pub use file::FileSource;
pub use folders::{FileError, Folders};
pub use http::{HttpOptions, HttpSource};
pub use router::Router;
