//! Reads documents from a commit, with the user's own `git`.
//!
//! Only objects are read, by their IDs: no hook, filter or configured program of the repository
//! runs, nothing is fetched, and files of the work tree are not read.

use std::{
    fs, io,
    path::{Component, Path},
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, process::Command};
use vsiflow_file::{InputText, LARGEST_FILE, is_manifest};

/// How long `git` may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// The most bytes of all documents of a commit.
const DOCUMENTS_MAX: u64 = 256 << 20;
/// How many characters of an error of `git` are reported.
const WORDS: usize = 300;

/// A document, or its name and why it could not be read.
pub(super) type ReadDocument = Result<InputText, (String, String)>;

/// A file in a commit.
struct CommittedFile {
    path: String,
    id: String,
    size: u64,
    fits: bool,
}

/// Whether the folder is in a work tree. Blocks.
///
/// # Errors
/// When the folder cannot be read.
pub(super) fn is_work_tree(folder: &Path) -> io::Result<bool> {
    let folder = fs::canonicalize(folder)?;
    Ok(folder.ancestors().any(|one| one.join(".git").exists()))
}

/// The commit in HEAD.
///
/// # Errors
/// The reason as text, if there is no commit or it cannot be read.
pub(super) async fn head(folder: &Path) -> Result<String, String> {
    let args = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
    let out = git(folder, &args, Vec::new()).await;
    let out = out.map_err(|why| {
        if why.is_empty() {
            "its Git repository has no commit".to_owned()
        } else {
            why
        }
    })?;
    let text = String::from_utf8_lossy(&out);
    Ok(text.trim().to_owned())
}

/// The documents of that commit in the folder, or the names and errors of unreadable ones.
///
/// # Errors
/// The reason as text, if the commit cannot be read at all.
pub(super) async fn documents(
    folder: &Path,
    commit: &str,
    recursive: bool,
) -> Result<Vec<ReadDocument>, String> {
    let mut args = vec!["ls-tree", "-l", "-z"];
    if recursive {
        args.push("-r");
    }
    args.push(commit);
    let listed = git(folder, &args, Vec::new()).await?;
    let files = listed.split(|byte| *byte == 0).filter_map(file);
    let (fit, odd): (Vec<_>, Vec<_>) = files.partition(|file| file.fits);
    let size = fit
        .iter()
        .map(|file| file.size)
        .fold(0, u64::saturating_add);
    if size > DOCUMENTS_MAX {
        return Err("its documents are larger than 256 MiB".to_owned());
    }
    let ids = fit.iter().flat_map(|file| [file.id.as_str(), "\n"]);
    let ids: String = ids.collect();
    let bytes = if fit.is_empty() {
        Vec::new()
    } else {
        git(folder, &["cat-file", "--batch"], ids.into_bytes()).await?
    };
    let name = |file: &CommittedFile| folder.join(&file.path).display().to_string();
    let mut all = contents(&bytes, &fit, name)?;
    let why = "it is a link, a submodule or larger than 4 MiB".to_owned();
    all.extend(odd.iter().map(|file| Err((name(file), why.clone()))));
    Ok(all)
}

/// Parses a line of `git ls-tree -l -z`: mode, type, ID, size, path.
fn file(line: &[u8]) -> Option<CommittedFile> {
    let line = std::str::from_utf8(line).ok()?;
    let (fields, path) = line.split_once('\t')?;
    let mut fields = fields.split_whitespace();
    let (mode, kind, id) = (fields.next()?, fields.next()?, fields.next()?);
    let size = fields.next().and_then(|size| size.parse::<u64>().ok());
    let plain = Path::new(path).components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        _ => false,
    });
    let is_document = plain && kind != "tree" && is_manifest(Path::new(path));
    is_document.then(|| CommittedFile {
        path: path.to_owned(),
        id: id.to_owned(),
        size: size.unwrap_or_default(),
        fits: mode.starts_with("100") && size.is_some_and(|size| size <= LARGEST_FILE),
    })
}

/// Parses the output of `git cat-file --batch`, in the order of the files.
fn contents(
    mut bytes: &[u8],
    files: &[CommittedFile],
    name: impl Fn(&CommittedFile) -> String,
) -> Result<Vec<ReadDocument>, String> {
    let odd = || "`git cat-file` answered in another form than is known".to_owned();
    let mut all = Vec::new();
    for file in files {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(odd)?;
        let (head, rest) = bytes.split_at_checked(end).ok_or_else(odd)?;
        let head = String::from_utf8_lossy(head).into_owned();
        let rest = rest.get(1..).ok_or_else(odd)?;
        let mut fields = head.split_whitespace();
        let (id, kind) = (fields.next(), fields.next());
        let length = fields.next().and_then(|length| length.parse().ok());
        let (Some("blob"), Some(length)) = (kind, length) else {
            let why = "its object is missing in the repository".to_owned();
            all.push(Err((name(file), why)));
            bytes = rest;
            continue;
        };
        if id != Some(file.id.as_str()) {
            return Err(odd());
        }
        let (content, rest) = rest.split_at_checked(length).ok_or_else(odd)?;
        all.push(Ok(InputText {
            name: name(file),
            bytes: content.to_vec(),
        }));
        bytes = rest.get(1..).ok_or_else(odd)?;
    }
    Ok(all)
}

/// Runs `git` and returns its output. Cancel safe: `git` is killed.
async fn git(folder: &Path, args: &[&str], input: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .args(["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"])
        // The repository may have another owner: the user named the folder, and nothing in it is executed.
        .args(["-c", "safe.directory=*"])
        .args(args)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
    ] {
        command.env_remove(name);
    }
    let cannot = |error: std::io::Error| format!("`git` cannot be run: {error}");
    let mut child = command.spawn().map_err(cannot)?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // If `git` ended early, its output states the reason.
            let _ = stdin.write_all(&input).await;
        }
    };
    let done = async { tokio::join!(feed, child.wait_with_output()).1 };
    let late = |_| format!("`git` took longer than {} s", DEADLINE.as_secs());
    let output = tokio::time::timeout(DEADLINE, done).await.map_err(late)?;
    let output = output.map_err(cannot)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(words(&output.stderr))
    }
}

/// The first line of an error of `git`.
fn words(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let line = output.lines().next().unwrap_or_default();
    let plain = line.chars().filter(|c| !c.is_control());
    plain.take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_submodules_and_what_is_hidden_are_no_documents() {
        let line = |mode: &str, kind: &str, path: &str| {
            let line =
                format!("{mode} {kind} 4b825dc642cb6eb9a060e54bf8d69288fbee4904      12\t{path}");
            file(line.as_bytes()).map(|file| (file.path, file.fits))
        };
        assert_eq!(
            line("100644", "blob", "a/b.yaml"),
            Some(("a/b.yaml".to_owned(), true))
        );
        assert_eq!(
            line("120000", "blob", "a.yml"),
            Some(("a.yml".to_owned(), false))
        );
        assert_eq!(
            line("160000", "commit", "b.json"),
            Some(("b.json".to_owned(), false))
        );
        assert_eq!(line("100644", "blob", ".github/b.yaml"), None);
        assert_eq!(line("100644", "blob", "../b.yaml"), None);
        assert_eq!(line("100644", "blob", "README.md"), None);
        assert_eq!(line("040000", "tree", "a.yaml"), None);
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_an_error_and_no_shorter_document() {
        let id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let files = [CommittedFile {
            path: "a.yaml".to_owned(),
            id: id.to_owned(),
            size: 5,
            fits: true,
        }];
        let whole = format!("{id} blob 5\nkind:\n");
        let name = |file: &CommittedFile| file.path.clone();
        let read = contents(whole.as_bytes(), &files, name).unwrap();
        assert_eq!(read[0].as_ref().unwrap().bytes, b"kind:");
        for end in 0..whole.len() {
            let cut = &whole.as_bytes()[..end];
            assert!(contents(cut, &files, name).is_err(), "{end}");
        }
        let missing = format!("{id} missing\n");
        let incomplete = contents(missing.as_bytes(), &files, name).unwrap();
        assert!(incomplete[0].is_err());
    }
}
