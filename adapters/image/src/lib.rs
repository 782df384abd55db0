//! Image sources: HTTP(S), registries, object storage and files; and bundles, which hold images.
//!
//! [`Router`] is the source that other crates use. It chooses [`HttpSource`], [`FileSource`] or another
//! source by the URL, or a source that was set for certain hosts, and unpacks packed images. Readers of the
//! same URL at the same time share one read.
//!
//! ```
//! use vsiflow_image::AddressPolicy;
//!
//! // As in a cluster: public addresses alone.
//! let public = AddressPolicy::PublicAnd(Vec::new());
//! assert!(public.judge_text("https://198.51.100.7/hpcr.qcow2").is_err());
//! assert!(public.judge_text("http://169.254.169.254/latest").is_err());
//! assert!(public.judge_text("https://images.example.com/hpcr.qcow2").is_ok());
//! ```
//!
//! Guarantees of this crate: it holds at most one piece of an image in memory, it accepts no web page or
//! partial image as an image, it shows no password in an error, and it reads nothing that [`AddressPolicy`]
//! and [`Folders`] do not permit.

mod access;
mod address;
mod archive;
pub mod bundle;
mod error;
pub mod file;
mod folders;
pub mod http;
pub mod oci;
mod packing;
pub mod relay;
pub mod router;
pub mod s3;
mod shared;
mod sparse;

pub use access::ServerAccess;
pub use address::{AddressPolicy, Cidr};
pub use file::FileSource;
pub use folders::{FileError, Folders};
pub use http::{HttpOptions, HttpSource};
pub use oci::OciSource;
pub use packing::is_packed;
pub use relay::UploadRelay;
pub use router::Router;
pub use s3::{S3Options, S3Source};
