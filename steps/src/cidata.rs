//! Builds and reads the cidata volume: a small ISO from which the guest gets its contract and its
//! hostname.
//!
//! The guest's attestation record hashes the whole volume, so equal input gives equal bytes: no
//! clock and no random number go into it.

mod meta_data;
mod volume;

use hadris_fs::{Content, NoClock, Node, Tree};
use hadris_iso::{IsoId, IsoOptions};
use hadris_storage::{BlockSize, MemDevice};
use uuid::Uuid;
use vsiflow_engine::model::Failure;

use crate::{error, guest::no_cloud::Instance};
use meta_data::MetaData;
use volume::IsoFiles;

/// The label by which the guest finds the volume.
pub const LABEL: &str = "cidata";

const VENDOR_DATA: &str = "#cloud-config\nusers:\n- default\n";
const SECTOR: u32 = 2048;

/// The content of the volume.
#[derive(Clone, PartialEq, Eq)]
pub struct Cidata {
    /// The contract, verbatim.
    pub user_data: Vec<u8>,
    /// The guest's hostname; empty if the volume was written by another program and has none.
    pub hostname: String,
    /// Netplan v2 text.
    pub network_config: Option<String>,
    /// Data for cloud-init; `None` in the volume of a Hyper Protect guest, which has a format of its own.
    pub instance: Option<Identified>,
}

/// An instance as cloud-init knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The instance ID that cloud-init compares.
    pub id: String,
    /// Public keys for the image's default user.
    pub ssh_keys: Vec<String>,
    /// Data that the image's provider adds.
    pub vendor_data: Option<String>,
}

impl Cidata {
    /// The volume of a cloud-init guest; user-data is copied byte for byte.
    pub fn of_instance(
        uid: Uuid,
        user_data: &[u8],
        instance: &Instance,
        network_config: Option<String>,
    ) -> Self {
        let id = instance.id(uid, user_data, network_config.as_deref());
        Self {
            user_data: user_data.to_vec(),
            hostname: instance.hostname.clone(),
            network_config,
            instance: Some(Identified {
                id,
                ssh_keys: instance.ssh_keys.clone(),
                vendor_data: instance.vendor_data.clone(),
            }),
        }
    }

    fn meta_data(&self) -> String {
        match &self.instance {
            None => format!("local-hostname: {}\n", self.hostname),
            Some(instance) => Instance {
                hostname: self.hostname.clone(),
                ssh_keys: instance.ssh_keys.clone(),
                vendor_data: None,
            }
            .meta_data(&instance.id),
        }
    }

    fn vendor_data(&self) -> Option<&str> {
        match &self.instance {
            None => Some(VENDOR_DATA),
            Some(instance) => instance.vendor_data.as_deref(),
        }
    }

    /// Builds the ISO; the same content always gives the same bytes.
    ///
    /// # Errors
    /// A blocked failure when the content does not fit an ISO.
    pub fn build(&self) -> Result<Vec<u8>, Failure> {
        self.write().ok_or_else(|| {
            error::REJECTED.failure("the contract or the network configuration does not fit an ISO")
        })
    }

    fn write(&self) -> Option<Vec<u8>> {
        let (tree, options) = (self.tree()?, options());
        let size = hadris_iso::plan(&tree, &options).ok()?.size();
        let bytes = vec![0; usize::try_from(size).ok()?];
        let mut device = MemDevice::new(bytes, BlockSize::new(SECTOR)?);
        hadris_iso::sync::write(&mut device, &tree, &options).ok()?;
        Some(device.into_inner())
    }

    fn tree(&self) -> Option<Tree> {
        let mut tree = Tree::new();
        let mut add = |name: &str, bytes: &[u8]| {
            tree.insert(name, Node::file(Content::bytes(bytes.to_vec())))
                .ok()
                .map(drop)
        };
        add("user-data", &self.user_data)?;
        add("meta-data", self.meta_data().as_bytes())?;
        if let Some(vendor_data) = self.vendor_data() {
            add("vendor-data", vendor_data.as_bytes())?;
        }
        if let Some(network) = &self.network_config {
            add("network-config", network.as_bytes())?;
        }
        Some(tree)
    }
}

fn options() -> IsoOptions {
    IsoOptions::default()
        .with_id(IsoId::Volume, LABEL)
        .with_joliet()
        .with_rock_ridge()
        .with_time(NoClock::TIME)
}

/// Reads a volume as the guest does. `None` if it is not a cidata volume.
///
/// The host may be hostile. For any input this ends soon and needs little more memory than `iso`.
pub fn read(iso: &[u8]) -> Option<Cidata> {
    if label(iso)? != LABEL {
        return None;
    }
    let files = IsoFiles::read(iso)?;
    let text = |name: &str| String::from_utf8(files.get(name)?.to_vec()).ok();
    let meta_data = MetaData::read(&text("meta-data").unwrap_or_default());
    let identified = |id| Identified {
        id,
        ssh_keys: meta_data.ssh_keys,
        vendor_data: text("vendor-data"),
    };
    Some(Cidata {
        user_data: files.get("user-data")?.to_vec(),
        hostname: meta_data.hostname,
        network_config: text("network-config"),
        instance: meta_data.instance_id.map(identified),
    })
}

/// The label of an ISO, from the primary volume descriptor, where the guest's tools read it.
pub fn label(iso: &[u8]) -> Option<&str> {
    let label = iso.get(0x8000 + 40..0x8000 + 72)?;
    std::str::from_utf8(label).ok().map(str::trim_end)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn sample() -> Cidata {
        Cidata {
            user_data: b"workload: a\nenv: b\n".to_vec(),
            hostname: "web-1".to_owned(),
            network_config: None,
            instance: None,
        }
    }

    #[test]
    fn a_cloud_init_guest_reads_all_of_its_volume_back() {
        let instance = Instance {
            hostname: "web".to_owned(),
            ssh_keys: vec!["ssh-ed25519 AAAA \"me\"".to_owned(), "ssh-rsa B".to_owned()],
            vendor_data: Some("#cloud-config\npackage_update: false\n".to_owned()),
        };
        let user_data = b"Content-Type: multipart/mixed; boundary=\"x\"\r\n\x00\xff";
        let network = Some("version: 2\n".to_owned());
        let cidata = Cidata::of_instance(Uuid::from_u128(7), user_data, &instance, network);
        let iso = cidata.build().unwrap();
        assert_eq!(label(&iso), Some(LABEL));
        let found = read(&iso).unwrap();
        assert!(found == cidata);
        assert_eq!(found.user_data, user_data);
        assert!(found.instance.unwrap().id.starts_with("i-"));
        let bare = Instance {
            vendor_data: None,
            ..instance
        };
        let bare = Cidata::of_instance(Uuid::from_u128(7), user_data, &bare, None);
        assert!(read(&bare.build().unwrap()).unwrap() == bare);
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        assert_eq!(sample().build(), sample().build());
        let other = Cidata {
            hostname: "web-2".to_owned(),
            ..sample()
        };
        assert_ne!(sample().build(), other.build());
    }

    #[test]
    fn the_guest_finds_it_by_label_and_reads_all_of_it_back() {
        let with_network = Cidata {
            network_config: Some("version: 2\n".to_owned()),
            ..sample()
        };
        for cidata in [sample(), with_network] {
            let iso = cidata.build().unwrap();
            assert_eq!(iso.get(0x8001..0x8006), Some(b"CD001".as_slice()));
            assert_eq!(label(&iso), Some(LABEL));
            assert!(read(&iso).unwrap() == cidata);
        }
    }

    /// Volumes of the corpus, made by the programs that users use.
    #[test]
    fn volumes_of_other_programs_are_read() {
        for name in ["joliet", "rock-ridge", "joliet-and-rock-ridge"] {
            let found = read(&unpacked(name)).unwrap();
            assert_eq!(found.user_data, b"workload: a\nenv: b\n", "{name}");
            assert_eq!(found.hostname, "web-1", "{name}");
            assert_eq!(
                found.network_config.as_deref(),
                Some("version: 2\n"),
                "{name}"
            );
        }
    }

    /// Each of a thousand records refers to megabytes of continuation areas.
    #[test]
    fn a_volume_made_to_keep_its_reader_busy_is_read_at_once() {
        let begun = std::time::Instant::now();
        let _ = read(&unpacked("endless-continuations"));
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn of_two_files_with_one_name_none_is_believed() {
        let mut iso = unpacked("rock-ridge");
        let name = b"vendor-data";
        let at = iso
            .windows(name.len())
            .position(|part| part == name)
            .unwrap();
        assert!(read(&iso).is_some());
        // As long as the other name, with a header that has this length.
        iso[at..at + 9].copy_from_slice(b"user-data");
        iso[at - 3] -= 2;
        assert!(read(&iso).is_none());
    }

    fn unpacked(name: &str) -> Vec<u8> {
        let path = format!(
            "{}/../tests/corpus/cidata/{name}.gz",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut bytes = Vec::new();
        let packed = std::fs::File::open(path).unwrap();
        flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn what_is_no_cidata_is_not_read() {
        assert!(read(b"").is_none());
        assert!(read(&vec![0; 100_000]).is_none());
    }
}
