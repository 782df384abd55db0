//! Connects to a cluster with kubectl's flags.

use std::path::PathBuf;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::Cluster;
use crate::{
    ApiConnectError,
    operator::{client_of, listed_kubeconfig},
};

/// kubectl's flags: which cluster, which user, and which namespace.
#[derive(Clone, Debug, Default)]
pub struct KubeconfigFlags {
    /// The kubeconfig; otherwise `$KUBECONFIG`, or the one in the home directory.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig.
    pub context: Option<String>,
    /// A cluster of the kubeconfig.
    pub cluster: Option<String>,
    /// A user of the kubeconfig.
    pub user: Option<String>,
    /// The user to impersonate.
    pub act_as: Option<String>,
    /// The namespace; otherwise the context's.
    pub namespace: Option<String>,
}

impl Cluster {
    /// Creates a client with these settings. No request is sent yet.
    ///
    /// # Errors
    /// If the address or credentials cannot be read.
    pub async fn reach(access: &KubeconfigFlags) -> Result<Self, ApiConnectError> {
        let mut config = config(access).await?;
        config.auth_info.impersonate.clone_from(&access.act_as);
        // A person waits, and the request may have been carried out: no request is repeated silently.
        config.default_retry = false;
        let own = config.default_namespace.clone();
        Ok(Self {
            namespace: access.namespace.clone().unwrap_or(own),
            client: client_of(config)?,
        })
    }
}

async fn config(access: &KubeconfigFlags) -> Result<Config, ApiConnectError> {
    let wrong = |error: KubeconfigError| ApiConnectError::of_config(&error);
    let options = KubeConfigOptions {
        context: access.context.clone(),
        cluster: access.cluster.clone(),
        user: access.user.clone(),
    };
    let kubeconfig = match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => match listed_kubeconfig() {
            Ok(Some(listed)) => Ok(listed),
            Ok(None) => Kubeconfig::read(),
            Err(error) => Err(error),
        },
    };
    let config = Config::from_custom_kubeconfig(kubeconfig.map_err(wrong)?, &options);
    config.await.map_err(wrong)
}
