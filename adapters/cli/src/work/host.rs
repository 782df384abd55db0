//! The host that a command is about.

use std::path::PathBuf;

use vsiflow_workflows::spec::HostSettings;

use super::{inputs, off_runtime, said};
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

/// The host: by `--host`, or by the one ConfigMap and Secret of the files.
pub(crate) async fn one_host(
    common: &Common,
    files: &[PathBuf],
) -> Result<HostSettings, ExitProblem> {
    if let Some(host) = host(common)? {
        return Ok(host);
    }
    if files.is_empty() {
        let message = "no host is named";
        let remedy = "name the file with the host's ConfigMap and Secret with -f, or use --host";
        return Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy));
    }
    let inputs = inputs(files);
    let read = move || vsiflow_file::load(&inputs, false, &mut std::io::stdin());
    let loaded = off_runtime(read).await?.map_err(said)?;
    let (maps, secrets) = (&loaded.documents.config_maps, &loaded.documents.secrets);
    if maps.len() > 1 || secrets.len() > 1 || maps.is_empty() && secrets.is_empty() {
        let message = "the files describe no host, or several";
        let remedy = "name a file with one host's ConfigMap and Secret, or the host with --host";
        return Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy));
    }
    let (map, secret) = (maps.first(), secrets.first());
    let settings = HostSettings::from_keys(
        map.map(|found| &found.spec),
        secret.map(|found| &found.spec),
    );
    let labels = map.or(secret).map(|document| document.meta.labels.clone());
    settings
        .map(|settings| HostSettings {
            labels: labels.unwrap_or_default(),
            ..settings
        })
        .map_err(|error| {
            let message = format!("{}: {}", error.key, error.message);
            ExitProblem::new(Exit::Usage, "VSI0607", message, error.remedy)
        })
}

/// What the command line says of uploads takes the place of what the host's settings say.
pub(crate) fn limit_uploads(args: &UploadArgs, host: &mut HostSettings) {
    if let Some(limit) = args.upload_limit {
        host.record.limit_uploads(limit);
    }
}
