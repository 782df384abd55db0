//! `disk`: exports data disks to files, and imports files as data disks.

use std::{io::Read as _, path::Path};

use vsiflow_steps::image::{format, qcow2::Unfit};
use vsiflow_workflows::{
    fleet::DiskToExport,
    spec::{
        Checksum, DataDiskSource, DeletionPolicy, DesiredDataDisk, DesiredImage, ImageUrl, Resolved,
    },
};

use super::{
    apply,
    disk_file::{ExportFile, wrong},
};
use crate::{
    args::{Common, DiskCommand, DiskExportArgs, DiskImportArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::ServiceSession,
    work::{self, off_runtime},
};

/// How many bytes are read from a host at a time.
const PIECE: u64 = 16 << 20;

pub(super) async fn run(common: &Common, command: DiskCommand) -> CommandOutcome {
    match command {
        DiskCommand::Export(args) => export(common, args).await,
        DiskCommand::Import(args) => import(common, args).await,
    }
}

async fn export(common: &Common, args: DiskExportArgs) -> CommandOutcome {
    let app = App::open(common).await?;
    let disk = app
        .fleet
        .disks()
        .to_export(&args.namespace, &args.name)
        .await?;
    let exported = tokio::select! {
        exported = write(&disk, &args.file) => exported.map(Some),
        () = work::interrupted() => Ok(None),
    };
    app.close().await;
    let Some((length, sha256)) = exported? else {
        output::note("interrupted; run the same command to resume");
        return Ok(Exit::Interrupted);
    };
    output::line(&format!(
        "{} is in {} ({}, {length} bytes, sha256:{sha256})",
        args.name,
        args.file.display(),
        disk.format()
    ));
    Ok(Exit::Done)
}

/// The file gets its name once it holds the whole disk, if nothing wrote to the disk in the meantime.
async fn write(disk: &DiskToExport, path: &Path) -> Result<(u64, String), ExitProblem> {
    let (path, state) = (path.to_owned(), disk.state());
    let mut file = off_runtime(move || ExportFile::open(&path, &state)).await??;
    // Data of another disk was dropped; data of this disk is never longer than the disk.
    while file.length() < disk.length() {
        let bytes = disk.read(file.length(), PIECE).await?;
        if bytes.is_empty() {
            break;
        }
        file = off_runtime(move || file.add(&bytes)).await??;
    }
    disk.unchanged().await?;
    let there = disk.sha256().await?.to_string();
    off_runtime(move || file.finish(&there)).await?
}

async fn import(common: &Common, args: DiskImportArgs) -> CommandOutcome {
    let host = work::one_host(common, &args.at.files).await?;
    let (path, size) = (args.file.clone(), args.size);
    let found = off_runtime(move || virtual_size(&path)).await??;
    if let Some(size) = size.map(|size| size.bytes()).filter(|size| *size < found) {
        let message =
            format!("--size is {size} bytes, and what the disk is filled with has {found}");
        let remedy = format!("leave --size out, or give at least {found}; nothing was recorded");
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, &remedy));
    }
    let checksum = args.checksum.as_deref().map(str::parse::<Checksum>);
    let checksum = checksum
        .transpose()
        .map_err(|why| wrong(&args.file, &why))?;
    let url = super::image::file_url(&args.file)?;
    let url: ImageUrl = url.parse().map_err(|why: String| wrong(&args.file, &why))?;
    let image = DesiredImage {
        url: url.stored().to_owned(),
        file_name: url.file_name().to_owned(),
        checksum,
    };
    let disk = DesiredDataDisk {
        namespace: args.namespace.clone(),
        name: args.name.clone(),
        uid: None,
        labels: args.labels.into_iter().collect(),
        host: host.id(),
        pool: args.at.pool.clone(),
        size: size.map_or(found, |size| size.bytes()),
        deletion_policy: DeletionPolicy::Retain,
        member_of: None,
        copy_of: None,
        source: Some(DataDiskSource::Image { image }),
    };
    let resolved = Resolved {
        data_disks: vec![disk],
        hosts: [(host.id(), host)].into(),
        ..Resolved::default()
    };
    let app = App::open_to_work(common).await?;
    let session = ServiceSession::with_state(app, common, resolved);
    apply::bring(session, common, args.wait, None).await
}

/// The size that a guest sees of an image, in bytes.
fn virtual_size(path: &Path) -> Result<u64, ExitProblem> {
    let mut head = Vec::new();
    let failed = |error: std::io::Error| wrong(path, &error);
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(wrong(path, &"this is no regular file"));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let read = file.take(format::HEADER_MAX).read_to_end(&mut head);
    read.map_err(failed)?;
    let found = format::of_whole(&head, length);
    found.map(|(_, size)| size).map_err(|unfit| ExitProblem {
        remedy: remedy_of(&unfit).to_owned(),
        ..wrong(path, &unfit)
    })
}

/// What to do about a file that is no disk. Nothing was recorded.
fn remedy_of(unfit: &Unfit) -> &'static str {
    match unfit {
        Unfit::Encrypted
        | Unfit::Cut
        | Unfit::CutDisk
        | Unfit::Contradiction(_)
        | Unfit::Corrupt
        | Unfit::Version
        | Unfit::Features(_)
        | Unfit::Compression
        | Unfit::Tables
        | Unfit::TooManyTables => unfit.remedy(),
        // The other remedies are about images of servers, and their addresses.
        _ => "give a whole disk, as a qcow2 or raw file; nothing was recorded",
    }
}
