//! `bundle apply`: applies the documents of a bundle, with the images in it.

use std::sync::Arc;

use vsiflow_api::{ApplyRequest, BundleFile, DaemonAddress, PlanRequest, SentDocuments};

use super::super::apply;
use crate::{
    args::{BundleApplyArgs, Common},
    bundle_file::{check_signature, open, unfit},
    daemon,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    user_file::unreadable,
    work::{self, off_runtime},
};

pub(super) async fn run(common: &Common, args: BundleApplyArgs) -> CommandOutcome {
    if let Some(DaemonAddress::Remote { .. }) = daemon::place(common)? {
        let message = "the bundle would be read on another machine";
        let remedy = "run it on the machine of the state directory, without --server";
        return Err(ExitProblem::new(Exit::Usage, "VSI0801", message, remedy));
    }
    check(&args, common.quiet).await?;
    let target = args.kubevirt();
    let gathered = work::gather(&args.files, false).await?;
    let documents = SentDocuments {
        bundle: Some(bundle(&args)?),
        directory: None,
        host: common.host.clone(),
        target: target.target,
        pool: target.pool,
        upload_limit: args.upload.upload_limit,
        ..gathered
    };
    if args.dry_run {
        let request = PlanRequest {
            documents,
            dry_run: true,
            ..PlanRequest::default()
        };
        return Box::pin(apply::dry_run(common, request, args.output)).await;
    }
    let request = ApplyRequest {
        documents,
        reason: common.reason.clone(),
        ..ApplyRequest::default()
    };
    apply::carry_out(common, request, args.wait, args.output).await
}

/// The bundle as the process of the journal finds it: it may work in another directory.
fn bundle(args: &BundleApplyArgs) -> Result<BundleFile, ExitProblem> {
    let absolute = |path| std::path::absolute(path).map_err(|error| unreadable(path, &error));
    Ok(BundleFile {
        path: absolute(&args.file)?,
        verify_key: args.verify_key.as_deref().map(absolute).transpose()?,
    })
}

/// Checks the checksums and the signature of the bundle before anything else is done: images may take minutes.
async fn check(args: &BundleApplyArgs, quiet: bool) -> Result<(), ExitProblem> {
    if args.verify_key.is_none() && !args.insecure_skip_signature {
        let message = format!("who made {} is not checked", args.file.display());
        let remedy = "name the maker's public key with --verify-key, or insist with --insecure-skip-signature";
        return Err(ExitProblem::new(Exit::Usage, "VSI0324", message, remedy));
    }
    let bundle = Arc::new(open(&args.file).await?);
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
    let compared = off_runtime(move || {
        let mut numbers = 0..bundle.manifest().images.len();
        numbers.try_for_each(|image| bundle.check_image(image, |_| {}))
    });
    compared.await?.map_err(|error| unfit(&args.file, &error))
}
