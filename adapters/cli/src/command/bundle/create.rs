//! `bundle create`: packs documents and their images into one file.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use vsiflow_engine::audit::{Seal, SigningKey};
use vsiflow_file::{Diagnostics, DocumentPart, Input, InputText, Loaded};
use vsiflow_image::bundle::{BundleError, BundleManifest, BundleWriter};
use vsiflow_workflows::{
    provision_vsi::SIMULATED,
    spec::{DataDiskSource, Documents, HostSettings, Resolved},
};

use super::fetch::{ImageToPack, fetch};
use crate::{
    args::{BundleCreateArgs, Common},
    bundle_file::unfit,
    compose,
    exit::{CommandOutcome, Exit, ExitProblem},
    key_file::signing_key,
    output,
    user_file::unwritable,
    work::{self, off_runtime},
};

/// What goes into a bundle.
struct BundleContent {
    documents: Vec<(String, Vec<u8>)>,
    images: BTreeMap<String, ImageToPack>,
    left_out: Vec<String>,
    hosts: Vec<HostSettings>,
}

pub(super) async fn run(common: &Common, args: BundleCreateArgs) -> CommandOutcome {
    let key = signing_key(args.sign_key.as_deref()).await?;
    let content = content(common, &args).await?;
    let part = part(&args.output)?;
    let written = tokio::select! {
        written = write(&part, content, key, common.quiet) => written.map(Some),
        () = work::interrupted() => Ok(None),
    };
    let named = match &written {
        Ok(Some(_)) => name(&part, &args.output).await,
        _ => Ok(()),
    };
    // Also after a failure: an incomplete file has no use.
    let _ = tokio::fs::remove_file(&part).await;
    let Some((manifest, seal)) = written? else {
        return Ok(Exit::Interrupted);
    };
    named?;
    report(&args.output, &manifest, &seal);
    Ok(Exit::Done)
}

fn report(path: &Path, manifest: &BundleManifest, seal: &Seal) {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let bytes: u64 = manifest.images.iter().map(|image| image.length).sum();
    let (files, images) = (manifest.documents.len(), manifest.images.len());
    let signed = match seal.signer() {
        Some(key) => format!("signed with {key}"),
        None => "not signed".to_owned(),
    };
    output::line(&format!(
        "{} holds {} with documents and {} ({bytes} bytes), {signed}",
        path.display(),
        count(files, "file"),
        count(images, "image"),
    ));
    if seal.signer().is_none() {
        output::warning("nobody can verify who made it; `--sign-key FILE` signs it");
    }
    for object in &manifest.left_out {
        output::note(&format!(
            "{object} is not packed, since it holds secrets; have it at the site, and name it there with -f"
        ));
    }
}

// ---- what is packed ----

async fn content(common: &Common, args: &BundleCreateArgs) -> Result<BundleContent, ExitProblem> {
    let gathered = work::gather(&args.sources.files, args.sources.recursive).await?;
    let files = gathered.files.into_iter().map(|file| InputText {
        name: file.name,
        bytes: file.content,
    });
    let files: Vec<_> = files.collect();
    let (documents, left_out) = packed(&files, args.include_secrets)?;
    let (mut loaded, resolved) = resolved(common, args, files).await?;
    let mut images = images(&mut loaded.documents, args.include_secrets)?;
    find_hosts(&mut images, &resolved);
    Ok(BundleContent {
        documents,
        images,
        left_out,
        hosts: resolved.hosts.into_values().collect(),
    })
}

/// The documents as they are packed, and what is left out of them.
type Packed = (Vec<(String, Vec<u8>)>, Vec<String>);

fn packed(files: &[InputText], all: bool) -> Result<Packed, ExitProblem> {
    let (mut documents, mut left_out) = (Vec::new(), Vec::new());
    for file in files {
        let mut text = String::new();
        for part in vsiflow_file::parts(file) {
            if !all && part.only_secrets && !part.secrets.is_empty() {
                left_out.extend(part.secrets);
                continue;
            }
            judge(&part, all)?;
            text.push_str(&part.text);
        }
        if !text.is_empty() {
            let name = Path::new(&file.name).file_name();
            let name = name.map(|name| name.to_string_lossy().into_owned());
            documents.push((name.unwrap_or_default(), text.into_bytes()));
        }
    }
    left_out.sort();
    left_out.dedup();
    if !documents.is_empty() {
        Ok((documents, left_out))
    } else {
        let message = "nothing but secrets was named, and these are not packed";
        let remedy =
            "name documents that describe VSIs, or pack the secrets with --include-secrets";
        Err(ExitProblem::new(Exit::Usage, "VSI0327", message, remedy))
    }
}

fn judge(part: &DocumentPart, all: bool) -> Result<(), ExitProblem> {
    if let Some(secret) = part.secrets.first() {
        if !all {
            let message = format!("{secret} is in one list with other objects, and is not packed");
            let remedy =
                "write the Secret as a document of its own, or pack it with --include-secrets";
            return Err(ExitProblem::new(Exit::Usage, "VSI0327", message, remedy));
        }
        for packed_secret in &part.secrets {
            output::warning(&format!(
                "{packed_secret} is packed unencrypted: anyone who has the bundle can read it"
            ));
        }
    }
    for object in &part.readable {
        output::warning(&format!(
            "{object}: its contract or user-data is packed unencrypted: anyone who has the bundle can read it"
        ));
    }
    Ok(())
}

/// Reads the documents and resolves their selectors as far as possible: the hosts may be known only at the
/// site.
async fn resolved(
    common: &Common,
    args: &BundleCreateArgs,
    files: Vec<InputText>,
) -> Result<(Loaded, Resolved), ExitProblem> {
    let host = work::host(common)?;
    let target = args.sources.kubevirt();
    let read = move || {
        let inputs: Vec<_> = files.into_iter().map(Input::Text).collect();
        let loaded = vsiflow_file::load_for(&inputs, false, &mut std::io::empty(), target)?;
        let resolved = match (loaded.resolve(host.as_ref()), &host) {
            (Ok(resolved), _) => resolved,
            (Err(wrong), Some(_)) => return Err(wrong),
            (Err(_), None) => {
                let mut resolved = loaded.resolve("sim:".parse().ok().as_ref())?;
                resolved.hosts.clear();
                resolved
            }
        };
        Ok((loaded, resolved))
    };
    let read: Result<_, Diagnostics> = off_runtime(read).await?;
    let (loaded, resolved) = read?;
    output::diagnostics(&loaded.warnings);
    Ok((loaded, resolved))
}

/// The images that documents name, by URL.
fn images(
    documents: &mut Documents,
    secrets: bool,
) -> Result<BTreeMap<String, ImageToPack>, ExitProblem> {
    let (mut images, mut wrong) = (BTreeMap::<String, ImageToPack>::new(), None);
    documents.each_image(&mut |image| {
        let object = format!("{} {}", image.kind, image.object);
        if image.full.is_some() && !secrets {
            let message = format!("the imageURL of {object} holds credentials or a query, which may be one");
            let remedy = "put the login into the host's settings (IMAGE_SERVER, IMAGE_USER, IMAGE_PASSWORD), or \
                          pack it with --include-secrets";
            wrong.get_or_insert(ExitProblem::new(Exit::Usage, "VSI0327", message, remedy));
        }
        let entry = images.entry(image.url.clone()).or_insert(ImageToPack {
            url: image.full.unwrap_or(&image.url).to_owned(),
            shown: image.url,
            host: String::new(),
            checksum: None,
        });
        let Some(checksum) = image.checksum else { return };
        if entry.checksum.as_ref().is_some_and(|other| other != checksum) {
            let message = format!("{object} has another imageChecksum for {} than a document before", entry.shown);
            let remedy = "name one checksum for one URL";
            wrong.get_or_insert(ExitProblem::new(Exit::Usage, "VSI0305", message, remedy));
        }
        entry.checksum = Some(checksum.clone());
    });
    match wrong {
        None => Ok(images),
        Some(problem) => Err(problem),
    }
}

/// Finds for each image the host whose settings give access to it.
fn find_hosts(images: &mut BTreeMap<String, ImageToPack>, resolved: &Resolved) {
    let mut on = |url: &str, host: &str| {
        let known = resolved.hosts.get(host);
        let Some((image, known)) = images.get_mut(url).zip(known) else {
            return;
        };
        if !image.host.is_empty() {
            return;
        }
        host.clone_into(&mut image.host);
        let parsed = url::Url::parse(url).ok();
        let reserved = parsed.as_ref().and_then(url::Url::host_str);
        if known.record.is_simulated()
            && reserved.is_some_and(|simulated_host| simulated_host.ends_with(".test"))
        {
            image.url = format!("{SIMULATED}{}", image.url);
        }
    };
    let items = resolved.groups.iter().flat_map(|group| group.items());
    let pools = resolved.pools.iter().chain(items.map(|item| &item.pool));
    let pools: Vec<_> = pools.collect();
    let templates = pools.iter().map(|pool| &pool.template);
    for vsi in resolved.vsis.iter().chain(templates) {
        on(&vsi.desired.image.url, &vsi.desired.host);
    }
    let disks = pools.iter().flat_map(|pool| &pool.desired.disks);
    for disk in resolved.data_disks.iter().chain(disks) {
        if let Some(DataDiskSource::Image { image }) = &disk.source {
            on(&image.url, &disk.host);
        }
    }
}

// ---- the file ----

async fn write(
    part: &Path,
    content: BundleContent,
    key: Option<SigningKey>,
    quiet: bool,
) -> Result<(BundleManifest, Seal), ExitProblem> {
    let shown = part.to_owned();
    let failed = move |error: BundleError| match error {
        BundleError::Io(error) => unwritable(&shown, &error),
        error => unfit(&shown, &error),
    };
    let sources = compose::sources_for(content.hosts)?;
    let (path, documents) = (part.to_owned(), content.documents);
    let begun = off_runtime(move || begin(&path, &documents));
    let mut writer = begun.await?.map_err(&failed)?;
    for (url, image) in &content.images {
        if !quiet {
            output::note(&format!("reading {url}"));
        }
        let (mut with, packed) = fetch(writer, &sources, image, &failed).await?;
        with.name(&packed.sha256, url);
        writer = with;
    }
    let left_out = content.left_out;
    let finished = off_runtime(move || writer.finish(left_out, key.as_ref()));
    finished.await?.map_err(&failed)
}

fn begin(path: &Path, documents: &[(String, Vec<u8>)]) -> Result<BundleWriter, BundleError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let mut writer = BundleWriter::begin(options.open(path)?)?;
    for (name, bytes) in documents {
        writer.document(name, bytes)?;
    }
    Ok(writer)
}

/// The file gets its name once it is complete and synced to disk. An existing file is never replaced.
async fn name(part: &Path, path: &Path) -> Result<(), ExitProblem> {
    let (part, to) = (part.to_owned(), path.to_owned());
    let named = off_runtime(move || {
        std::fs::hard_link(part, &to)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    named.await?.map_err(|error| unwritable(path, &error))
}

fn part(path: &Path) -> Result<PathBuf, ExitProblem> {
    if path.symlink_metadata().is_ok() {
        let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(unwritable(path, &there));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(name))
}
