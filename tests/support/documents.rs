//! Writes the documents of VSIs and hosts.

use std::fmt::{self, Write as _};

/// A contract that vsiflow and the test guest accept.
pub const CONTRACT: &str = "env: |\n  type: env\nworkload: |\n  type: workload\n";

/// The URL of an image that the simulated source has.
pub const SIMULATED_IMAGE: &str = "http://images.lab.test:8080/hpcr-guest.qcow2";

/// A VSI's document.
#[derive(Clone, Debug)]
pub struct Vsi {
    name: String,
    uid: Option<String>,
    image: String,
    checksum: Option<String>,
    pool: String,
    memory: String,
    contract: String,
    cpus: u32,
    /// Further lines of its spec.
    spec: Vec<String>,
    network: Option<String>,
    /// Data disks: name and size.
    disks: Vec<(String, String)>,
    chooses_disks: bool,
    selected: String,
}

impl Vsi {
    /// A VSI that becomes ready on the simulated host.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: None,
            image: SIMULATED_IMAGE.to_owned(),
            checksum: None,
            pool: "images".to_owned(),
            memory: "512Mi".to_owned(),
            contract: CONTRACT.to_owned(),
            cpus: 1,
            spec: Vec::new(),
            network: None,
            disks: Vec::new(),
            chooses_disks: false,
            selected: "lab".to_owned(),
        }
    }

    /// The same with this UID.
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }

    /// The same with its image from this URL.
    pub fn image(mut self, url: impl Into<String>) -> Self {
        self.image = url.into();
        self
    }

    /// The same with this `imageChecksum`.
    pub fn checksum(mut self, checksum: &str) -> Self {
        self.checksum = Some(checksum.to_owned());
        self
    }

    /// The same in this pool.
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = pool.to_owned();
        self
    }

    /// The same with this much memory.
    pub fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.to_owned();
        self
    }

    /// The same with this many processors.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// The same with this line in its spec, such as `powerState: Stopped`.
    pub fn with(mut self, line: &str) -> Self {
        self.spec.push(line.to_owned());
        self
    }

    /// The same with a data disk that vsiflow makes.
    pub fn disk(mut self, name: &str, size: &str) -> Self {
        self.disks.push((name.to_owned(), size.to_owned()));
        self
    }

    /// The same with the data disks whose documents have its label.
    pub fn choosing_disks(mut self) -> Self {
        self.chooses_disks = true;
        self
    }

    /// The same with this contract.
    pub fn contract(mut self, contract: &str) -> Self {
        self.contract = contract.to_owned();
        self
    }

    /// The same with a word in its contract that sets the behaviour of the test guest.
    pub fn doing(self, word: &str) -> Self {
        let contract = format!("{}# {word}\n", self.contract);
        self.contract(&contract)
    }

    /// The same on this network of the host.
    pub fn network(mut self, network: &str) -> Self {
        self.network = Some(network.to_owned());
        self
    }

    /// The same on hosts with the label `config: LABEL`.
    pub fn on(mut self, label: &str) -> Self {
        self.selected = label.to_owned();
        self
    }
}

impl fmt::Display for Vsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selected = format!(
            "targetSelector:\n    matchLabels:\n      config: {}",
            self.selected
        );
        writeln!(f, "apiVersion: hpse.ibm.com/v1")?;
        writeln!(f, "kind: HyperProtectContainerRuntimeOnPrem")?;
        writeln!(f, "metadata:\n  name: {}", self.name)?;
        if let Some(uid) = &self.uid {
            writeln!(f, "  uid: {uid}")?;
        }
        writeln!(f, "spec:\n  imageURL: {}", self.image)?;
        if let Some(checksum) = &self.checksum {
            writeln!(f, "  imageChecksum: {checksum}")?;
        }
        writeln!(f, "  storagePool: {}\n  {selected}", self.pool)?;
        writeln!(
            f,
            "  machine:\n    cpus: {}\n    memory: {}",
            self.cpus, self.memory
        )?;
        for line in &self.spec {
            writeln!(f, "  {line}")?;
        }
        if self.network.is_some() {
            writeln!(
                f,
                "  networkSelector:\n    matchLabels:\n      network: {}",
                self.name
            )?;
        }
        if !self.disks.is_empty() || self.chooses_disks {
            let name = &self.name;
            writeln!(f, "  diskSelector:\n    matchLabels:\n      disks: {name}")?;
        }
        writeln!(f, "  contract: |\n{}", indented(&self.contract, 4))?;
        for (disk, size) in &self.disks {
            writeln!(f, "---\napiVersion: hpse.ibm.com/v1")?;
            writeln!(f, "kind: HyperProtectContainerRuntimeOnPremDataDisk")?;
            let meta = format!("name: {disk}\n  labels:\n    disks: {}", self.name);
            writeln!(f, "metadata:\n  {meta}")?;
            writeln!(f, "spec:\n  size: {size}\n  {selected}")?;
        }
        let Some(network) = &self.network else {
            return Ok(());
        };
        writeln!(f, "---\napiVersion: hpse.ibm.com/v1")?;
        writeln!(f, "kind: HyperProtectContainerRuntimeOnPremNetworkRef")?;
        writeln!(
            f,
            "metadata:\n  name: net-{0}\n  labels:\n    network: {0}",
            self.name
        )?;
        writeln!(f, "spec:\n  networkName: {network}\n  {selected}")
    }
}

/// The documents of a host: a `ConfigMap` and a Secret.
#[derive(Clone, Debug)]
pub struct Host {
    /// The value of the label `config`, by which VSIs select the host.
    pub label: String,
    /// The host's address.
    pub hostname: String,
    /// The port of its SSH server.
    pub port: u16,
    /// The text of a `known_hosts` file.
    pub known_hosts: String,
    /// The text of a private key.
    pub key: String,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meta = format!(
            "metadata:\n  name: {0}\n  labels:\n    config: {0}",
            self.label
        );
        let Self { hostname, port, .. } = self;
        writeln!(f, "apiVersion: v1\nkind: ConfigMap\n{meta}\ndata:")?;
        writeln!(
            f,
            "  HOSTNAME: \"{hostname}\"\n  PORT: \"{port}\"\n  USER: root"
        )?;
        writeln!(f, "  KNOWN_HOSTS: |\n{}", indented(&self.known_hosts, 4))?;
        writeln!(f, "---\napiVersion: v1\nkind: Secret\n{meta}\nstringData:")?;
        writeln!(f, "  KEY: |\n{}---", indented(&self.key, 4))
    }
}

impl Host {
    /// The Secret alone.
    pub fn secret(&self) -> String {
        let all = self.to_string();
        let (_, secret) = all.split_once("---\n").unwrap_or_default();
        secret.to_owned()
    }
}

fn indented(text: &str, by: usize) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{:by$}{line}", "");
        all
    })
}
