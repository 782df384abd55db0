//! The rights that the Helm chart gives, and nothing beside them.

use std::path::{Path, PathBuf};

use crate::{Cluster, vsiflow::Ran};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/helm");
/// The release, and so the service account and the Lease.
const RELEASE: &str = "vsiflow";

impl Cluster {
    /// Runs `helm template` for the namespace.
    pub fn chart(&self, more: &[&str]) -> Ran {
        let namespace = self.namespace().to_owned();
        let mut arguments = vec!["template", RELEASE, CHART, "-n", &namespace];
        arguments.extend(more);
        self.helm(&arguments)
    }

    /// Applies the chart's service account and roles, and writes a kubeconfig that has these
    /// rights and no more.
    ///
    /// # Panics
    /// When the API server refuses.
    #[track_caller]
    pub(crate) fn grant(&self, folder: &Path) -> PathBuf {
        let only = ["serviceaccount.yaml", "rbac.yaml"].map(|file| format!("templates/{file}"));
        let rights = self.chart(&["-s", &only[0], "-s", &only[1]]).exits(0);
        self.apply(rights.stdout);
        let path = folder.join("kubeconfig");
        std::fs::write(&path, self.with_token(&self.token()).to_string()).unwrap();
        path
    }

    fn token(&self) -> String {
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{RELEASE}/token",
            self.namespace()
        );
        let request = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {},
        });
        let ran = self.feed(&["create", "--raw", &path, "-f", "-"], &request.to_string());
        let token = ran.exits(0).json()["status"]["token"].clone();
        token.as_str().unwrap().to_owned()
    }

    /// The cluster's kubeconfig with another user.
    fn with_token(&self, token: &str) -> serde_json::Value {
        let view = self.kubectl(&["config", "view", "--raw", "-o", "json"]);
        let mut config = view.exits(0).json();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = serde_json::json!({ "token": token });
        }
        config
    }
}
