//! `bundle`: packs documents and the images that they name into one file, for places without a network.
//!
//! A bundle is used only if its format, its checksums and its signature are correct; the user may skip the
//! signature. Secrets are packed only on request.

mod apply;
mod create;
mod fetch;
mod show;

use crate::{
    args::{BundleCommand, Common},
    exit::CommandOutcome,
};

pub(super) async fn run(common: &Common, command: BundleCommand) -> CommandOutcome {
    match command {
        BundleCommand::Create(args) => Box::pin(create::run(common, args)).await,
        BundleCommand::Apply(args) => Box::pin(apply::run(common, args)).await,
        BundleCommand::Show(args) => show::run(args).await,
    }
}
