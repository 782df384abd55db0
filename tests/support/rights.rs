//! Kubeconfigs with exactly the rights that the Helm chart grants.

use std::path::{Path, PathBuf};

use crate::{TestCluster, vsiflow::Ran};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm");
/// The name of the release, the service account and the Lease.
const RELEASE: &str = "vsiflow";

/// The rights of a release that watches another namespace. Drop deletes the cluster-wide objects among them.
pub struct Elsewhere<'a> {
    cluster: &'a TestCluster,
    release: String,
    config: String,
}

impl Elsewhere<'_> {
    /// A kubeconfig with these rights.
    pub fn kubeconfig(&self) -> &str {
        &self.config
    }

    /// The name of the release, and of its Role in the watched namespace.
    pub fn release(&self) -> &str {
        &self.release
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        let name = format!("{}-resources", self.release);
        for kind in ["clusterrole", "clusterrolebinding"] {
            self.cluster
                .kubectl(&["delete", kind, &name, "--ignore-not-found"]);
        }
    }
}

impl TestCluster {
    /// Runs `helm template` for the namespace.
    pub fn chart(&self, more: &[&str]) -> Ran {
        let namespace = self.namespace().to_owned();
        let mut arguments = vec!["template", RELEASE, CHART, "-n", &namespace];
        arguments.extend(more);
        self.helm(&arguments)
    }

    /// Applies the chart's service account and roles, and writes a kubeconfig with only these rights.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub(crate) fn grant(&self, folder: &Path) -> PathBuf {
        let only = ["serviceaccount.yaml", "rbac.yaml", "id-key.yaml"];
        let only = only.map(|file| format!("templates/{file}"));
        let only = ["-s", &only[0], "-s", &only[1], "-s", &only[2]];
        let rights = self.chart(&only).exits(0);
        self.apply(rights.stdout);
        let path = folder.join("kubeconfig");
        std::fs::write(&path, self.with_token(&self.token(RELEASE)).to_string()).unwrap();
        path
    }

    /// The rights of a release in this namespace that watches another one.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub fn grant_elsewhere(&self, watched: &TestCluster) -> Elsewhere<'_> {
        // Cluster-wide objects have the release's name, so each test needs another one.
        let release = format!("vsiflow-{}", self.namespace());
        let mut arguments = vec!["template", &release, CHART, "-n", self.namespace()];
        let namespaces = format!("watchNamespaces={{{}}}", watched.namespace());
        arguments.extend(["--set", &namespaces]);
        arguments.extend(["-s", "templates/serviceaccount.yaml"]);
        arguments.extend(["-s", "templates/rbac.yaml"]);
        let rights = self.helm(&arguments).exits(0).stdout;
        self.feed_anywhere(&["apply", "-f", "-"], &rights).exits(0);
        let config = self.with_token(&self.token(&release)).to_string();
        Elsewhere {
            cluster: self,
            release,
            config,
        }
    }

    fn token(&self, account: &str) -> String {
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{account}/token",
            self.namespace()
        );
        let request = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {},
        });
        let ran = self.feed(&["create", "--raw", &path, "-f", "-"], &request.to_string());
        let token = ran.exits(0).json()["status"]["token"].clone();
        token.as_str().unwrap().to_owned()
    }

    /// The cluster's kubeconfig, with this token for its user.
    fn with_token(&self, token: &str) -> serde_json::Value {
        let view = self.kubectl(&["config", "view", "--raw", "-o", "json"]);
        let mut config = view.exits(0).json();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = serde_json::json!({ "token": token });
        }
        config
    }
}
