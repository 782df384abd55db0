//! The plugin `kubectl vsi`: the vsiflow binary under its other name, found by a real `kubectl`.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Running, TestCluster, Vsiflow,
    vsiflow::{Ran, binary},
};

/// A folder with the plugin, first in the PATH. The lab's API server has no kubelet, so a stand-in for
/// `kubectl` in this folder runs the commands of `kubectl exec` locally, with the settings of the chart's
/// container. It passes everything else to the real `kubectl`.
pub struct Plugin<'a> {
    cluster: &'a TestCluster,
    folder: PathBuf,
    state: PathBuf,
    kubeconfig: PathBuf,
}

impl<'a> Plugin<'a> {
    /// Makes the folder, for the state directory of the process that serves the cluster.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn of(cluster: &'a TestCluster, vsiflow: &Vsiflow) -> Self {
        let folder = vsiflow.folder().join("plugin");
        std::fs::create_dir(&folder).unwrap();
        for name in ["kubectl-vsi", "kubectl_complete-vsi"] {
            symlink(binary(), folder.join(name)).unwrap();
        }
        let plugin = Self {
            cluster,
            folder,
            state: vsiflow.state(),
            kubeconfig: cluster.kubeconfig().into(),
        };
        plugin.stand_in();
        plugin
    }

    /// The same with the user of this kubeconfig.
    pub fn with_kubeconfig(self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            ..self
        }
    }

    fn stand_in(&self) {
        let script = format!(
            "#!/bin/sh\n\
             case \" $* \" in *' exec '*) ;; *) exec {real} \"$@\" ;; esac\n\
             echo \"$@\" >> {asked}\n\
             while [ \"$1\" != -- ]; do shift; done\n\
             shift 2\n\
             VSIFLOW_LOG=info VSIFLOW_LOG_FORMAT=json {binary} --state {state} \"$@\"\n\
             code=$?\n\
             [ $code = 0 ] || echo \"command terminated with exit code $code\" >&2\n\
             exit $code\n",
            real = real().display(),
            asked = self.calls_file().display(),
            binary = binary().display(),
            state = self.state.display(),
        );
        let path = self.folder.join("kubectl");
        std::fs::write(&path, script).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.join("asked")
    }

    /// The arguments of each `kubectl exec` so far, one line each.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.calls_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Starts `kubectl vsi`.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// The command `kubectl vsi` with these arguments.
    ///
    /// # Panics
    /// When there is no PATH.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new(self.folder.join("kubectl"));
        let path = std::env::var("PATH").unwrap();
        kubectl.env("PATH", format!("{}:{path}", self.folder.display()));
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        kubectl.env_remove("VSIFLOW_OPERATOR");
        kubectl.arg("vsi").args(arguments);
        kubectl.args(["-n", self.cluster.namespace()]);
        kubectl
    }

    /// The completions for the last of these words of `kubectl vsi`, as `kubectl` asks for them.
    pub fn proposes(&self, words: &[&str]) -> Ran {
        let mut complete = Command::new(self.folder.join("kubectl_complete-vsi"));
        complete.env("KUBECONFIG", self.cluster.kubeconfig());
        complete.args(["-n", self.cluster.namespace()]).args(words);
        Running::start(&mut complete).end(30).exits(0)
    }

    /// Runs `kubectl vsi`.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end(120)
    }

    /// How many processes run that would run in a pod.
    pub fn in_pods(&self) -> usize {
        let state = self.state.to_str().unwrap().as_bytes();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let has = |line: &[u8], word: &[u8]| line.windows(word.len()).any(|part| part == word);
        lines
            .filter(|line| has(line, state) && has(line, b"--remote-caller"))
            .count()
    }
}

fn real() -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    let mut all = path
        .split(':')
        .map(|folder| Path::new(folder).join("kubectl"));
    all.find(|file| file.is_file()).expect("there is a kubectl")
}
