//! Desired state: what documents may contain, and how they are resolved.
//!
//! The types can be read from any serde format, and know neither files nor Kubernetes. Front ends turn
//! their input into [`Documents`]; [`resolve()`] follows the selectors and returns one [`DesiredVsi`]
//! for each VSI, or all [`Problem`]s together.
//!
//! This module does no input or output, and never prints a secret.

mod attach;
pub mod data_disk;
pub mod definitions;
pub mod desired;
mod diagnostic;
pub mod directory;
pub mod disk_source;
pub mod documents;
pub mod group;
pub(crate) mod group_check;
pub mod guest;
pub mod guest_texts;
pub mod host;
mod host_keys;
mod host_limits;
mod host_uri;
pub mod image;
mod image_access;
pub mod image_policy;
mod images;
mod jump;
mod jump_keys;
pub mod meta;
pub mod network;
pub mod network_ref;
mod parts;
pub mod permits;
pub mod placement;
pub mod policy;
pub mod pool;
pub mod problem;
pub mod quantity;
pub mod quota;
pub mod ready;
mod recorded;
pub mod resolve;
pub mod schedule;
pub mod schema;
pub mod selector;
mod selector_text;
pub mod server_type;
pub mod snapshot;
pub mod snapshot_policy;
pub mod substitute;
mod target;
pub(crate) mod template_texts;
pub use target::hosts_of;
pub mod text;
mod unique;
pub mod virtual_server;
pub mod vsi;

pub(crate) use attach::DEFAULT_NETWORK;
pub use data_disk::{DataDiskRefSpec, DataDiskSpec};
pub use desired::{
    DesiredBootDisk, DesiredDataDisk, DesiredDisk, DesiredGuest, DesiredImage, DesiredMachine,
    DesiredReady, DesiredVsi, DiskOrigin, FieldChange,
};
pub use diagnostic::{Diagnostic, DiagnosticSeverity, Diagnostics, Snippet};
pub use directory::Directory;
pub use disk_source::DataDiskSource;
pub use documents::{Document, Documents, KeyValues};
pub use group::{GroupSpec, ResolvedGroup};
pub use host::{HostConnection, HostSettings, ImageAccess, ImageSecrets, SshHost, Verification};
pub use image::{Checksum, ImageUrl, upload_url};
pub use image_policy::ImagePolicy;
pub use images::NamedImage;
pub use meta::ObjectMeta;
pub use network::{DesiredNetwork, ServerNetworkSpec};
pub use network_ref::NetworkRefSpec;
pub use permits::{NoFiles, Permits};
pub use placement::{DesiredPlacement, PlacementSpec};
pub use policy::{DeletionPolicy, OnDrift, PowerState, UpdatePolicy};
pub use pool::{DesiredPool, MemberOf, PoolSpec, ResolvedPool};
pub use problem::{DocumentRef, FieldPath, PathSegment, Problem, ProblemCode, last_key};
pub use quantity::{Memory, Quantity};
pub use recorded::RecordedFields;
pub use resolve::{References, Resolved, ResolvedVsi, resolve};
pub use schedule::Schedule;
pub use selector::LabelSelector;
pub use snapshot_policy::{DesiredSnapshotPolicy, SnapshotPolicySpec};
pub use text::Contract;
pub use virtual_server::VirtualServerSpec;
pub use vsi::{BootDisk, BootDiskMode, Interface, Machine, VsiSpec};
