//! The command line as words, to be sent to a process with another working directory.

use crate::args::Cli;

tokio::task_local! {
    static CALLER: Vec<String>;
}

/// Runs `work` with a caller's command line in place of this process's.
pub(super) async fn for_caller<T>(words: Vec<String>, work: impl Future<Output = T>) -> T {
    CALLER.scope(words, work).await
}

/// The words of this process, with the paths of files made absolute; a caller's words are unchanged.
pub(crate) fn words(cli: &Cli) -> Vec<String> {
    if let Ok(words) = CALLER.try_with(Vec::clone) {
        return words;
    }
    let files = cli.command.files();
    let absolute = |word: &str| {
        let named = files.iter().find(|file| file.as_os_str() == word);
        let absolute = named.and_then(|file| std::path::absolute(file).ok());
        absolute.map_or_else(|| word.to_owned(), |path| path.display().to_string())
    };
    let words = std::env::args();
    words
        .map(|word| match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                format!("{option}={}", absolute(value))
            }
            _ => absolute(&word),
        })
        .collect()
}
