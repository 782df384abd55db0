//! `NoCloud`, the data source by which cloud-init gets its configuration from a volume:
//! <https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html>.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The documented maximum of user-data for cloud-init, in bytes.
pub const USER_DATA_MAX: usize = 16_384;

/// The parts of a `NoCloud` volume beside user-data and network configuration. They hold no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The guest's hostname.
    pub hostname: String,
    /// Public keys for the image's default user, one per string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// Data that the image's provider adds; the user's own data takes precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<String>,
}

/// Number of hexadecimal digits of an instance ID.
const DIGITS: usize = 20;

impl Instance {
    /// The ID by which cloud-init distinguishes instances: if the ID is new, it runs everything again. So
    /// it is derived from the machine and from all that cloud-init will run.
    pub fn id(&self, uid: Uuid, user_data: &[u8], network_config: Option<&str>) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // Hash the length before each part, so that no two lists of parts give the same bytes.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(uid.as_bytes());
        add(user_data);
        add(self.hostname.as_bytes());
        add(network_config.unwrap_or_default().as_bytes());
        add(self.vendor_data.as_deref().unwrap_or_default().as_bytes());
        self.ssh_keys.iter().for_each(|key| add(key.as_bytes()));
        let digits = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        format!("i-{}", digits.get(..DIGITS).unwrap_or_default())
    }

    /// The volume's `meta-data`. Values are written as JSON strings, which are valid YAML.
    pub fn meta_data(&self, id: &str) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = format!(
            "instance-id: {}\nlocal-hostname: {}\n",
            quoted(id),
            quoted(&self.hostname)
        );
        if !self.ssh_keys.is_empty() {
            text.push_str("public-keys:\n");
        }
        for key in &self.ssh_keys {
            text.push_str(&format!("- {}\n", quoted(key)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance {
            hostname: "web".to_owned(),
            ssh_keys: vec!["ssh-ed25519 AAAA me@here".to_owned()],
            vendor_data: None,
        }
    }

    #[test]
    fn an_instance_is_another_one_where_something_is_to_run_again() {
        let uid = Uuid::from_u128(7);
        let id = instance().id(uid, b"#cloud-config\n", None);
        assert_eq!(id, instance().id(uid, b"#cloud-config\n", None));
        let mut ids = vec![
            id,
            instance().id(Uuid::from_u128(8), b"#cloud-config\n", None),
            instance().id(uid, b"#cloud-config\n\n", None),
            instance().id(uid, b"#cloud-config\n", Some("version: 2")),
        ];
        let others = [
            Instance {
                hostname: "web-2".to_owned(),
                ..instance()
            },
            Instance {
                ssh_keys: Vec::new(),
                ..instance()
            },
            Instance {
                vendor_data: Some("#cloud-config\n".to_owned()),
                ..instance()
            },
        ];
        ids.extend(others.map(|other| other.id(uid, b"#cloud-config\n", None)));
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn meta_data_is_yaml_whatever_a_key_says() {
        let odd = Instance {
            ssh_keys: vec![
                "ssh-ed25519 AAAA \"#: me".to_owned(),
                "ssh-rsa B".to_owned(),
            ],
            ..instance()
        };
        let text = odd.meta_data("i-1");
        let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["instance-id"], "i-1");
        assert_eq!(read["local-hostname"], "web");
        assert_eq!(read["public-keys"][0], odd.ssh_keys[0]);
        assert_eq!(read["public-keys"][1], odd.ssh_keys[1]);
    }
}
