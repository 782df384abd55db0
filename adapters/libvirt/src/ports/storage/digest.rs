//! The SHA-256 of a volume. The host computes it if it permits commands and the account may read the file;
//! otherwise the bytes are downloaded through libvirt.

use sha2::{Digest as _, Sha256};
use vsiflow_engine::model::Hash;
use vsiflow_steps::ports::{PortErrorKind, PortResult, VolumeKey};

use super::LibvirtHost;
use crate::ports::{COPY, host::quoted};

/// Printed in place of a hash.
const UNREADABLE: &str = "unreadable";

impl LibvirtHost {
    pub(super) async fn digest(&self, key: &VolumeKey) -> PortResult<Hash> {
        if self.has_shell().await?
            && let Some(hash) = self.sha256_there(key).await?
        {
            return Ok(hash);
        }
        self.sha256_here(key).await
    }

    /// `None` if the account may not read the file.
    async fn sha256_there(&self, key: &VolumeKey) -> PortResult<Option<Hash>> {
        let path = self.path(key).await?;
        let output = self.command(&hashing(&path), COPY).await?;
        if output.trim() == UNREADABLE {
            return Ok(None);
        }
        let digits = output.get(..64).and_then(hash);
        let object = format!("volume {key}");
        digits.map(Some).ok_or_else(|| {
            self.speaking(&object).error(
                PortErrorKind::Other,
                format!("its SHA-256 is reported as {output:?}"),
            )
        })
    }

    async fn sha256_here(&self, key: &VolumeKey) -> PortResult<Hash> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let length = self.present(&calls, &volume).await?.physical;
        let mut hash = Sha256::new();
        if length > 0 {
            self.stream(key, &volume, 0, length, |piece| hash.update(piece))
                .await?;
        }
        Ok(Hash(hash.finalize().into()))
    }
}

/// The command that computes a file's SHA-256.
///
/// OpenSSL uses the processor's instructions for it, which coreutils mostly does not: it takes a quarter of
/// the time. If OpenSSL is missing or too old, coreutils is used. Both read standard input, so that neither
/// has to escape the file's name in its output.
fn hashing(path: &str) -> String {
    let path = quoted(path);
    format!(
        "if [ -r {path} ]; then openssl dgst -sha256 -r <{path} || sha256sum <{path}; \
         else echo {UNREADABLE}; fi"
    )
}

/// Parses a hash from its 64 hexadecimal digits.
pub(super) fn hash(digits: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let from = at.checked_mul(2)?;
        *byte = u8::from_str_radix(digits.get(from..from.checked_add(2)?)?, 16).ok()?;
    }
    Some(Hash(bytes))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::Path, process::Command};

    use super::*;

    fn run_tool(path: &Path, tools: &Path) -> String {
        let mut shell = Command::new("/bin/sh");
        let shell = shell.env("PATH", tools).arg("-c");
        let output = shell.arg(hashing(path.to_str().unwrap())).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_file_is_hashed_with_whatever_the_host_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's a\\ name\n");
        std::fs::write(&file, b"abc").unwrap();
        let coreutils = dir.path().join("coreutils");
        std::fs::create_dir(&coreutils).unwrap();
        symlink("/usr/bin/sha256sum", coreutils.join("sha256sum")).unwrap();
        for tools in [Path::new("/usr/bin"), &coreutils] {
            let output = run_tool(&file, tools);
            let found = output.get(..64).and_then(hash);
            assert_eq!(found, Some(Hash::of(b"abc")), "{output:?}");
        }
        let gone = run_tool(&dir.path().join("gone"), Path::new("/usr/bin"));
        assert_eq!(gone.trim(), UNREADABLE);
    }
}
