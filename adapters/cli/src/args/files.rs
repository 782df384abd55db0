//! The files that a command line names, and whether its command runs until it is stopped.

use std::path::{Path, PathBuf};

use super::{
    AuditCommand, CheckArgs, CliCommand, DiskCommand, HostCommand, ImageCommand, InventoryArgs,
};

impl CliCommand {
    /// Whether the command runs until it is stopped.
    pub(crate) fn follows(&self) -> bool {
        match self {
            Self::History(args) => args.follow,
            Self::Events(args) => args.watch,
            Self::Logs(args) => args.follow,
            _ => false,
        }
    }

    /// The files that a command reads documents from, if it reads any.
    pub(crate) fn documents(&self) -> Option<(&[PathBuf], bool)> {
        match self {
            Self::Adopt(args) if !args.files.is_empty() => Some((&args.files, false)),
            Self::Host(
                HostCommand::Inventory(InventoryArgs { at, .. })
                | HostCommand::Check(CheckArgs { at, .. }),
            ) if !at.files.is_empty() => Some((&at.files, false)),
            Self::Image(ImageCommand::Upload(args)) => Some((&args.at.files, false)),
            Self::Image(ImageCommand::Unlock(args)) => Some((&args.at.files, false)),
            Self::Disk(DiskCommand::Import(args)) => Some((&args.at.files, false)),
            _ => None,
        }
    }

    /// The files that the process with the state directory has to read or write for the caller.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Backup(args) => vec![args.file.clone()],
            Self::Disk(DiskCommand::Export(args)) => vec![args.file.clone()],
            Self::Disk(DiskCommand::Import(args)) => vec![args.file.clone()],
            Self::Image(ImageCommand::Upload(args)) => {
                let named = args.images.iter().filter(|image| !image.contains("://"));
                named.map(PathBuf::from).collect()
            }
            Self::Audit(AuditCommand::Verify(args)) => {
                let head = args.head.iter().map(PathBuf::from);
                let head = head.filter(|file| file.is_file());
                head.chain(args.public_key.clone()).collect()
            }
            Self::Audit(AuditCommand::Head(args)) => args.sign_key.iter().cloned().collect(),
            Self::Audit(AuditCommand::Export(args)) if args.file != Path::new("-") => {
                vec![args.file.clone()]
            }
            _ => Vec::new(),
        }
    }
}
