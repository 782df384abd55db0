//! Translates a machine's cloud-init or Ignition configuration and its readiness probes.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::read::MultiGzDecoder;
use vsiflow_workflows::spec::{Documents, FieldPath};

use super::fields::{Fields, Refusals, instead, list, object, text};
use crate::node::{Value, YamlNode};

/// The guest configuration that a cloud-init volume holds.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    pub(super) ignition: bool,
    pub(super) user_data: Option<YamlNode>,
    pub(super) user_data_from: Option<YamlNode>,
    pub(super) network_config: Option<YamlNode>,
}

/// The key of KubeVirt's user-data in a Secret.
const SECRET_KEY: &str = "userdata";
/// The key that newer releases accept, too.
const OTHER_SECRET_KEY: &str = "userData";

const NETWORK_AS_TEXT: &str =
    "write the network configuration itself, which holds no secret: networkData: |";

/// Reads `cloudInitNoCloud`.
pub(super) fn no_cloud(mut volume: Fields<'_>, refusals: &mut Refusals) -> Configuration {
    let user_data = plain_or_encoded(&mut volume, "userData", "userDataBase64", refusals);
    let network_config =
        plain_or_encoded(&mut volume, "networkData", "networkDataBase64", refusals);
    let from = volume.peek("secretRef").cloned();
    let mut reference = volume.object("secretRef", refusals);
    let name = reference.text("name", refusals).cloned();
    reference.end(refusals);
    volume.refuse("networkDataSecretRef", NETWORK_AS_TEXT, refusals);
    let key_ref =
        |secret_name| object([("name", Some(secret_name)), ("key", Some(text(SECRET_KEY)))]);
    // At the place of the reference: a missing Secret is a problem of that.
    let from = from.zip(name).map(|(place, secret_name)| {
        let secret = object([("secretKeyRef", Some(key_ref(secret_name)))]);
        instead(&place, secret.value)
    });
    volume.end(refusals);
    Configuration {
        ignition: false,
        user_data,
        user_data_from: from,
        network_config,
    }
}

/// Reads `cloudInitConfigDrive`, through which KubeVirt passes a configuration to Ignition.
pub(super) fn config_drive(mut volume: Fields<'_>, refusals: &mut Refusals) -> Configuration {
    let path = volume.own_path();
    let user_data = plain_or_encoded(&mut volume, "userData", "userDataBase64", refusals);
    volume.end(refusals);
    let is_json = |node: &YamlNode| {
        node.text()
            .is_some_and(|text| text.trim_start().starts_with('{'))
    };
    if !user_data.as_ref().is_some_and(is_json) {
        refusals.wrong(
            path,
            "a config drive is taken with the JSON of Ignition in userData only",
            "write cloudInitNoCloud instead",
        );
    }
    Configuration {
        ignition: true,
        user_data,
        ..Configuration::default()
    }
}

fn plain_or_encoded(
    fields: &mut Fields<'_>,
    plain: &str,
    encoded: &str,
    refusals: &mut Refusals,
) -> Option<YamlNode> {
    let written = fields.text(plain, refusals).cloned();
    let Some(node) = fields.text(encoded, refusals) else {
        return written;
    };
    let path = fields.path(encoded);
    if written.is_some() {
        let message = format!("{plain} and {encoded} are both given");
        refusals.wrong(path, &message, "write one of them");
        return written;
    }
    let mut bytes = node.text().unwrap_or_default().to_owned();
    bytes.retain(|c| !c.is_ascii_whitespace());
    let decoded = BASE64.decode(bytes).ok().and_then(unpacked);
    match decoded.and_then(|decoded_bytes| String::from_utf8(decoded_bytes).ok()) {
        Some(text) => Some(instead(node, Value::Text(text))),
        None => {
            let remedy = format!("write it as text: {plain}: |");
            let message = "this is not text in base64, nor such text packed by gzip";
            refusals.wrong(path, message, &remedy);
            None
        }
    }
}

/// The longest text that is unpacked, in bytes.
const UNPACKED_MAX: u64 = 1 << 20;

/// The bytes, unpacked if they are packed by gzip, as cloud-init does it.
fn unpacked(bytes: Vec<u8>) -> Option<Vec<u8>> {
    if !bytes.starts_with(b"\x1f\x8b") {
        return Some(bytes);
    }
    let mut text = Vec::new();
    let unpacking = MultiGzDecoder::new(bytes.as_slice());
    unpacking.take(UNPACKED_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Names the key of a Secret that has the user-data under KubeVirt's other name for it.
pub(super) fn fit_secret_key(server: &mut YamlNode, documents: &Documents) {
    let namespace = server
        .get("metadata")
        .and_then(|metadata| metadata.get("namespace"));
    let namespace = namespace
        .and_then(YamlNode::text)
        .unwrap_or("default")
        .to_owned();
    let path = FieldPath::of(["spec", "guest", "userDataFrom", "secretKeyRef"]);
    let Some(reference) = server.find_mut(&path.0) else {
        return;
    };
    let name = reference
        .get("name")
        .and_then(YamlNode::text)
        .unwrap_or_default();
    let secret = documents
        .secrets
        .iter()
        .find(|secret| secret.meta.namespace == namespace && secret.meta.name == name);
    let has = |key: &str| secret.is_some_and(|secret| secret.spec.0.contains_key(key));
    if !has(SECRET_KEY)
        && has(OTHER_SECRET_KEY)
        && let Some(key) = reference.find_mut(&FieldPath::of(["key"]).0)
    {
        key.value = Value::Text(OTHER_SECRET_KEY.to_owned());
    }
}

/// The probes of a `readinessProbe`.
pub(super) fn probes(mut probe: Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    let mut all = Vec::new();
    if let Some(node) = probe.peek("tcpSocket") {
        let mut tcp = probe.object("tcpSocket", refusals);
        let port = port(&mut tcp, refusals);
        tcp.end(refusals);
        let tcp_socket = |number| instead(node, object([("tcp", Some(number))]).value);
        all.extend(port.map(tcp_socket));
    }
    if let Some(node) = probe.peek("httpGet") {
        let mut http = probe.object("httpGet", refusals);
        let (port, path) = (port(&mut http, refusals), http.text("path", refusals));
        super::data_volume::word(&mut http, "scheme", "HTTP", refusals);
        http.end(refusals);
        let http_get = |number| {
            let fields = object([("port", Some(number)), ("path", path.cloned())]);
            instead(node, fields.value)
        };
        all.extend(port.map(|port| object([("http", Some(http_get(port)))])));
    }
    if probe.has("guestAgentPing") {
        probe.object("guestAgentPing", refusals).end(refusals);
        let none = object([]);
        all.push(object([("agent", Some(none))]));
    }
    probe.end(refusals);
    list(all)
}

fn port(probe: &mut Fields<'_>, refusals: &mut Refusals) -> Option<YamlNode> {
    let port = probe.take("port").cloned();
    if port.is_none() {
        refusals.missing(probe.path("port"), "write the port, for example: port: 22");
    }
    if let Some(Value::Int(number)) = port.as_ref().map(|node| &node.value)
        && !(1..=65_535).contains(number)
    {
        let message = "this is not a port: a whole number from 1 to 65535";
        refusals.wrong(probe.path("port"), message, "write, for example: port: 22");
        return None;
    }
    port
}
