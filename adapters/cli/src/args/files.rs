//! The files that a command line names, and whether its command runs until it is stopped.

use std::path::{Path, PathBuf};

use super::{
    AuditCommand, BundleCommand, CheckArgs, CliCommand, ClusterCommand, DiskCommand, HostCommand,
    ImageCommand, InventoryArgs,
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
            Self::Apply(args) | Self::Cluster(ClusterCommand::Create(args)) => {
                Some((&args.sources.files, args.sources.recursive))
            }
            Self::Plan(args) => Some((&args.sources.files, args.sources.recursive)),
            Self::Diff(args) if !args.files.is_empty() => Some((&args.files, false)),
            Self::Delete(args) if !args.files.is_empty() => Some((&args.files, false)),
            Self::Adopt(args) if !args.files.is_empty() => Some((&args.files, false)),
            Self::Host(
                HostCommand::Inventory(InventoryArgs { at, .. })
                | HostCommand::Check(CheckArgs { at, .. }),
            ) if !at.files.is_empty() => Some((&at.files, false)),
            Self::Image(ImageCommand::Upload(args)) => Some((&args.at.files, false)),
            Self::Image(ImageCommand::Unlock(args)) => Some((&args.at.files, false)),
            Self::Disk(DiskCommand::Import(args)) => Some((&args.at.files, false)),
            // The site's documents; the bundle's documents are read where it is applied.
            Self::Bundle(BundleCommand::Apply(args)) => Some((&args.files, false)),
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
            Self::Bundle(BundleCommand::Apply(args)) => {
                let key = args.verify_key.iter().cloned();
                std::iter::once(args.file.clone()).chain(key).collect()
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
