//! `bundle`: documents and the images that they name in one file, for places without a network.
//!
//! What a bundle holds is never believed before its form, its checksums and, unless somebody insists,
//! its signature fit. Secrets are not packed unless that is asked for.

mod apply;
mod create;
mod fetch;
mod opened;
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
