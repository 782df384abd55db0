//! Refuses what tenants may not name in resources: files and addresses of this machine, bridges of
//! hosts, and secrets in a ConfigMap.

use vsiflow_workflows::spec::{
    DataDiskSource, DataDiskSpec, Document, FieldPath, ImageUrl, KeyValues, Problem, ProblemCode,
    ServerNetworkSpec, VsiSpec, host, meta,
};

use super::{TranslationPass, TranslationRules};

const OTHER_IMAGE: &str = "use another image, or ask the administrator of the operator to permit this one \
     with --allow-files or --allow-image-addresses";
const OTHER_BRIDGE: &str = "use another mode, or ask the administrator of the operator to permit the bridge \
     with --allow-bridge";
const NO_FILE: &str = "use the file's content, as KEY, KNOWN_HOSTS or IMAGE_CA, or ask the administrator \
     of the operator to permit its folder with --allow-files";
const REAL_HOST: &str = "name a host that is reached over SSH";
const SECRET: &str = "move it to a Secret with the same labels, and replace it: this one may \
     have been read; INSECURE_SECRETS_IN_CONFIGMAP: \"true\" in the ConfigMap accepts it";

const OTHER_ANNOTATION: &str = "remove or shorten it";
/// What an API server accepts as annotations of one object, in bytes; those that vsiflow adds included.
const ANNOTATIONS_MAX: usize = 250 << 10;

impl TranslationPass {
    /// The problems of everything that is not permitted.
    pub(super) fn not_permitted(&self, rules: &TranslationRules<'_>) -> Vec<Problem> {
        let vsis = self.documents.vsis.iter();
        let is_asked = |vsi: &Document<VsiSpec>| !self.silent.contains(&vsi.at.index);
        let vsis = vsis.filter(|vsi| is_asked(vsi));
        let mut problems: Vec<_> = vsis.filter_map(|vsi| image(vsi, rules)).collect();
        let disks = self.documents.data_disks.iter();
        let disks = disks.filter(|disk| !self.silent.contains(&disk.at.index));
        problems.extend(disks.filter_map(|disk| source(disk, rules)));
        let networks = self.documents.networks.iter();
        problems.extend(networks.filter_map(|network| bridge(network, rules)));
        let members = self.within_pools().into_iter();
        let members = members.filter(|(member, _)| is_asked(member));
        problems.extend(
            members
                .flat_map(|(member, templates_disks)| templates(&member, &templates_disks, rules)),
        );
        if rules.host.is_none() {
            let maps = &self.documents.config_maps;
            let all = maps.iter().chain(&self.documents.secrets);
            problems.extend(all.clone().flat_map(|one| files(one, rules)));
            problems.extend(all.filter_map(|one| simulated(one, rules)));
            problems.extend(maps.iter().flat_map(exposed));
        }
        problems
    }
}

/// The problems of a pool's template. For a template of a group, the object's name says which one it is.
fn templates(
    member: &Document<VsiSpec>,
    disks: &[Document<DataDiskSpec>],
    rules: &TranslationRules<'_>,
) -> Vec<Problem> {
    let of_member = image(member, rules).map(|problem| Problem {
        path: FieldPath::of(["spec", "template", "spec", "imageURL"]),
        ..problem
    });
    let of_disks = disks.iter().enumerate().filter_map(|(index, disk)| {
        let path = FieldPath::of(["spec", "diskTemplates"]).index(index);
        let path = path.key("spec").key("source").key("imageURL");
        let problem = source(disk, rules)?;
        Some(Problem { path, ..problem })
    });
    let of_annotations = annotations(member).into_iter();
    of_annotations.chain(of_member).chain(of_disks).collect()
}

/// The API server would refuse each member's object with such annotations.
fn annotations(member: &Document<VsiSpec>) -> Option<Problem> {
    let annotations = &member.meta.annotations;
    let mut keys = annotations.keys();
    let message = if let Some(key) = keys.find(|key| !is_annotation_key(key)) {
        format!("{key:?} is not the key of an annotation")
    } else {
        let lengths = annotations.iter();
        let lengths = lengths.map(|(key, value)| key.len().saturating_add(value.len()));
        let length = lengths.fold(0_usize, usize::saturating_add);
        if length <= ANNOTATIONS_MAX {
            return None;
        }
        format!("the annotations have {length} bytes, and {ANNOTATIONS_MAX} at most are possible")
    };
    let path = FieldPath::of(["spec", "template", "metadata", "annotations"]);
    Some(member.problem(ProblemCode::WrongValue, path, message, OTHER_ANNOTATION))
}

/// A key has at most 63 letters, digits, dashes, underscores and dots; a DNS name and a slash may precede
/// it.
fn is_annotation_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_dns_name = |text: &str| meta::check_subdomain(&text.to_ascii_lowercase()).is_ok();
    name.len() <= 63
        && name.bytes().all(is_inner)
        && is_end(name.bytes().next())
        && is_end(name.bytes().last())
        && prefix.is_none_or(is_dns_name)
}

/// A bridge of a host leads to machines that do not belong to the tenant.
fn bridge(network: &Document<ServerNetworkSpec>, rules: &TranslationRules<'_>) -> Option<Problem> {
    let name = network.spec.bridge.as_ref()?;
    let why = rules.permits.bridge(name).err()?;
    let path = FieldPath::of(["spec", "bridge"]);
    Some(network.problem(ProblemCode::NotPermitted, path, why, OTHER_BRIDGE))
}

fn image(vsi: &Document<VsiSpec>, rules: &TranslationRules<'_>) -> Option<Problem> {
    let path = FieldPath::of(["spec", "imageURL"]);
    let has_checksum = vsi.spec.image_checksum.is_some();
    let why = judged(
        &vsi.spec.image_url,
        (&vsi.meta.namespace, has_checksum),
        rules,
    )
    .err()?;
    Some(vsi.problem(ProblemCode::NotPermitted, path, why, OTHER_IMAGE))
}

fn source(disk: &Document<DataDiskSpec>, rules: &TranslationRules<'_>) -> Option<Problem> {
    let Some(DataDiskSource::Image { image }) = &disk.spec.source else {
        return None;
    };
    let path = FieldPath::of(["spec", "source", "imageURL"]);
    let url = image.url.parse::<ImageUrl>();
    let of = (disk.meta.namespace.as_str(), image.checksum.is_some());
    let why = url.and_then(|url| judged(&url, of, rules)).err()?;
    Some(disk.problem(ProblemCode::NotPermitted, path, why, OTHER_IMAGE))
}

/// Whether an image may be used. An uploaded file is only for its own namespace, and needs a checksum
/// because the uploader is not available each time that it is needed.
fn judged(
    url: &ImageUrl,
    (namespace, has_checksum): (&str, bool),
    rules: &TranslationRules<'_>,
) -> Result<(), String> {
    match url.uploaded() {
        Some((other, _)) if other != namespace => {
            return Err(format!(
                "what is sent into the namespace {other} is for that namespace alone; here it is \
                 upload://{namespace}/NAME"
            ));
        }
        Some(_) if !has_checksum => {
            return Err("an image that is sent needs imageChecksum".to_owned());
        }
        Some(_) => return Ok(()),
        None => {}
    }
    match url.file_path() {
        Some(path) => rules.permits.file(&path),
        None => rules.permits.image(url.stored()),
    }
}

fn files(settings: &Document<KeyValues>, rules: &TranslationRules<'_>) -> Vec<Problem> {
    let named = host::files(&settings.spec).into_iter();
    let refused = named.filter_map(|(key, file)| {
        let why = rules.permits.file(file.as_ref()).err()?;
        let path = FieldPath::of(["data", key]);
        Some(settings.problem(ProblemCode::NotPermitted, path, why, NO_FILE))
    });
    refused.collect()
}

fn simulated(settings: &Document<KeyValues>, rules: &TranslationRules<'_>) -> Option<Problem> {
    if !host::is_simulated(&settings.spec) {
        return None;
    }
    let why = rules.permits.simulated_hosts().err()?;
    let path = FieldPath::of(["data", "HOSTNAME"]);
    Some(settings.problem(ProblemCode::NotPermitted, path, why, REAL_HOST))
}

fn exposed(config_map: &Document<KeyValues>) -> Vec<Problem> {
    let keys = host::exposed(&config_map.spec).into_iter();
    let problems = keys.map(|key| {
        let message = format!("{key} is a secret, and a ConfigMap is for everybody to read");
        let path = FieldPath::of(["data", key]);
        config_map.problem(ProblemCode::Exposed, path, message, SECRET)
    });
    problems.collect()
}
