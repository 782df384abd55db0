//! Writes the documents of data disks.

use std::fmt;

/// A document of a data disk that vsiflow makes, or of a reference to a volume that exists.
#[derive(Clone, Debug)]
pub struct DiskDocument {
    name: String,
    owner: String,
    uid: Option<String>,
    spec: Vec<String>,
    kind: &'static str,
    selected: String,
}

impl DiskDocument {
    /// A data disk of 1 GiB that vsiflow makes.
    pub fn named(name: &str) -> Self {
        let made = "HyperProtectContainerRuntimeOnPremDataDisk";
        Self::of(name, made).with("size: 1Gi")
    }

    /// A reference to this volume.
    pub fn existing(name: &str, volume: &str) -> Self {
        let reference = "HyperProtectContainerRuntimeOnPremDataDiskRef";
        Self::of(name, reference).with(&format!("volumeName: {volume}"))
    }

    fn of(name: &str, kind: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            owner: "web".to_owned(),
            uid: None,
            spec: Vec::new(),
            kind,
            selected: "lab".to_owned(),
        }
    }

    /// The same with the label that the VSI with this name selects.
    pub fn of_vsi(mut self, name: &str) -> Self {
        self.owner = name.to_owned();
        self
    }

    /// The same with this UID.
    pub fn uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }

    /// The same with this size.
    pub fn size(mut self, size: &str) -> Self {
        self.spec.retain(|line| !line.starts_with("size:"));
        self.with(&format!("size: {size}"))
    }

    /// The same with this line in its spec.
    pub fn with(mut self, line: &str) -> Self {
        self.spec.push(line.to_owned());
        self
    }
}

impl fmt::Display for DiskDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "---\napiVersion: hpse.ibm.com/v1\nkind: {}", self.kind)?;
        writeln!(f, "metadata:\n  name: {}", self.name)?;
        if let Some(uid) = &self.uid {
            writeln!(f, "  uid: {uid}")?;
        }
        writeln!(f, "  labels:\n    disks: {}\nspec:", self.owner)?;
        for line in &self.spec {
            writeln!(f, "  {line}")?;
        }
        let labels = format!("matchLabels:\n      config: {}", self.selected);
        writeln!(f, "  targetSelector:\n    {labels}")
    }
}
