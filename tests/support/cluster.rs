//! A real Kubernetes API server: the one of `deploy/lab/kube`, or any other that a kubeconfig names.

use std::{
    cell::OnceCell,
    fs::File,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Running, Vsiflow,
    lab::take_turn,
    until, until_lasting,
    vsiflow::{Ran, feed},
};

const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crd.yaml");
/// The custom resource definitions that must be served before a test begins.
const DEFINED: [&str; 8] = [
    "onprem-hpcrs.hpse.ibm.com",
    "onprem-datadisks.hpse.ibm.com",
    "virtualservers.vsiflow.io",
    "virtualserverpools.vsiflow.io",
    "virtualservergroups.vsiflow.io",
    "virtualservernetworks.vsiflow.io",
    "virtualserverquotas.vsiflow.io",
    "virtualserversnapshots.vsiflow.io",
];

/// A namespace for one test, in a cluster with the custom resource definitions. Drop deletes the namespace.
pub struct TestCluster {
    kubeconfig: PathBuf,
    namespace: String,
    /// The lock on the cluster, held as long as the test runs.
    _turn: File,
    folder: TempDir,
    /// The kubeconfig of the chart's service account, made on first use.
    granted: OnceCell<PathBuf>,
}

static MADE: AtomicUsize = AtomicUsize::new(0);

impl TestCluster {
    /// Enters the cluster of the kubeconfig in `VSIFLOW_LAB_KUBE`, shared with other tests.
    ///
    /// # Panics
    /// When the variable is not set: a test that did nothing must not count as passed.
    pub fn enter() -> Option<Self> {
        Self::take(File::lock_shared)
    }

    /// Enters the cluster for this test alone, which may break the API server.
    pub fn enter_alone() -> Option<Self> {
        Self::take(File::lock)
    }

    fn take(lock: fn(&File) -> std::io::Result<()>) -> Option<Self> {
        let kubeconfig = std::env::var_os("VSIFLOW_LAB_KUBE");
        let kubeconfig = kubeconfig.expect("no API server in a lab: see tests/README.md");
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = PathBuf::from(kubeconfig);
        let turn = take_turn(&kubeconfig.with_file_name("tests.lock"), lock);
        let cluster = Self {
            kubeconfig,
            _turn: turn,
            namespace: format!("t{}-{number}", std::process::id()),
            folder: tempfile::tempdir().unwrap(),
            granted: OnceCell::new(),
        };
        // Two tests may apply the same definitions at the same time. The one that fails applies again.
        until("the definitions", 60, || {
            let applied = cluster.kubectl(&["apply", "-f", DEFINITIONS]);
            (applied.code == Some(0)).then_some(())
        });
        for definition in DEFINED {
            let definition = format!("crd/{definition}");
            let wait = ["wait", "--for=condition=Established", &definition];
            cluster.kubectl(&wait).exits(0);
        }
        let namespace = ["create", "namespace", &cluster.namespace];
        cluster.kubectl(&namespace).exits(0);
        Some(cluster)
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The path of the kubeconfig.
    pub fn kubeconfig(&self) -> &str {
        self.kubeconfig.to_str().unwrap()
    }

    /// The path of a file beside the kubeconfig, where the lab's files and the tests' shared files are.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.kubeconfig.with_file_name(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        kubectl.args(["-n", &self.namespace]).args(arguments);
        kubectl
    }

    /// Runs `kubectl` on objects of any namespace, with `input` on its standard input.
    pub fn feed_anywhere(&self, arguments: &[&str], input: &str) -> Ran {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        feed(kubectl, input)
    }

    /// Runs `kubectl` in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        Running::start(&mut self.command(arguments)).end(120)
    }

    /// Applies documents.
    ///
    /// # Panics
    /// When they are refused.
    #[track_caller]
    pub fn apply(&self, documents: impl ToString) {
        let ran = self.try_apply(&documents.to_string());
        ran.exits(0);
    }

    /// Applies documents, which may be refused.
    pub fn try_apply(&self, documents: &str) -> Ran {
        self.feed(&["apply", "-f", "-"], documents)
    }

    /// Runs `kubectl` in the namespace, with `input` on its standard input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Ran {
        feed(self.command(arguments), input)
    }

    /// Runs `helm`.
    pub fn helm(&self, arguments: &[&str]) -> Ran {
        let mut helm = Command::new("helm");
        helm.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        // Otherwise it writes into the home folder.
        for place in ["CACHE", "CONFIG", "DATA"] {
            helm.env(format!("HELM_{place}_HOME"), self.folder.path());
        }
        Running::start(&mut helm).end(120)
    }

    /// An object as the API server returns it; null if there is none.
    pub fn get(&self, what: &str) -> Value {
        let ran = self.kubectl(&["get", what, "-o", "json", "--ignore-not-found"]);
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    /// The status of a condition; empty if the object does not have it.
    pub fn condition(&self, what: &str, condition: &str) -> String {
        let object = self.get(what);
        let all = object["status"]["conditions"].as_array().cloned();
        let mut all = all.unwrap_or_default().into_iter();
        let found = all.find(|one| one["type"] == condition);
        found.map_or(String::new(), |one| {
            one["status"].as_str().unwrap().to_owned()
        })
    }

    /// Waits with `kubectl wait` until the object is ready, for at most 90 s.
    #[track_caller]
    pub fn wait_ready(&self, what: &str) {
        let arguments = ["wait", "--for=condition=Ready", what, "--timeout=90s"];
        self.kubectl(&arguments).exits(0);
    }

    /// Waits until `holds` is true, with few requests to the API server.
    pub fn until(&self, what: &str, seconds: u64, holds: impl Fn() -> bool) {
        until_lasting(what, seconds, holds);
    }

    /// The reason and the message of each Event of an object.
    pub fn events(&self, name: &str) -> Vec<(String, String)> {
        let field = format!("--field-selector=involvedObject.name={name}");
        let ran = self
            .kubectl(&["get", "events", &field, "-o", "json"])
            .exits(0);
        let items = ran.json()["items"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        items
            .iter()
            .map(|event| (text(&event["reason"]), text(&event["message"])))
            .collect()
    }

    /// The path of a kubeconfig with only the rights of the Helm chart.
    pub fn granted(&self) -> &str {
        let granted = self.granted.get_or_init(|| self.grant(self.folder.path()));
        granted.to_str().unwrap()
    }

    /// Starts `vsiflow serve` for the namespace, with only the rights of the chart, on this state directory.
    pub fn serve(&self, vsiflow: &Vsiflow, more: &[&str]) -> Running {
        self.serve_as(self.granted(), vsiflow, more)
    }

    /// The same with the rights of this kubeconfig.
    pub fn serve_as(&self, kubeconfig: &str, vsiflow: &Vsiflow, more: &[&str]) -> Running {
        let mut arguments = vec!["serve", "--kube", "--namespace", &self.namespace];
        arguments.extend(["--kubeconfig", kubeconfig]);
        arguments.extend(more);
        vsiflow.start(&arguments)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        // Objects that a test left behind may have finalizers, and vsiflow no longer runs to remove them.
        for kind in ["vssnap", "vsg", "vsp", "vs", "vsi", "vsidisk", "vsn", "vsq"] {
            let names = self.kubectl(&["get", kind, "-o", "name"]).stdout;
            for name in names.lines() {
                let patch = r#"{"metadata":{"finalizers":null}}"#;
                self.kubectl(&["patch", name, "--type=merge", "-p", patch]);
            }
        }
        let ending = ["delete", "namespace", &self.namespace, "--wait=false"];
        self.kubectl(&ending);
    }
}
