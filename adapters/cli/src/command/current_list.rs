//! A list as `get` prints it, for repeated use: made here, or by the process that has the state directory.

use super::get;
use crate::{
    args::{Common, GetArgs},
    exit::ExitProblem,
    output::times::Times,
    work::ask::{answer, is_silence},
};

/// The current list; empty if the process that has the state directory does not answer at the
/// moment, so that the caller continues to show the last list.
pub(super) async fn current_list(common: &Common, args: &GetArgs) -> Result<String, ExitProblem> {
    let here = Box::pin(get::run(common, args.clone()));
    match answer(common, here, words(args)).await {
        Err(problem) if is_silence(&problem) => Ok(String::new()),
        answered => answered,
    }
}

/// The command line for the process that has the state directory.
fn words(args: &GetArgs) -> Vec<String> {
    let mut words = vec!["vsiflow".to_owned(), "get".to_owned()];
    words.extend(args.words.iter().cloned());
    words.extend(["-n".to_owned(), args.scope.namespace.clone()]);
    words.extend(args.scope.all_namespaces.then(|| "-A".to_owned()));
    words.extend(args.deleted.then(|| "--deleted".to_owned()));
    words.extend(args.selection.words());
    if let Some(path) = &args.sort_by {
        words.push(format!("--sort-by={}", path.text()));
    }
    words.extend(args.no_headers.then(|| "--no-headers".to_owned()));
    if args.times.time == Times::Absolute {
        words.push("--time=absolute".to_owned());
    }
    if let Some(format) = &args.output {
        words.extend(["-o".to_owned(), format.word()]);
    }
    words
}
