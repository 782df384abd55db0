//! `bundle apply`: applies the documents of a bundle, with the images in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    sync::Arc,
};

use vsiflow_file::{Input, InputText, Loaded};
use vsiflow_image::bundle::{Bundle, BundledImage};
use vsiflow_workflows::{
    fleet::Applied,
    record::kind,
    spec::{
        Checksum, NamedImage, Resolved,
        documents::{DATA_DISK, GROUP, POOL},
    },
};

use super::{
    super::apply,
    opened::{check_signature, open, unfit},
};
use crate::{
    args::{BundleApplyArgs, Common},
    compose::{App, AppliedBundles},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    user_file::unreadable,
    work::{self, off_runtime},
};

pub(super) async fn run(common: &Common, args: BundleApplyArgs) -> CommandOutcome {
    let bundle = checked(&args, common.quiet).await?;
    let mut loaded = load(&args, &bundle).await?;
    let checksums = checksums(&bundle);
    refuse_missing(&mut loaded, &args.file, &checksums)?;
    report_left_out(&loaded, &bundle);
    let mut read = BundleDocuments {
        loaded,
        checksums,
        unpinned: BTreeSet::new(),
    };
    let mut resolved = read.resolve(common)?;
    let app = App::open_to_work(common).await?;
    let changed = app.fleet.apply_dry(&resolved).await?;
    // An existing object without a checksum is not rebuilt only to get one.
    read.unpinned = changed.iter().flat_map(only_pinned).collect();
    if !read.unpinned.is_empty() {
        resolved = read.resolve(common)?;
    }
    for host in resolved.hosts.values_mut() {
        work::limit_uploads(&args.upload, host);
    }
    read.report(&resolved);
    if args.dry_run {
        return apply::dry_run(&app, &resolved, &[], args.output).await;
    }
    remember(&app, &args.file, &bundle).await?;
    drop(bundle);
    Box::pin(apply::bring_documents(
        app,
        common,
        &args.wait,
        args.output,
        resolved,
    ))
    .await
}

/// Opens the bundle, and checks its checksums and its signature.
async fn checked(args: &BundleApplyArgs, quiet: bool) -> Result<Arc<Bundle<File>>, ExitProblem> {
    if args.verify_key.is_none() && !args.insecure_skip_signature {
        let message = format!("who made {} is not checked", args.file.display());
        let remedy = "name the maker's public key with --verify-key, or insist with --insecure-skip-signature";
        return Err(ExitProblem::new(Exit::Usage, "VSI0324", message, remedy));
    }
    let bundle = open(&args.file).await?;
    match &args.verify_key {
        Some(key) => check_signature(&args.file, &bundle, key).await?,
        None => output::warning(&format!(
            "who made {} was not checked: it may hold anybody's images and documents",
            args.file.display()
        )),
    }
    let images = &bundle.manifest().images;
    let bytes: u64 = images.iter().map(|image| image.length).sum();
    if !quiet && bytes > 0 {
        output::note(&format!(
            "comparing {bytes} bytes of images with their checksums"
        ));
    }
    let bundle = Arc::new(bundle);
    let (shared, path) = (Arc::clone(&bundle), args.file.clone());
    let compared = off_runtime(move || {
        let mut numbers = 0..shared.manifest().images.len();
        numbers.try_for_each(|image| shared.check_image(image, |_| {}))
    });
    compared.await?.map_err(|error| unfit(&path, &error))?;
    Ok(bundle)
}

/// The documents of the bundle and those of the site.
async fn load(args: &BundleApplyArgs, bundle: &Arc<Bundle<File>>) -> Result<Loaded, ExitProblem> {
    let (shared, path) = (Arc::clone(bundle), args.file.clone());
    let texts = off_runtime(move || {
        let documents = shared.manifest().documents.iter().enumerate();
        let texts = documents.map(|(number, document)| {
            let name = format!("{}{}", prefix(&path), document.name);
            let bytes = shared.document(number);
            let bytes = bytes.map_err(|error| unfit(&path, &error))?;
            Ok(Input::Text(InputText { name, bytes }))
        });
        texts.collect::<Result<Vec<_>, ExitProblem>>()
    });
    let mut inputs = texts.await??;
    inputs.extend(work::inputs(&args.files));
    let target = args.kubevirt();
    let read = move || {
        let stdin = &mut std::io::stdin();
        vsiflow_file::load_for(&inputs, false, stdin, target)
    };
    off_runtime(read).await?.map_err(work::diagnostics_problem)
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

fn report_left_out(loaded: &Loaded, bundle: &Bundle<File>) {
    let there = loaded.documents.objects().into_iter();
    let there: BTreeSet<_> = there.map(|(kind, name)| format!("{kind} {name}")).collect();
    let left_out = bundle.manifest().left_out.iter();
    for object in left_out.filter(|object| !there.contains(*object)) {
        output::note(&format!(
            "{object} was not packed, since it holds secrets; name the site's own with -f if it is needed"
        ));
    }
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
    fn resolve(&mut self, common: &Common) -> Result<Resolved, ExitProblem> {
        let host = work::host(common)?;
        let (checksums, unpinned) = (&self.checksums, &self.unpinned);
        let mut documents = self.loaded.documents.clone();
        self.loaded.documents.each_image(&mut |image| {
            if image.checksum.is_none() && !unpinned.contains(&named(&image)) {
                *image.checksum = checksums.get(&image.url).cloned();
            }
        });
        let resolved = self
            .loaded
            .resolve(host.as_ref())
            .map_err(work::diagnostics_problem);
        std::mem::swap(&mut self.loaded.documents, &mut documents);
        resolved
    }

    fn report(&self, resolved: &Resolved) {
        output::diagnostics(&self.loaded.warn_of(&resolved.unresolved_refs));
        output::diagnostics(&self.loaded.exposed());
        output::diagnostics(&self.loaded.warnings);
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
async fn remember(app: &App, path: &Path, bundle: &Bundle<File>) -> Result<(), ExitProblem> {
    let absolute = std::path::absolute(path).map_err(|error| unreadable(path, &error))?;
    let images = bundle.manifest().images.iter().enumerate();
    let images = images.filter_map(|(number, image)| {
        Some(BundledImage {
            path: absolute.clone(),
            start: bundle.image_start(number)?,
            image: image.clone(),
        })
    });
    let (images, manifest): (Vec<_>, _) = (images.collect(), bundle.seal().hash.to_string());
    let bundles = AppliedBundles::of(app.state_path());
    let added = off_runtime(move || bundles.add(&manifest, images));
    added.await?.map_err(|error| {
        let message = format!("the state directory cannot be written: {error}");
        let remedy = "see that the state directory has room and can be written and read";
        ExitProblem::new(Exit::Failed, "VSI0006", message, remedy)
    })
}
