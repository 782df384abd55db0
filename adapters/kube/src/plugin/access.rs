//! How a cluster is reached, as kubectl takes it.

use std::path::PathBuf;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::Cluster;
use crate::{ApiConnectError, operator::client_of};

/// Which cluster, as whom, and which namespace: as kubectl takes it.
#[derive(Clone, Debug, Default)]
pub struct KubeconfigFlags {
    /// The kubeconfig; else `$KUBECONFIG` or the one in the home folder.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it.
    pub context: Option<String>,
    /// A cluster of it.
    pub cluster: Option<String>,
    /// A user of it.
    pub user: Option<String>,
    /// Whom to act as.
    pub act_as: Option<String>,
    /// The namespace; else the context's.
    pub namespace: Option<String>,
}

impl Cluster {
    /// A client with these settings. The cluster is not asked yet.
    ///
    /// # Errors
    /// When address or credentials cannot be read.
    pub async fn reach(access: &KubeconfigFlags) -> Result<Self, ApiConnectError> {
        let mut config = config(access).await?;
        config.auth_info.impersonate.clone_from(&access.act_as);
        // A person waits, and what was asked may have been done: nothing is asked twice unseen.
        config.default_retry = false;
        let own = config.default_namespace.clone();
        Ok(Self {
            namespace: access.namespace.clone().unwrap_or(own),
            client: client_of(config)?,
        })
    }
}

async fn config(access: &KubeconfigFlags) -> Result<Config, ApiConnectError> {
    let wrong = |error: &dyn std::fmt::Display| ApiConnectError::Config(error.to_string());
    let options = KubeConfigOptions {
        context: access.context.clone(),
        cluster: access.cluster.clone(),
        user: access.user.clone(),
    };
    let kubeconfig = match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let config = Config::from_custom_kubeconfig(kubeconfig.map_err(|e| wrong(&e))?, &options);
    config.await.map_err(|error| wrong(&error))
}
