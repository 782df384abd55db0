//! `backup`: everything the state directory holds, in one file.

use std::path::Path;

use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncWriteExt as _, BufWriter},
};
use tokio_util::compat::{FuturesAsyncWriteCompatExt as _, TokioAsyncWriteCompatExt as _};
use vsiflow_engine::{
    backup::{BackedUp, Backup},
    clock::{Clock as _, SystemClock},
};

use crate::{
    args::{BackupArgs, Common},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    journal_file::{of_error, warn_of},
    output,
    user_file::unwritable,
};

pub(super) async fn run(common: &Common, args: BackupArgs) -> CommandOutcome {
    let recipients = recipients(&args.recipients)?;
    let app = App::open(common).await?;
    let written = write(app.backup(), &args.file, &recipients).await;
    app.close().await;
    let written = written?;
    output::line(&format!(
        "{} events and {} secrets, up to {}, are in {}",
        written.events,
        written.secrets,
        written.head,
        args.file.display()
    ));
    warn_of(&written.lacks);
    if recipients.is_empty() && written.secrets > 0 {
        output::warning("it holds secrets in plain; `--recipient age1…` encrypts it");
    }
    Ok(Exit::Done)
}

fn recipients(keys: &[String]) -> Result<Vec<age::x25519::Recipient>, ExitProblem> {
    let parse = |key: &String| {
        key.parse().map_err(|why: &str| {
            let message = format!("{key} is not a recipient: {why}");
            let remedy = "name a public key as `age-keygen` prints it; it begins with age1";
            ExitProblem::new(Exit::Usage, "VSI0909", message, remedy)
        })
    };
    keys.iter().map(parse).collect()
}

/// The file gets its name once it is complete and synced to disk.
async fn write(
    backup: Backup<'_>,
    path: &Path,
    recipients: &[age::x25519::Recipient],
) -> Result<BackedUp, ExitProblem> {
    let part = part(path)?;
    let written = write_part(backup, &part, recipients).await;
    if written.is_err() {
        // The first error is the one that matters.
        let _ = tokio::fs::remove_file(&part).await;
    }
    let written = written?;
    // Unlike a rename, a hard link never replaces a file that was created in the meantime.
    let named = tokio::fs::hard_link(&part, path).await;
    let _ = tokio::fs::remove_file(&part).await;
    named.map_err(|e| unwritable(path, &e))?;
    sync_folder(path).await.map_err(|e| unwritable(path, &e))?;
    Ok(written)
}

fn part(path: &Path) -> Result<std::path::PathBuf, ExitProblem> {
    let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    if path.symlink_metadata().is_ok() {
        return Err(unwritable(path, &there));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(name))
}

async fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .await?
        .sync_all()
        .await
}

async fn write_part(
    backup: Backup<'_>,
    part: &Path,
    recipients: &[age::x25519::Recipient],
) -> Result<BackedUp, ExitProblem> {
    let failed = |e: std::io::Error| unwritable(part, &e);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = BufWriter::new(options.open(part).await.map_err(failed)?);
    let now = SystemClock.now();
    let of_backup = |e| of_error(&e);
    let (written, mut file) = if recipients.is_empty() {
        let mut file = file;
        let written = backup.write(&mut file, now).await.map_err(of_backup)?;
        (written, file)
    } else {
        let keys = recipients.iter().map(|key| key as &dyn age::Recipient);
        let encryptor =
            age::Encryptor::with_recipients(keys).map_err(|e| failed(std::io::Error::other(e)))?;
        let sealed = encryptor.wrap_async_output(file.compat_write()).await;
        let mut sealed = sealed.map_err(failed)?.compat_write();
        let written = backup.write(&mut sealed, now).await.map_err(of_backup)?;
        // Seals the last chunk; without it the file counts as truncated.
        sealed.shutdown().await.map_err(failed)?;
        let opened = OpenOptions::new().write(true).open(part).await;
        (written, BufWriter::new(opened.map_err(failed)?))
    };
    file.flush().await.map_err(failed)?;
    file.get_ref().sync_all().await.map_err(failed)?;
    Ok(written)
}
