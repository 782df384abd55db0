//! The steps of a virtual server instance, one file each.
//!
//! Nodes are named after their steps: a step that needs the result of another reads the output of the
//! node with that step's name.

pub mod adopt_domain;
mod ask_guest;
pub mod attach_data_disks;
pub mod await_data_disks;
pub mod await_ready;
pub mod await_turn;
pub mod check_contract;
pub mod clone_boot_disk;
pub mod create_console_log;
pub mod define_domain;
pub mod delete_volumes;
mod elsewhere;
pub mod find_parts;
pub mod grow_data_disks;
mod guest_health;
pub mod keep_evidence;
mod moved;
mod ready_report;
pub mod release;
pub mod remove_replaced_disks;
pub mod require_references;
pub mod resolve_host;
pub mod resolve_networks;
pub mod resume_domain;
pub mod set_autostart;
pub mod start_domain;
mod starting;
pub mod stop_domain;
mod stored_contract;
pub mod suspend_domain;
pub mod undefine_domain;
pub mod write_cidata;

pub use adopt_domain::AdoptDomain;
pub use attach_data_disks::AttachDataDisks;
pub use await_data_disks::AwaitDataDisks;
pub use await_ready::AwaitReady;
pub use await_turn::AwaitTurn;
pub use check_contract::CheckContract;
pub use clone_boot_disk::CloneBootDisk;
pub use create_console_log::CreateConsoleLog;
pub use define_domain::DefineDomain;
pub use delete_volumes::DeleteVolumes;
pub use find_parts::FindParts;
pub use grow_data_disks::GrowDataDisks;
pub use guest_health::{ConsoleMemory, GuestTrouble, ReadyGuest};
pub use keep_evidence::KeepEvidence;
pub use ready_report::{Addresses, Card};
pub use release::ReleaseSecrets;
pub use remove_replaced_disks::RemoveReplacedDisks;
pub use require_references::RequireReferences;
pub use resolve_host::ResolveHost;
pub use resolve_networks::ResolveNetworks;
pub use resume_domain::ResumeDomain;
pub use set_autostart::SetAutostart;
pub use start_domain::StartDomain;
pub use stop_domain::StopDomain;
pub use suspend_domain::SuspendDomain;
pub use undefine_domain::UndefineDomain;
pub use write_cidata::WriteCidata;
