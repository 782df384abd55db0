//! The documents of a bundle, with the checksum of each image set: so an image can be read only from the bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use vsiflow_api::{BundleFile, Problem, ReadDocuments, SentDocuments};
use vsiflow_file::{Input, InputText, Loaded};
use vsiflow_image::bundle::{Bundle, BundledImage};
use vsiflow_workflows::{
    fleet::Applied,
    record::kind,
    spec::{
        Checksum, HostSettings, NamedImage, Resolved,
        documents::{DATA_DISK, GROUP, POOL},
    },
};

use super::read::{findings, inputs, kubevirt, limited, load as load_all};
use crate::{
    bundle_file::{check_signature, open, unfit},
    compose::{App, AppliedBundles},
    daemon::api_problem,
    exit::{Exit, ExitProblem},
    off_runtime::off_runtime,
    user_file::unreadable,
};

/// Reads the documents of a bundle and of a site. The images of the bundle are found once that is prepared, also after a
/// restart.
///
/// # Errors
/// `VSI0321` to `VSI0326`, and all mistakes in the documents.
pub(super) async fn read(
    app: &App,
    documents: &SentDocuments,
    file: &BundleFile,
    host: Option<HostSettings>,
) -> Result<ReadDocuments, Problem> {
    let read = Box::pin(read_with(app, documents, file, host)).await;
    read.map_err(|problem| api_problem(&problem))
}

async fn read_with(
    app: &App,
    documents: &SentDocuments,
    file: &BundleFile,
    host: Option<HostSettings>,
) -> Result<ReadDocuments, ExitProblem> {
    let bundle = checked(file).await?;
    let mut loaded = load(documents, &file.path, &bundle).await?;
    let checksums = checksums(&bundle);
    refuse_missing(&mut loaded, &file.path, &checksums)?;
    let not_packed = not_packed(&loaded, &bundle);
    let mut read = BundleDocuments {
        loaded,
        checksums,
        unpinned: BTreeSet::new(),
    };
    let mut resolved = read.resolve(host.as_ref())?;
    let changed = app.fleet.apply_dry(&resolved).await?;
    // An existing object without a checksum is not rebuilt only to get one.
    read.unpinned = changed.iter().flat_map(only_pinned).collect();
    if !read.unpinned.is_empty() {
        resolved = read.resolve(host.as_ref())?;
    }
    let findings = findings(&read.loaded, &resolved);
    let mut limited = limited(documents, resolved, findings);
    limited.notes.not_packed = not_packed;
    limited.preparation = Some(Box::pin(remember(
        AppliedBundles::of(app.state_path()),
        file.path.clone(),
        bundle,
    )));
    Ok(limited)
}

/// Opens the bundle, and checks its form and its signature. An image is compared with its checksum when it is read.
async fn checked(file: &BundleFile) -> Result<Arc<Bundle<File>>, ExitProblem> {
    let bundle = open(&file.path).await?;
    if let Some(key) = &file.verify_key {
        check_signature(&file.path, &bundle, key).await?;
    }
    Ok(Arc::new(bundle))
}

/// The documents of the bundle and those of the site.
async fn load(
    documents: &SentDocuments,
    path: &Path,
    bundle: &Arc<Bundle<File>>,
) -> Result<Loaded, ExitProblem> {
    let (shared, shown) = (Arc::clone(bundle), path.to_owned());
    let texts = off_runtime(move || {
        let packed = shared.manifest().documents.iter().enumerate();
        let texts = packed.map(|(number, document)| {
            let name = format!("{}{}", prefix(&shown), document.name);
            let bytes = shared.document(number);
            let bytes = bytes.map_err(|error| unfit(&shown, &error))?;
            Ok(Input::Text(InputText { name, bytes }))
        });
        texts.collect::<Result<Vec<_>, ExitProblem>>()
    });
    let mut all = texts.await??;
    all.extend(inputs(documents));
    let target = kubevirt(documents);
    let read = off_runtime(move || load_all(&all, target)).await?;
    Ok(read.map_err(Problem::from)?)
}

/// The prefix of the names of a bundle's documents.
fn prefix(path: &Path) -> String {
    format!("{}:", path.display())
}

/// The SHA-256 of each image, by URL.
fn checksums(bundle: &Bundle<File>) -> BTreeMap<String, Checksum> {
    let images = bundle.manifest().images.iter();
    let named = images.flat_map(|image| {
        let checksum: Option<Checksum> = format!("sha256:{}", image.sha256).parse().ok();
        let urls = image.urls.iter();
        urls.filter_map(move |url| Some((url.clone(), checksum.clone()?)))
    });
    named.collect()
}

/// Refuses a document of the bundle that names an image which is not in it. Documents of the site may do so.
fn refuse_missing(
    loaded: &mut Loaded,
    path: &Path,
    checksums: &BTreeMap<String, Checksum>,
) -> Result<(), ExitProblem> {
    let (prefix, mut missing) = (prefix(path), None);
    loaded.documents.each_image(&mut |image| {
        let known = checksums.get(&image.url);
        let same = known.filter(|known| image.checksum.as_ref().is_none_or(|one| one == *known));
        if same.is_none() && image.source.starts_with(&prefix) {
            missing.get_or_insert(format!(
                "{}: {} of {} {} is not in the bundle, or with another checksum",
                path.display(),
                image.url,
                image.kind,
                image.object
            ));
        }
    });
    let remedy = "have the bundle made again with `vsiflow bundle create`";
    match missing {
        None => Ok(()),
        Some(message) => Err(ExitProblem::new(Exit::Failed, "VSI0326", message, remedy)),
    }
}

/// The objects that were not packed, and that the site describes neither.
fn not_packed(loaded: &Loaded, bundle: &Bundle<File>) -> Vec<String> {
    let described = loaded.documents.objects().into_iter();
    let described: BTreeSet<_> = described
        .map(|(kind, name)| format!("{kind} {name}"))
        .collect();
    let left_out = bundle.manifest().left_out.iter();
    let missing = left_out.filter(|object| !described.contains(*object));
    missing.cloned().collect()
}

/// Documents, and the checksums of the bundle's images.
struct BundleDocuments {
    loaded: Loaded,
    checksums: BTreeMap<String, Checksum>,
    /// Objects that get a checksum only if their document has one.
    unpinned: BTreeSet<String>,
}

impl BundleDocuments {
    /// Resolves the documents, with the checksum of each image set: so the image can be read only from the
    /// bundle.
    fn resolve(&mut self, host: Option<&HostSettings>) -> Result<Resolved, Problem> {
        let (checksums, unpinned) = (&self.checksums, &self.unpinned);
        let mut documents = self.loaded.documents.clone();
        self.loaded.documents.each_image(&mut |image| {
            if image.checksum.is_none() && !unpinned.contains(&named(&image)) {
                *image.checksum = checksums.get(&image.url).cloned();
            }
        });
        let resolved = self.loaded.resolve(host);
        std::mem::swap(&mut self.loaded.documents, &mut documents);
        Ok(resolved?)
    }
}

/// The existing objects in which the only change to the image would be its checksum.
fn only_pinned(applied: &Applied) -> Vec<String> {
    let fields = || applied.fields.iter();
    let pinned = fields().filter_map(|field| {
        let nothing = field.before.as_ref().is_none_or(serde_json::Value::is_null);
        let place = field
            .path
            .strip_suffix("imageChecksum")
            .filter(|_| nothing)?;
        let moved = fields().any(|other| other.path.strip_suffix("imageURL") == Some(place));
        let item = place
            .trim_end_matches("template.spec.")
            .trim_end_matches('.');
        let Applied {
            kind,
            namespace,
            name,
            ..
        } = applied;
        (!moved).then(|| format!("{kind}/{namespace}/{name}/{item}"))
    });
    pinned.collect()
}

/// The same key for an image in a document.
fn named(image: &NamedImage<'_>) -> String {
    let kind = match image.kind {
        POOL => kind::POOL,
        GROUP => kind::GROUP,
        DATA_DISK => kind::DISK,
        _ => kind::VSI,
    };
    format!("{kind}/{}/{}", image.object, image.item)
}

/// Records where the bundle is, so that images are read from it, also after a restart.
async fn remember(
    bundles: AppliedBundles,
    path: PathBuf,
    bundle: Arc<Bundle<File>>,
) -> Result<(), Problem> {
    let remembering = async {
        let absolute = std::path::absolute(&path).map_err(|error| unreadable(&path, &error))?;
        let images = bundle.manifest().images.iter().enumerate();
        let images = images.filter_map(|(number, image)| {
            Some(BundledImage {
                path: absolute.clone(),
                start: bundle.image_start(number)?,
                image: image.clone(),
            })
        });
        let (images, manifest): (Vec<_>, _) = (images.collect(), bundle.seal().hash.to_string());
        let added = off_runtime(move || bundles.add(&manifest, images));
        added.await?.map_err(|error| {
            let message = format!("the state directory cannot be written: {error}");
            let remedy = "see that the state directory has room and can be written and read";
            ExitProblem::new(Exit::Failed, "VSI0006", message, remedy)
        })
    };
    remembering.await.map_err(|problem| api_problem(&problem))
}
