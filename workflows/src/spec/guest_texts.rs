//! The texts for the guest of a document, and the regular expressions that its console is to match, whose check takes
//! time that their author decides.
//!
//! Resolving a document checks them, too. A caller who resolves the documents of several authors checks them before, in
//! turns: what was checked is remembered, so that resolving takes no time.

use vsiflow_engine::secret::Secret;
use vsiflow_steps::guest::{GuestType, pattern, user_data};

use super::{
    documents::{Document, Documents},
    group::GroupSpec,
    group_check, guest, ready,
    vsi::VsiSpec,
};

/// The texts of one document.
#[derive(Default)]
struct GuestTexts<'a> {
    user_data: Option<Secret>,
    vendor_data: Option<&'a str>,
    network_config: Option<&'a str>,
}

impl<'a> GuestTexts<'a> {
    fn of(document: &'a Document<VsiSpec>, documents: &Documents) -> Self {
        let of_vsi = document.spec.network_config.as_deref();
        let Some(spec) = &document.spec.guest else {
            return Self {
                network_config: of_vsi,
                ..Self::default()
            };
        };
        let network_config = spec.network_config.as_deref().or(of_vsi);
        if spec.guest_type != Some(GuestType::CloudInit) {
            return Self {
                network_config,
                ..Self::default()
            };
        }
        let user_data = guest::source(document, spec, GuestType::CloudInit, documents);
        Self {
            user_data: user_data.ok().flatten(),
            vendor_data: spec.vendor_data.as_deref(),
            network_config,
        }
    }

    /// User-data and vendor-data.
    fn inputs(&self) -> impl Iterator<Item = &[u8]> {
        let user_data = self.user_data.as_ref().map(Secret::expose);
        let vendor_data = self.vendor_data.map(str::as_bytes);
        user_data.into_iter().chain(vendor_data)
    }
}

/// Whether the texts of a document were checked, so that resolving it takes no time.
pub fn are_checked(document: &Document<VsiSpec>, documents: &Documents) -> bool {
    let texts = GuestTexts::of(document, documents);
    texts.inputs().all(user_data::is_checked)
        && ready::patterns(document).all(pattern::is_checked)
        && texts
            .network_config
            .is_none_or(user_data::is_network_checked)
}

/// Checks the texts of a document. What is wrong with them is reported when it is resolved.
pub fn check(document: &Document<VsiSpec>, documents: &Documents) {
    let texts = GuestTexts::of(document, documents);
    for input in texts.inputs() {
        user_data::check(input);
    }
    if let Some(text) = texts.network_config {
        user_data::check_network(text);
    }
    ready::patterns(document).for_each(check_pattern);
}

/// The regular expressions of a group's gates and outputs that were not checked.
pub fn unchecked_patterns(document: &Document<GroupSpec>) -> Vec<&str> {
    let mut patterns = group_check::patterns(document);
    patterns.retain(|text| !pattern::is_checked(text));
    patterns
}

/// Checks such an expression. What is wrong with it is reported when the group is resolved.
pub fn check_pattern(text: &str) {
    let _ = pattern::check(text);
}
