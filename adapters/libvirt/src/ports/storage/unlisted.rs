//! Finds the layers that libvirt leaves out when it lists a pool: files whose names have control characters.

use std::time::Duration;

use vsiflow_steps::ports::{PortResult, VolumeInfo, VolumeKey};

use super::LibvirtHost;
use crate::{connection::Calls, ports::host::quoted, protocol::StoragePool, xml::pool};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Why such a file is unreadable.
const CONTROL: &str = "libvirt does not list it, because its name has control characters";

impl LibvirtHost {
    /// The files in the pool's folder that libvirt does not list and that may be layers over its volumes, as
    /// far as the host permits commands.
    pub(super) async fn unlisted_layers(
        &self,
        calls: &Calls,
        pool: &StoragePool,
    ) -> PortResult<Vec<VolumeInfo>> {
        if !self.has_shell().await? {
            return Ok(Vec::new());
        }
        let object = format!("pool {}", pool.name);
        let context = self.speaking(&object);
        let xml_reply = calls.storage_pool_get_xml_desc(pool).await;
        let xml = xml_reply.map_err(|e| context.of(&e))?;
        let folder = self.parsed(xml, pool::folder).await;
        let Some(folder) = folder.map_err(|e| context.unreadable(&e))? else {
            return Ok(Vec::new());
        };
        let output = self.command(&list_command(&folder), TIMEOUT).await?;
        let key = |name: String| VolumeKey {
            pool: pool.name.clone(),
            name,
        };
        let names = read(&output).into_iter();
        Ok(names
            .map(|name| VolumeInfo::unreadable(key(name), CONTROL))
            .collect())
    }
}

/// Prints the names that have control characters, a slash after each, of files that are qcow2 or cannot be
/// read. Only qcow2 files name their backing file in the header.
fn list_command(folder: &str) -> String {
    let folder = quoted(folder);
    format!(
        "export LC_ALL=C; cd {folder} 2>/dev/null || exit 0; for f in * .*; do \
         case \"$f\" in *[[:cntrl:]]*) [ -f \"$f\" ] || continue; \
         m=$(head -c 3 -- \"$f\" 2>/dev/null | tr -d '\\000'); \
         if [ \"$m\" = QFI ] || [ ! -r \"$f\" ]; then printf '%s/' \"$f\"; fi;; esac; done"
    )
}

fn read(output: &str) -> Vec<String> {
    output.split_terminator('/').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

    use vsiflow_steps::host_text;

    use super::*;

    fn read_all(folder: &std::path::Path) -> Vec<String> {
        let mut shell = Command::new("/bin/sh");
        let command = list_command(&folder.display().to_string());
        let output = shell.arg("-c").arg(command).output().unwrap();
        assert!(output.status.success());
        read(&host_text::read(&output.stdout))
    }

    #[test]
    fn only_layers_whose_names_libvirt_leaves_out_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a pool");
        assert!(read_all(&folder).is_empty());
        std::fs::create_dir(&folder).unwrap();
        assert!(read_all(&folder).is_empty());
        for (name, head) in [
            (&b"two\nlines"[..], &b"QFI\xfb"[..]),
            (b".\x01caf\xe9", b"QFI\xfb"),
            (b"caf\xe9", b"QFI\xfb"),
            (b"raw\t", b"\0\0\0"),
            (b"over", b"QFI\xfb"),
        ] {
            std::fs::write(folder.join(OsStr::from_bytes(name)), head).unwrap();
        }
        let mut names = read_all(&folder);
        names.sort();
        let odd = host_text::read(b".\x01caf\xe9").into_owned();
        assert_eq!(names, [odd, "two\nlines".to_owned()]);
    }
}
