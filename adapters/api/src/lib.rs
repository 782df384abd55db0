//! What listens for HTTP, whatever is asked there: connections and their limits (`listen`), TLS
//! (`tls`) and the certificate that is made at the first start (`certificate`).
//!
//! What this crate never does: know what a request means, or who may ask. It tells a service which
//! certificate a client showed; whom that stands for is the service's business.

mod certificate;
mod listen;
mod tls;

pub use certificate::{Certificate, CertificateError};
pub use listen::{API, Limits, METRICS, Peer, Security, serve};
pub use tls::{Clients, TlsAcceptor, TlsError, acceptor};
