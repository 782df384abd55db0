//! The host that `--host` names, and what the command line says of one.

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

/// What the command line says of uploads takes the place of what the host's settings say.
pub(crate) fn limit_uploads(args: &UploadArgs, host: &mut HostSettings) {
    if let Some(limit) = args.upload_limit {
        host.record.limit_uploads(limit);
    }
}
