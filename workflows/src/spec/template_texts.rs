//! The texts of a template that values are filled into, and the values of a pool.

use super::pool::MAX_REPLICAS;
use super::problem::FieldPath;
use super::resolve::ResolvedVsi;
use super::substitute::{self, TooLong};
use crate::pool::member_name;

/// A text of a template that values are filled into.
pub(crate) struct TemplateText<'a> {
    /// The field of the guest.
    pub(crate) field: &'static str,
    /// Whether it is stored as a secret.
    pub(crate) is_secret: bool,
    bytes: &'a [u8],
}

impl TemplateText<'_> {
    /// Its content, if it is UTF-8.
    pub(crate) fn words(&self) -> Option<String> {
        String::from_utf8(self.bytes.to_vec()).ok()
    }
}

/// The texts of a template that values are filled into.
pub(crate) fn texts(template: &ResolvedVsi) -> Vec<TemplateText<'_>> {
    let mut all = Vec::new();
    let desired = &template.desired;
    if !template.contract.expose().is_empty() {
        all.push(TemplateText {
            field: "userData",
            is_secret: true,
            bytes: template.contract.expose(),
        });
    }
    if let Some(text) = &desired.network_config {
        all.push(TemplateText {
            field: "networkConfig",
            is_secret: false,
            bytes: text.as_bytes(),
        });
    }
    if let Some(guest) = &desired.guest {
        for key in &guest.ssh_keys {
            all.push(TemplateText {
                field: "sshKeys",
                is_secret: false,
                bytes: key.as_bytes(),
            });
        }
        if let Some(text) = &guest.vendor_data {
            all.push(TemplateText {
                field: "vendorData",
                is_secret: false,
                bytes: text.as_bytes(),
            });
        }
    }
    all
}

/// The values of a member of a pool.
#[derive(Clone, Copy)]
pub(crate) struct PoolValues<'a> {
    /// The pool's name.
    pub(crate) pool: &'a str,
    /// The member's number.
    pub(crate) number: u32,
}

impl PoolValues<'_> {
    /// Fills the values into the text of a field.
    pub(crate) fn fill(&self, field: &str, text: &str) -> Result<String, TooLong> {
        let max = substitute::filled_max(field, text);
        substitute::of_pool(text, max, |reference| match reference {
            "pool.name" => Some(self.pool.to_owned()),
            "pool.index" => Some(self.number.to_string()),
            "pool.member" => Some(member_name(self.pool, self.number)),
            _ => None,
        })
    }
}

/// The texts of a template that are too long for the members of a pool: their fields below the template, and why.
pub(super) fn too_long(pool: &str, template: &ResolvedVsi) -> Vec<(FieldPath, TooLong)> {
    // No member has a longer number, also with surge members.
    let number = MAX_REPLICAS.saturating_mul(2);
    let values = PoolValues { pool, number };
    let exceeded = texts(template).into_iter().filter_map(|text| {
        let words = text.words().filter(|words| words.contains("$("))?;
        let error = values.fill(text.field, &words).err()?;
        Some((FieldPath::of(["spec", "guest", text.field]), error))
    });
    exceeded.collect()
}
