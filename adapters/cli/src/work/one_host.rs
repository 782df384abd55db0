//! Finds the single host of a command: named on the command line, or described by its files.

use std::path::PathBuf;

use vsiflow_workflows::spec::HostSettings;

use super::{documents::gather, host::host};
use crate::{
    args::Common,
    documents,
    exit::{Exit, ExitProblem},
};

/// The host, from `--host` or from the single ConfigMap and Secret in the files.
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
    let loaded = documents::loaded(&gather(files, false).await?).await?;
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
