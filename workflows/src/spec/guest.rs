//! The guest of a virtual server, as its document describes it.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use vsiflow_engine::{model::Name, secret::Secret};
use vsiflow_steps::guest::{GuestType, ignition, no_cloud, user_data};

use super::desired::DesiredGuest;
use super::documents::{Document, Documents};
use super::problem::{FieldPath, Problem, ProblemCode};
use super::recorded::SecretField;
use super::text::Contract;
use super::vsi::VsiSpec;

/// `spec.guest` of kind `VirtualServer`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestSpec {
    /// How a guest is configured.
    #[serde(default, rename = "type")]
    #[schemars(with = "String", extend("enum" = ["cloudInit", "ignition", "hyperProtect", "none"]))]
    pub guest_type: Option<GuestType>,
    /// The contract of a Hyper Protect guest, verbatim.
    #[serde(default)]
    pub contract: Option<Contract>,
    /// What cloud-init or Ignition reads, verbatim; 16,384 bytes at most for cloud-init.
    #[serde(default)]
    pub user_data: Option<UserData>,
    /// The key of a Secret that has the user-data, instead of the text itself.
    #[serde(default)]
    #[schemars(extend("x-example" = "{secretKeyRef: {name: web, key: user-data}}", "x-expected" = "a reference to a Secret"))]
    pub user_data_from: Option<UserDataFrom>,
    /// The guest's network configuration, as cloud-init reads it.
    #[serde(default)]
    #[schemars(extend("x-example" = "| with netplan version 2 below, indented", "x-secret" = true))]
    pub network_config: Option<String>,
    /// The guest's name for itself; the resource's name where absent.
    #[serde(default, deserialize_with = "hostname")]
    #[schemars(length(max = 253), extend("x-example" = "web"))]
    pub hostname: Option<String>,
    /// Public keys for the image's default user.
    #[serde(default, deserialize_with = "ssh_keys")]
    #[schemars(with = "Option<Vec<String>>", extend("x-example" = "[\"ssh-ed25519 …\"]"))]
    pub ssh_keys: Vec<String>,
    /// What the provider of the image adds.
    #[serde(default)]
    #[schemars(extend("x-example" = "| with #cloud-config below, indented", "x-secret" = true))]
    pub vendor_data: Option<String>,
}

/// User-data, verbatim, or the ID of the recorded one. `Debug` hides it, and it cannot be serialised.
#[derive(Clone, JsonSchema)]
#[schemars(with = "String", extend("x-example" = "| with #cloud-config below, indented", "x-secret" = true))]
pub struct UserData(SecretField);

impl std::fmt::Debug for UserData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserData(<hidden>)")
    }
}

impl<'de> Deserialize<'de> for UserData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretField::read(deserializer, "user-data").map(Self)
    }
}

impl GuestSpec {
    /// The ID of the recorded contract or user-data, if the document says that one.
    fn recorded(&self) -> Option<&Name> {
        let contract = self.contract.as_ref().and_then(Contract::recorded);
        let user_data = self.user_data.as_ref();
        contract.or_else(|| user_data.and_then(|user_data| user_data.0.recorded()))
    }
}

/// A reference to user-data.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserDataFrom {
    /// A key of a Secret in the same namespace.
    #[schemars(extend("x-example" = "{name: web, key: user-data}"))]
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(extend("x-example" = "web"))]
    pub name: String,
    /// The key.
    #[schemars(extend("x-example" = "user-data"))]
    pub key: String,
}

/// The longest hostname of a guest, in bytes.
const HOSTNAME_MAX: usize = 253;
/// The longest public key that is accepted, in bytes.
const KEY_MAX: usize = 16 * 1024;

fn hostname<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let fits = name.len() <= HOSTNAME_MAX && name.bytes().all(plain);
    let ends = |c: char| c == '-' || c == '.';
    if name.is_empty() || !fits || name.starts_with(ends) || name.ends_with(ends) {
        return Err(D::Error::custom(
            "a host name has letters, digits, `-` and `.`, with a letter or digit at both ends",
        ));
    }
    Ok(Some(name))
}

pub(super) fn ssh_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let mut keys = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    // A key that was read from a file ends with a line break.
    for key in &mut keys {
        *key = key.trim().to_owned();
    }
    let plain = |key: &String| {
        key.len() <= KEY_MAX && !key.is_empty() && !key.chars().any(char::is_control)
    };
    if keys.iter().any(|key| key.contains("PRIVATE KEY")) {
        return Err(D::Error::custom(
            "this is a private key; write the public one",
        ));
    }
    if keys.iter().all(plain) {
        Ok(keys)
    } else {
        Err(D::Error::custom(
            "a public key is one line, such as `ssh-ed25519 AAAA… me@example`",
        ))
    }
}

/// The guest of a document, resolved.
pub(super) struct GuestFields {
    /// The part that is recorded.
    pub(super) desired: DesiredGuest,
    /// The contract or the user-data; empty if there is none.
    pub(super) user_data: Secret,
    /// The ID of the recorded contract or user-data, if the document says that one.
    pub(super) recorded: Option<Name>,
    /// The network configuration.
    pub(super) network_config: Option<String>,
}

/// Resolves a document's guest; `None` for the kind that is always a Hyper Protect guest.
pub(super) fn of(
    document: &Document<VsiSpec>,
    documents: &Documents,
    problems: &mut Vec<Problem>,
) -> Option<GuestFields> {
    let spec = document.spec.guest.as_ref()?;
    let guest_type = spec.guest_type.unwrap_or(GuestType::None);
    let mut found = fields(document, spec, guest_type);
    let user_data = match source(document, spec, guest_type, documents) {
        Ok(user_data) => user_data,
        Err(problem) => {
            found.push(*problem);
            None
        }
    };
    if let Some(user_data) = &user_data {
        found.extend(content(document, spec, guest_type, user_data));
    }
    found.extend(inputs(document, spec, guest_type));
    problems.extend(found);
    let named = spec.hostname.clone();
    let hostname = match guest_type {
        GuestType::CloudInit => named.unwrap_or_else(|| document.meta.name.clone()),
        _ => named.unwrap_or_default(),
    };
    Some(GuestFields {
        desired: DesiredGuest {
            guest_type,
            hostname,
            ssh_keys: spec.ssh_keys.clone(),
            vendor_data: spec.vendor_data.clone(),
        },
        user_data: user_data.unwrap_or_else(|| Secret::new(Vec::new())),
        recorded: spec.recorded().cloned(),
        network_config: spec.network_config.clone(),
    })
}

/// The path of a field of the guest.
fn path(field: &'static str) -> FieldPath {
    FieldPath::of(["spec", "guest", field])
}

/// The problems of fields that the guest's type does not have.
fn fields(document: &Document<VsiSpec>, spec: &GuestSpec, guest_type: GuestType) -> Vec<Problem> {
    use GuestType as Type;
    let fields: [(&'static str, bool, &[GuestType]); 7] = [
        ("contract", spec.contract.is_some(), &[Type::HyperProtect]),
        (
            "userData",
            spec.user_data.is_some(),
            &[Type::CloudInit, Type::Ignition],
        ),
        (
            "userDataFrom",
            spec.user_data_from.is_some(),
            &[Type::CloudInit, Type::Ignition],
        ),
        (
            "networkConfig",
            spec.network_config.is_some(),
            &[Type::CloudInit, Type::HyperProtect],
        ),
        ("hostname", spec.hostname.is_some(), &[Type::CloudInit]),
        ("sshKeys", !spec.ssh_keys.is_empty(), &[Type::CloudInit]),
        ("vendorData", spec.vendor_data.is_some(), &[Type::CloudInit]),
    ];
    let wrong = fields
        .into_iter()
        .filter(|(_, is_given, types)| *is_given && !types.contains(&guest_type));
    let wrong = wrong.map(|(field, _, types)| {
        let names: Vec<_> = types
            .iter()
            .map(|one| format!("`type: {}`", one.as_str()))
            .collect();
        let (message, remedy) = match spec.guest_type {
            None => (
                format!("guest.{field} is given, and guest.type is missing"),
                format!("add {} to guest", names.join(" or ")),
            ),
            Some(_) => (
                format!(
                    "guest.{field} does not belong to a guest of type {}",
                    guest_type.as_str()
                ),
                format!(
                    "remove it, or write {}: a guest has one type",
                    names.join(" or ")
                ),
            ),
        };
        document.problem(ProblemCode::WrongValue, path(field), message, remedy)
    });
    wrong.collect()
}

/// The contract or user-data of the guest; `None` if its type has none.
pub(super) fn source(
    document: &Document<VsiSpec>,
    spec: &GuestSpec,
    guest_type: GuestType,
    documents: &Documents,
) -> Result<Option<Secret>, Box<Problem>> {
    let missing = |field: &'static str, remedy: &str| {
        let message = format!(
            "guest.{field} is missing: a guest of type {} takes it",
            guest_type.as_str()
        );
        Err(Box::new(document.problem(
            ProblemCode::MissingField,
            path(field),
            message,
            remedy,
        )))
    };
    match (guest_type, &spec.user_data, &spec.user_data_from) {
        (GuestType::None, ..) => Ok(None),
        (GuestType::HyperProtect, ..) => match &spec.contract {
            Some(contract) => Ok(contract.secret().cloned()),
            None => missing(
                "contract",
                "add it, for example: contract: | with the contract below, indented",
            ),
        },
        (_, Some(_), Some(_)) => Err(Box::new(document.problem(
            ProblemCode::WrongValue,
            path("userDataFrom"),
            "guest.userData and guest.userDataFrom are both given",
            "remove one of them",
        ))),
        (_, Some(UserData(user_data)), None) => Ok(user_data.secret().cloned()),
        (_, None, Some(from)) => referred(document, from, documents).map(Some),
        (GuestType::Ignition, None, None) => missing(
            "userData",
            "add Ignition's JSON, for example: userData: '{\"ignition\": {\"version\": \"3.4.0\"}}'",
        ),
        // An image's default user needs only keys and a hostname.
        (_, None, None) => Ok(Some(Secret::new(b"#cloud-config\n{}\n".to_vec()))),
    }
}

/// The value that a reference names. A missing Secret is an unresolved reference, so the VSI waits for
/// it.
fn referred(
    document: &Document<VsiSpec>,
    from: &UserDataFrom,
    documents: &Documents,
) -> Result<Secret, Box<Problem>> {
    let SecretKeyRef { name, key } = &from.secret_key_ref;
    let namespace = &document.meta.namespace;
    let named =
        |secret: &&Document<_>| secret.meta.namespace == *namespace && secret.meta.name == *name;
    let found = documents.secrets.iter().find(named);
    let lacks = |message: String, remedy: String| {
        let path = path("userDataFrom");
        Box::new(document.problem(ProblemCode::MatchesNothing, path, message, remedy))
    };
    let Some(found) = found else {
        return Err(lacks(
            format!("there is no Secret {namespace}/{name}"),
            format!(
                "add a Secret {name} in namespace {namespace}, with the user-data under the key {key}"
            ),
        ));
    };
    found.spec.0.get(key).cloned().ok_or_else(|| {
        lacks(
            format!("the Secret {namespace}/{name} has no key {key}"),
            format!("add the key {key} to it, or name another in guest.userDataFrom"),
        )
    })
}

/// The problems of what cloud-init would ignore beside the user-data.
fn inputs(document: &Document<VsiSpec>, spec: &GuestSpec, guest_type: GuestType) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |path: FieldPath, message: String, remedy: &str| {
        problems.push(document.problem(ProblemCode::WrongValue, path, message, remedy));
    };
    if let Some(text) = spec.network_config.as_deref().filter(|text| is_known(text))
        && let Some(wrong) = user_data::check_network(text).filter(|wrong| !wrong.is_doubt)
    {
        let message = format!(
            "the network configuration would be ignored: {}",
            wrong.message
        );
        refuse(path("networkConfig"), message, wrong.remedy);
    }
    if guest_type != GuestType::CloudInit {
        return problems;
    }
    if let Some(text) = spec.vendor_data.as_deref().filter(|text| is_known(text))
        && let Some(wrong) = user_data::check(text.as_bytes()).filter(|wrong| !wrong.is_doubt)
    {
        let message = format!("the vendor-data would be ignored: {}", wrong.message);
        refuse(path("vendorData"), message, wrong.remedy);
    }
    for (index, key) in spec.ssh_keys.iter().enumerate() {
        if is_known(key) && !user_data::is_public_key(key) {
            let (message, remedy) = if user_data::is_certificate(key) {
                (
                    "this is a certificate, which a guest does not take as a key",
                    "write the key itself, or `cert-authority` and the key of the authority that signed it",
                )
            } else {
                (
                    "this is not a public SSH key that a guest takes",
                    "write the content of the .pub file, for example `ssh-ed25519 AAAA… me@example`",
                )
            };
            refuse(path("sshKeys").index(index), message.to_owned(), remedy);
        }
    }
    let (name, place, remedy) = match &spec.hostname {
        Some(name) => (name, path("hostname"), "write a shorter or simpler one"),
        None => (
            &document.meta.name,
            FieldPath::of(["metadata", "name"]),
            "write a shorter or simpler name into spec.guest.hostname",
        ),
    };
    if !user_data::is_hostname(name) {
        let message = format!(
            "the guest cannot take the host name {name}: it has {} characters; each part between dots has 1 to 63, \
             begins and ends with a letter or digit, and all have 64 together at most",
            name.len()
        );
        refuse(place, message, remedy);
    }
    problems
}

/// Refuses a network configuration that the guest of a Hyper Protect VSI would ignore.
pub(super) fn check_network_of_vsi(document: &Document<VsiSpec>, problems: &mut Vec<Problem>) {
    let text = document.spec.network_config.as_deref();
    let text = text.filter(|text| is_known(text));
    let wrong = text.and_then(user_data::check_network);
    if let Some(wrong) = wrong.filter(|wrong| !wrong.is_doubt) {
        let path = FieldPath::of(["spec", "networkConfig"]);
        let message = format!(
            "the network configuration would be ignored: {}",
            wrong.message
        );
        problems.push(document.problem(ProblemCode::WrongValue, path, message, wrong.remedy));
    }
}

/// Whether a text is known now: variables of a group are filled in later.
fn is_known(text: &str) -> bool {
    !text.contains("$(")
}

/// What cloud-init would ignore and what may be meant for another program, as problems to warn of.
pub(super) fn doubts(document: &Document<VsiSpec>, documents: &Documents) -> Vec<Problem> {
    let of_user_data = user_data_doubt(document, documents);
    let of_vendor_data = document.spec.guest.as_ref().and_then(|spec| {
        let text = spec.vendor_data.as_deref().filter(|text| is_known(text))?;
        let wrong = user_data::check(text.as_bytes())?;
        let message = format!(
            "cloud-init may ignore the vendor-data or a part of it: {}",
            wrong.message
        );
        doubt(document, path("vendorData"), message, &wrong)
    });
    let of_network = network_doubt(document);
    let all = [of_user_data, of_vendor_data, of_network];
    all.into_iter()
        .flatten()
        .chain(obsolete_keys(document))
        .collect()
}

/// Keys of a type that the guests of our time ignore and older ones take.
fn obsolete_keys(document: &Document<VsiSpec>) -> impl Iterator<Item = Problem> {
    let guest = document.spec.guest.as_ref();
    let keys = guest.map_or(&[] as &[String], |spec| &spec.ssh_keys);
    let keys = keys.iter().enumerate();
    let obsolete = keys.filter(|(_, key)| user_data::is_obsolete_key(key));
    obsolete.map(|(index, _)| {
        document.problem(
            ProblemCode::WrongValue,
            path("sshKeys").index(index),
            "newer guests ignore keys of the type ssh-dss",
            "make another key: ssh-keygen -t ed25519",
        )
    })
}

fn network_doubt(document: &Document<VsiSpec>) -> Option<Problem> {
    let of_guest = document.spec.guest.as_ref();
    let (text, path) = match of_guest.and_then(|spec| spec.network_config.as_deref()) {
        Some(text) => (text, path("networkConfig")),
        None => (
            document.spec.network_config.as_deref()?,
            FieldPath::of(["spec", "networkConfig"]),
        ),
    };
    let wrong = user_data::check_network(text).filter(|_| is_known(text))?;
    let message = format!(
        "the network configuration may be ignored: {}",
        wrong.message
    );
    doubt(document, path, message, &wrong)
}

fn doubt(
    document: &Document<VsiSpec>,
    path: FieldPath,
    message: String,
    wrong: &user_data::InputProblem,
) -> Option<Problem> {
    let warned = || document.problem(ProblemCode::WrongValue, path, message, wrong.remedy);
    wrong.is_doubt.then(warned)
}

fn user_data_doubt(document: &Document<VsiSpec>, documents: &Documents) -> Option<Problem> {
    let spec = document.spec.guest.as_ref()?;
    if spec.guest_type != Some(GuestType::CloudInit) {
        return None;
    }
    let user_data = source(document, spec, GuestType::CloudInit, documents).ok()??;
    let wrong = user_data::check(user_data.expose())?;
    let message = format!(
        "cloud-init may ignore the user-data or a part of it: {}",
        wrong.message
    );
    doubt(document, path(user_data_field(spec)), message, &wrong)
}

/// The field that the user-data is in.
fn user_data_field(spec: &GuestSpec) -> &'static str {
    match spec.user_data_from {
        Some(_) => "userDataFrom",
        None => "userData",
    }
}

/// The problem of the configuration itself, without repeating any of it.
fn content(
    document: &Document<VsiSpec>,
    spec: &GuestSpec,
    guest_type: GuestType,
    user_data: &Secret,
) -> Option<Problem> {
    let field = user_data_field(spec);
    let bytes = user_data.expose();
    let (message, remedy) = match guest_type {
        GuestType::CloudInit if bytes.len() > no_cloud::USER_DATA_MAX => (
            format!(
                "the user-data has {} bytes, and cloud-init takes {} at most",
                bytes.len(),
                no_cloud::USER_DATA_MAX
            ),
            "move parts of it to a server and `#include` them, or into the image",
        ),
        GuestType::CloudInit => {
            // Variables of a group are filled in later; at its beginning there is no form yet.
            let is_filled_later = bytes.trim_ascii_start().starts_with(b"$(");
            let wrong =
                user_data::check(bytes).filter(|wrong| !wrong.is_doubt && !is_filled_later)?;
            (
                format!("the user-data would be ignored: {}", wrong.message),
                wrong.remedy,
            )
        }
        GuestType::Ignition => (
            format!(
                "the user-data is not what Ignition reads: {}",
                ignition::check(bytes).err()?
            ),
            "write JSON of Ignition's specification 3, for example as Butane prints it",
        ),
        _ => return None,
    };
    Some(document.problem(ProblemCode::WrongValue, path(field), message, remedy))
}
