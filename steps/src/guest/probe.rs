//! The probes that show that a guest is ready.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A probe that shows that a guest is ready. It is stored in step graphs: new variants are only appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// A line of the console matches this regular expression.
    Console(String),
    /// The guest's agent answers.
    Agent {},
    /// cloud-init has ended without an error.
    CloudInit {},
    /// A TCP port of the guest accepts a connection from its host.
    Tcp(u16),
    /// An HTTP server of the guest answers its host with a status from 200 to 399.
    Http {
        /// The port.
        port: u16,
        /// The path, with its leading slash.
        path: String,
    },
    /// The guest has an address.
    Address {},
    /// The guest runs.
    Started {},
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console(pattern) => write!(f, "console /{pattern}/"),
            Self::Agent {} => f.write_str("agent"),
            Self::CloudInit {} => f.write_str("cloudInit"),
            Self::Tcp(port) => write!(f, "tcp {port}"),
            Self::Http { port, path } => write!(f, "http :{port}{path}"),
            Self::Address {} => f.write_str("address"),
            Self::Started {} => f.write_str("started"),
        }
    }
}
