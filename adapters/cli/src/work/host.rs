//! The host that `--host` names, and options for uploads to a host.

use vsiflow_workflows::spec::HostSettings;

use crate::{
    args::{Common, UploadArgs},
    exit::{Exit, ExitProblem},
};

/// The host that `--host` names.
pub(crate) fn host(common: &Common) -> Result<Option<HostSettings>, ExitProblem> {
    let Some(uri) = &common.host else {
        return Ok(None);
    };
    let parsed = uri.parse::<HostSettings>();
    parsed
        .map(Some)
        .map_err(|error| ExitProblem::new(Exit::Usage, "VSI0607", error.message, error.remedy))
}

/// Options for uploads on the command line override the host's settings.
pub(crate) fn limit_uploads(args: &UploadArgs, host: &mut HostSettings) {
    if let Some(limit) = args.upload_limit {
        host.record.limit_uploads(limit);
    }
}
