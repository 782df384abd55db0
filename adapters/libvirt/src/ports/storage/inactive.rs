//! Lists the files in the directory of an inactive pool with a command on the host, because libvirt does not.

use std::time::Duration;

use vsiflow_steps::ports::{PoolFiles, PortResult};

use super::LibvirtHost;
use crate::{
    ports::host::quoted,
    xml::pool::{self, PoolPlace},
};

const TIMEOUT: Duration = Duration::from_secs(60);

impl LibvirtHost {
    pub(super) async fn layers_of_inactive(&self, name: &str) -> PortResult<PoolFiles> {
        let object = format!("pool {name}");
        let (calls, context) = (self.quick().await?, self.speaking(&object));
        let pool_reply = calls.storage_pool_lookup_by_name(name).await;
        let pool = pool_reply.map_err(|e| context.of(&e))?;
        let xml_reply = calls.storage_pool_get_xml_desc(&pool).await;
        let xml = xml_reply.map_err(|e| context.of(&e))?;
        let place = self.parsed(xml, pool::place).await;
        let folder = match place.map_err(|e| context.unreadable(&e))? {
            PoolPlace::NoFiles => return Ok(PoolFiles::None),
            PoolPlace::Mount => {
                let why = "its file system is not mounted by it".to_owned();
                return Ok(PoolFiles::Unknown(why));
            }
            PoolPlace::Folder(folder) => folder,
        };
        if !self.has_shell().await? {
            let why = "no command may be run on the host".to_owned();
            return Ok(PoolFiles::Unknown(why));
        }
        Ok(read(&self.command(&list_command(&folder), TIMEOUT).await?))
    }
}

/// Prints a line for each file that may have a backing file, and `?` with a reason for one that cannot be
/// read. Only qcow2 files name their backing file in the header.
fn list_command(folder: &str) -> String {
    let folder = quoted(folder);
    format!(
        "nl='\n'; d={folder}; [ -e \"$d\" ] || exit 0; \
         [ -d \"$d\" ] && [ -r \"$d\" ] && [ -x \"$d\" ] || {{ echo '? its folder cannot be read'; exit 0; }}; \
         for f in \"$d\"/* \"$d\"/.*; do [ -f \"$f\" ] || continue; \
         case \"$f\" in *\"$nl\"*) echo '? a name with a line break'; continue;; esac; \
         [ -r \"$f\" ] || {{ echo \"? $f cannot be read\"; continue; }}; \
         m=$(head -c 3 -- \"$f\" 2>/dev/null | tr -d '\\000'); \
         if [ \"$m\" = QFI ]; then echo \"/$f\"; fi; done"
    )
}

fn read(output: &str) -> PoolFiles {
    let mut files = Vec::new();
    // Only a line break ends a line: a name may end with a carriage return.
    for line in output.split_terminator('\n') {
        match (line.strip_prefix('?'), line.strip_prefix('/')) {
            (Some(why), _) => return PoolFiles::Unknown(why.trim().to_owned()),
            (_, Some(file)) => files.push(file.to_owned()),
            _ => return PoolFiles::Unknown("the host's answer makes no sense".to_owned()),
        }
    }
    PoolFiles::Are(files)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::ffi::OsStrExt as _, process::Command};

    use vsiflow_steps::host_text;

    use super::*;

    fn read_all(folder: &std::path::Path) -> PoolFiles {
        let mut shell = Command::new("/bin/sh");
        let command = list_command(&folder.display().to_string());
        let output = shell.arg("-c").arg(command).output().unwrap();
        read(&host_text::read(&output.stdout))
    }

    #[test]
    fn what_may_be_a_layer_is_found_in_a_folder_by_its_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("it's a pool");
        assert_eq!(
            read_all(&folder),
            PoolFiles::Are(Vec::new()),
            "there is none"
        );
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(read_all(&folder), PoolFiles::Are(Vec::new()));
        for (name, bytes) in [
            ("over", &b"QFI\xfb\0\0\0\x03"[..]),
            (".hidden $(x)", b"QFI\xfb"),
            ("raw", b"\0\0\0\0\0"),
            ("empty", b""),
            ("carriage return\r", b"QFI\xfb"),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let odd = folder.join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        std::fs::write(&odd, b"QFI\xfb").unwrap();
        std::fs::create_dir(folder.join("QFI")).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let PoolFiles::Are(mut found) = read_all(&folder) else {
            panic!("it can be read");
        };
        found.sort();
        let odd = host_text::read(odd.as_os_str().as_bytes()).into_owned();
        let [hidden, carriage, over] = [".hidden $(x)", "carriage return\r", "over"].map(at);
        assert_eq!(found, [hidden, odd, carriage, over]);
        std::fs::write(folder.join("two\nlines"), b"QFI\xfb").unwrap();
        assert!(matches!(read_all(&folder), PoolFiles::Unknown(_)));
    }

    #[test]
    fn an_answer_without_sense_is_no_empty_folder() {
        assert!(matches!(read("Welcome!\n"), PoolFiles::Unknown(_)));
        assert!(matches!(read("?"), PoolFiles::Unknown(_)));
    }
}
