//! Limits what documents may make this process read, if other users write them.

use std::path::{Path, PathBuf};

use vsiflow_engine::secret::Secret;
use vsiflow_image::{AddressPolicy, Cidr, Folders, UploadRelay};
use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult};
use vsiflow_workflows::spec::{HostConnection, HostSettings, Permits, host::JumpSecrets};

use crate::off_runtime::off_runtime;

/// The place of the key of secrets' IDs: a Secret in a cluster.
#[derive(Clone)]
pub(crate) struct IdKeyPlace {
    pub(crate) client: vsiflow_kube::Client,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::fmt::Debug for IdKeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

/// What documents may name, depending on their authors.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadBounds {
    /// Whether secrets are stored outside the state directory.
    pub(crate) elsewhere: bool,
    /// The place of the key of their IDs in that case; `None` if the key is in the state directory.
    pub(crate) id_key: Option<IdKeyPlace>,
    pub(crate) files: Folders,
    pub(crate) addresses: AddressPolicy,
    /// The bridges of hosts to which guests may be attached.
    pub(crate) bridges: Vec<String>,
    /// Files that users upload.
    pub(crate) relay: UploadRelay,
    /// The host that the command line names: its settings come from the operator of this process.
    pub(crate) own: Option<HostSettings>,
}

impl ReadBounds {
    /// The bounds for documents in a cluster.
    pub(crate) fn of_cluster(
        folders: &[PathBuf],
        networks: &[Cidr],
        bridges: &[String],
        own: Option<HostSettings>,
    ) -> Self {
        Self {
            elsewhere: true,
            id_key: None,
            files: Folders::Only(folders.to_vec()),
            addresses: AddressPolicy::PublicAnd(networks.to_vec()),
            bridges: bridges.to_vec(),
            relay: UploadRelay::default(),
            own,
        }
    }

    /// Whether the settings come from the operator of this process.
    pub(super) fn trusts(&self, host: &HostSettings) -> bool {
        let own = self.own.as_ref().is_some_and(|own| own.same_as(host));
        own || self.files == Folders::Any
    }

    /// Settings from other users, with the contents of their files instead of the files' names.
    pub(super) async fn with_files_read(&self, host: HostSettings) -> PortResult<HostSettings> {
        let HostConnection::Ssh(ssh) = &host.record else {
            return Ok(host);
        };
        if self.trusts(&host) {
            return Ok(host);
        }
        let (id, mut ssh, mut key) = (host.id(), ssh.clone(), host.key.clone());
        let mut jump_secrets = host.jump_secrets.clone();
        jump_secrets.resize_with(ssh.jumps.len(), JumpSecrets::default);
        for (jump, secrets) in ssh.jumps.iter_mut().zip(&mut jump_secrets) {
            self.read_key(&id, &mut jump.key_file, &mut secrets.key)
                .await?;
            self.read_known(&id, &mut jump.known_hosts_file, &mut jump.known_hosts)
                .await?;
        }
        self.read_key(&id, &mut ssh.key_file, &mut key).await?;
        self.read_known(&id, &mut ssh.known_hosts_file, &mut ssh.known_hosts)
            .await?;
        Ok(HostSettings {
            record: HostConnection::Ssh(ssh),
            key,
            jump_secrets,
            ..host
        })
    }

    async fn read_key(
        &self,
        id: &str,
        file: &mut Option<String>,
        key: &mut Option<Secret>,
    ) -> PortResult<()> {
        if let Some(path) = file.take() {
            let text = self.text(id, "KEY_FILE", &path).await?;
            key.get_or_insert(Secret::new(text));
        }
        Ok(())
    }

    async fn read_known(
        &self,
        id: &str,
        file: &mut Option<String>,
        known: &mut Option<String>,
    ) -> PortResult<()> {
        if let Some(path) = file.take() {
            let text = self.text(id, "KNOWN_HOSTS_FILE", &path).await?;
            known.get_or_insert(String::from_utf8_lossy(&text).into_owned());
        }
        Ok(())
    }

    async fn text(&self, id: &str, name: &str, path: &str) -> PortResult<Vec<u8>> {
        let read = self.read(PathBuf::from(path)).await;
        read.map_err(|why| {
            let message = format!("{name}: {why}");
            PortError::new(PortErrorKind::Denied, id, "", message)
        })
    }

    /// Reads a short file that settings name.
    ///
    /// # Errors
    /// The reason as text.
    pub(super) async fn read(&self, path: PathBuf) -> Result<Vec<u8>, String> {
        let folders = self.files.clone();
        let shown = path.display().to_string();
        let read = off_runtime(move || folders.read(&path)).await;
        let read = read.map_err(|problem| problem.message)?;
        read.map_err(|error| match error {
            vsiflow_image::FileError::Refused(why) => why,
            error => format!("{shown}: {error}"),
        })
    }
}

impl Permits for ReadBounds {
    fn file(&self, path: &Path) -> Result<(), String> {
        self.files.judge(path).map_err(|error| error.to_string())
    }

    fn image(&self, url: &str) -> Result<(), String> {
        self.addresses.judge_text(url)
    }

    fn bridge(&self, name: &str) -> Result<(), String> {
        if self.bridges.iter().any(|permitted| permitted == name) {
            Ok(())
        } else {
            Err(format!("guests are not put on the bridge {name} of a host"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(keys: &[(&str, &str)]) -> HostSettings {
        let mut all = vec![("HOSTNAME", "h"), ("KNOWN_HOSTS", "h ssh-ed25519 A")];
        all.extend(keys);
        let values = all.into_iter();
        let values =
            values.map(|(key, text)| (key.to_owned(), Secret::new(text.as_bytes().to_vec())));
        let values = vsiflow_workflows::spec::KeyValues(values.collect());
        HostSettings::from_keys(Some(&values), None).unwrap()
    }

    #[tokio::test]
    async fn a_tenants_key_file_is_read_within_the_folders_alone_and_named_by_nobody_then() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&inside, &outside] {
            std::fs::write(folder.path().join("key"), "hunter2").unwrap();
        }
        let folders = [inside.path().to_owned()];
        let bounds = ReadBounds::of_cluster(&folders, &[], &[], None);
        let with = |folder: &Path| host(&[("KEY_FILE", folder.join("key").to_str().unwrap())]);
        let read = bounds.with_files_read(with(inside.path())).await.unwrap();
        assert_eq!(read.key.unwrap().expose(), b"hunter2");
        let error = bounds
            .with_files_read(with(outside.path()))
            .await
            .unwrap_err();
        assert!(error.message.contains("--allow-files"), "{error}");
        let jump = |folder: &Path| {
            let file = folder.join("key");
            let (jump, key) = (("PROXY_JUMP", "a"), file.to_str().unwrap());
            host(&[
                jump,
                ("PROXY_JUMP_KEY_FILE", key),
                ("PROXY_JUMP_1_KNOWN_HOSTS_FILE", key),
            ])
        };
        let through_jump = bounds.with_files_read(jump(inside.path())).await.unwrap();
        let [secrets] = &through_jump.jump_secrets[..] else {
            panic!("{through_jump:?}")
        };
        assert_eq!(secrets.key.as_ref().unwrap().expose(), b"hunter2");
        let [jump_host] = through_jump.record.jumps() else {
            panic!("{through_jump:?}")
        };
        assert_eq!(jump_host.known_hosts.as_deref(), Some("hunter2"));
        assert_eq!(
            (&jump_host.key_file, &jump_host.known_hosts_file),
            (&None, &None)
        );
        let refused = bounds.with_files_read(jump(outside.path())).await;
        assert!(refused.is_err_and(|problem| problem.message.contains("--allow-files")));
        // Settings on the command line come from the operator of this process.
        let own = with(outside.path());
        let with_own = ReadBounds::of_cluster(&folders, &[], &[], Some(own.clone()));
        assert!(
            with_own
                .with_files_read(own)
                .await
                .unwrap()
                .same_as(&with(outside.path()))
        );
        assert!(!with_own.trusts(&with(inside.path())));
    }
}
