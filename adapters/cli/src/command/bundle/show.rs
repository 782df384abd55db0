//! `bundle show`: prints what a bundle contains.

use std::{fs::File, sync::Arc};

use serde_json::{Value, json};
use vsiflow_file::load_text;
use vsiflow_image::bundle::Bundle;

use crate::{
    args::{BundleShowArgs, OutputFormat},
    bundle_file::{check_signature, open, unfit},
    exit::{CommandOutcome, Exit},
    output,
    work::off_runtime,
};

pub(super) async fn run(args: BundleShowArgs) -> CommandOutcome {
    let bundle = Arc::new(open(&args.file).await?);
    if let Some(key) = &args.verify_key {
        check_signature(&args.file, &bundle, key).await?;
    }
    let (shared, path) = (Arc::clone(&bundle), args.file.clone());
    let objects = off_runtime(move || objects(&shared).map_err(|error| unfit(&path, &error)));
    let shown = shown(&bundle, objects.await??, args.verify_key.is_some());
    match args.output {
        None | Some(OutputFormat::Wide | OutputFormat::Name) => print(&args, &shown),
        Some(format) => output::print(&shown, format)?,
    }
    Ok(Exit::Done)
}

/// The objects of each document, as far as it can be read without the others.
fn objects(bundle: &Bundle<File>) -> Result<Vec<Vec<String>>, vsiflow_image::bundle::BundleError> {
    let documents = bundle.manifest().documents.iter().enumerate();
    let objects = documents.map(|(number, document)| {
        let bytes = bundle.document(number)?;
        let loaded = load_text(&document.name, &bytes);
        let objects = loaded.map(|loaded| loaded.documents.objects());
        let named = objects.unwrap_or_default().into_iter();
        Ok(named.map(|(kind, name)| format!("{kind} {name}")).collect())
    });
    objects.collect()
}

fn shown(bundle: &Bundle<File>, objects: Vec<Vec<String>>, checked: bool) -> Value {
    let (manifest, seal) = (bundle.manifest(), bundle.seal());
    let documents = manifest.documents.iter().zip(objects);
    let documents = documents.map(|(document, names)| {
        json!({
            "name": document.name,
            "bytes": document.length,
            "sha256": document.sha256,
            "objects": names,
        })
    });
    let images = manifest
        .images
        .iter()
        .map(|image| json!({"sha256": image.sha256, "bytes": image.length, "urls": image.urls}));
    json!({
        "version": 1,
        "manifestSha256": seal.hash.to_string(),
        "signedBy": seal.signer(),
        "signatureChecked": checked,
        "documents": documents.collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
        "leftOut": manifest.left_out,
    })
}

fn print(args: &BundleShowArgs, shown: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let field = |of: &Value, name: &str| of.get(name).cloned().unwrap_or_default();
    let signed = match (text(&field(shown, "signedBy")), args.verify_key.is_some()) {
        (key, _) if key.is_empty() => "no".to_owned(),
        (key, true) => format!("with {key}, as it should be"),
        (key, false) => format!("with {key}; --verify-key FILE checks that"),
    };
    output::line(&format!("bundle    {}, version 1", args.file.display()));
    output::line(&format!(
        "manifest  sha256:{}",
        text(&field(shown, "manifestSha256"))
    ));
    output::line(&format!("signed    {signed}"));
    for document in list(&field(shown, "documents")) {
        let bytes = field(&document, "bytes");
        output::line(&format!(
            "document  {}, {bytes} bytes",
            text(&field(&document, "name"))
        ));
        for object in list(&field(&document, "objects")) {
            output::line(&format!("          {}", text(&object)));
        }
    }
    for image in list(&field(shown, "images")) {
        let bytes = field(&image, "bytes");
        output::line(&format!(
            "image     sha256:{}, {bytes} bytes",
            text(&field(&image, "sha256"))
        ));
        for url in list(&field(&image, "urls")) {
            output::line(&format!("          {}", text(&url)));
        }
    }
    for object in list(&field(shown, "leftOut")) {
        output::line(&format!(
            "left out  {}, since it holds secrets",
            text(&object)
        ));
    }
    if list(&field(shown, "images")).is_empty() {
        return;
    }
    output::note(
        "`bundle apply` compares the images with their checksums; this command does not read them",
    );
}
