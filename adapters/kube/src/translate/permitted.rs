//! What resources name that is not theirs to name: files and addresses of the machine this runs on,
//! and secrets where everybody reads them.

use vsiflow_workflows::spec::{
    Document, FieldPath, KeyValues, Problem, ProblemCode, VsiSpec, host,
};

use super::{Rules, TranslationPass};

const OTHER_IMAGE: &str = "use another image, or ask the administrator of the operator to permit this one \
     with --allow-files or --allow-image-addresses";
const NO_FILE: &str = "use the file's content, as KEY, KNOWN_HOSTS or IMAGE_CA, or ask the administrator \
     of the operator to permit its folder with --allow-files";
const SECRET: &str = "move it to a Secret with the same labels, and replace it: this one may \
     have been read; INSECURE_SECRETS_IN_CONFIGMAP: \"true\" in the ConfigMap accepts it";

impl TranslationPass {
    /// What is refused, whoever else might permit it.
    pub(super) fn not_permitted(&self, rules: &Rules<'_>) -> Vec<Problem> {
        let asked = self.documents.vsis.iter();
        let asked = asked.filter(|vsi| !self.silent.contains(&vsi.at.index));
        let mut problems: Vec<_> = asked.filter_map(|vsi| image(vsi, rules)).collect();
        if rules.host.is_none() {
            let maps = &self.documents.config_maps;
            let all = maps.iter().chain(&self.documents.secrets);
            problems.extend(all.flat_map(|one| files(one, rules)));
            problems.extend(maps.iter().flat_map(exposed));
        }
        problems
    }
}

fn image(vsi: &Document<VsiSpec>, rules: &Rules<'_>) -> Option<Problem> {
    let url = &vsi.spec.image_url;
    let judged = match url.file_path() {
        Some(path) => rules.permits.file(&path),
        None => rules.permits.image(url.stored()),
    };
    let path = FieldPath::of(["spec", "imageURL"]);
    let why = judged.err()?;
    Some(vsi.problem(ProblemCode::NotPermitted, path, why, OTHER_IMAGE))
}

fn files(settings: &Document<KeyValues>, rules: &Rules<'_>) -> Vec<Problem> {
    let named = host::files(&settings.spec).into_iter();
    let refused = named.filter_map(|(key, file)| {
        let why = rules.permits.file(file.as_ref()).err()?;
        let path = FieldPath::of(["data", key]);
        Some(settings.problem(ProblemCode::NotPermitted, path, why, NO_FILE))
    });
    refused.collect()
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
