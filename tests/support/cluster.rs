//! The real API server of `deploy/lab/kube`, or any other that a kubeconfig names.

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
/// What is waited for until it is served.
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

/// A namespace of its own, with the definitions there. It goes when this is dropped.
pub struct Cluster {
    kubeconfig: PathBuf,
    namespace: String,
    /// Held as long as the test runs.
    _turn: File,
    folder: TempDir,
    /// What the chart's service account may do.
    granted: OnceCell<PathBuf>,
}

static MADE: AtomicUsize = AtomicUsize::new(0);

impl Cluster {
    /// The cluster that `VSIFLOW_LAB_KUBE` names.
    ///
    /// # Panics
    /// Where it names none: a test that did nothing must not count as passed.
    pub fn enter() -> Option<Self> {
        Self::take(File::lock_shared)
    }

    /// The same for this test alone, which may break the API server.
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
        // Two that make the same at the same moment: one of them has to look again.
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

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The kubeconfig.
    pub fn kubeconfig(&self) -> &str {
        self.kubeconfig.to_str().unwrap()
    }

    /// A file beside the kubeconfig: what the lab has there, and what its tests share.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.kubeconfig.with_file_name(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        kubectl.args(["-n", &self.namespace]).args(arguments);
        kubectl
    }

    /// Runs `kubectl` on objects of any namespace, and gives it this to read.
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

    /// Runs `kubectl` in the namespace and gives it this to read.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Ran {
        feed(self.command(arguments), input)
    }

    /// Runs `helm`.
    pub fn helm(&self, arguments: &[&str]) -> Ran {
        let mut helm = Command::new("helm");
        helm.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        // It keeps things in the home folder otherwise.
        for place in ["CACHE", "CONFIG", "DATA"] {
            helm.env(format!("HELM_{place}_HOME"), self.folder.path());
        }
        Running::start(&mut helm).end(120)
    }

    /// An object as the API server has it; null where there is none.
    pub fn get(&self, what: &str) -> Value {
        let ran = self.kubectl(&["get", what, "-o", "json", "--ignore-not-found"]);
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    /// A condition's status; empty where there is no such condition.
    pub fn condition(&self, what: &str, condition: &str) -> String {
        let object = self.get(what);
        let all = object["status"]["conditions"].as_array().cloned();
        let mut all = all.unwrap_or_default().into_iter();
        let found = all.find(|one| one["type"] == condition);
        found.map_or(String::new(), |one| {
            one["status"].as_str().unwrap().to_owned()
        })
    }

    /// Waits as users do.
    #[track_caller]
    pub fn wait_ready(&self, what: &str) {
        let arguments = ["wait", "--for=condition=Ready", what, "--timeout=90s"];
        self.kubectl(&arguments).exits(0);
    }

    /// Waits until something holds, and asks the API server no oftener than it must.
    pub fn until(&self, what: &str, seconds: u64, holds: impl Fn() -> bool) {
        until_lasting(what, seconds, holds);
    }

    /// The Events of an object: reason and message.
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

    /// A kubeconfig with the rights of the Helm chart.
    pub fn granted(&self) -> &str {
        let granted = self.granted.get_or_init(|| self.grant(self.folder.path()));
        granted.to_str().unwrap()
    }

    /// Serves the namespace with these rights alone, on that state directory.
    pub fn serve(&self, vsiflow: &Vsiflow, more: &[&str]) -> Running {
        self.serve_as(self.granted(), vsiflow, more)
    }

    /// The same with the rights of that kubeconfig.
    pub fn serve_as(&self, kubeconfig: &str, vsiflow: &Vsiflow, more: &[&str]) -> Running {
        let mut arguments = vec!["serve", "--kube", "--namespace", &self.namespace];
        arguments.extend(["--kubeconfig", kubeconfig]);
        arguments.extend(more);
        vsiflow.start(&arguments)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What a test left behind may have finalizers that nobody is there for any more.
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
