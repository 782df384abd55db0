//! `ssh` and `ssh-config`: log in to guests with the user's own `ssh`.

use std::{
    io::IsTerminal as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_workflows::kinds::{ObjectKind, TableQuery};

use super::ssh_import;
use crate::{
    args::{Common, SshArgs, SshConfigArgs, SshConfigCommand, without_kind},
    compose,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service,
    ssh::{SshTarget, config, host_keys},
    work::ask,
};

pub(super) async fn run(common: &Common, args: SshArgs) -> CommandOutcome {
    let name = without_kind(&args.name).to_owned();
    let query = TableQuery {
        namespace: Some(args.namespace.clone()),
        names: vec![name.clone()],
        ..TableQuery::default()
    };
    let found = service::objects(common, ObjectKind::Vsi, query).await?;
    let vsi = found.first().ok_or_else(|| gone(&name))?;
    let target = SshTarget::of(vsi)?;
    let pinned = pin(common, &args.namespace, &name, &target).await;
    let mut ssh = Command::new("ssh");
    ssh.args(words_of(&args, &target, pinned.as_deref()));
    // On success this process becomes ssh, and `exec` does not return.
    let error = ssh.exec();
    let message = format!("ssh cannot be started: {error}");
    let remedy = "install OpenSSH's client";
    Err(ExitProblem::new(Exit::Failed, "VSI0813", message, remedy))
}

/// The error for a VSI that is deleted: its name is known, and no list has it.
fn gone(name: &str) -> ExitProblem {
    let message = format!("vsi {name} is deleted");
    let remedy = "`vsiflow get` lists what is there";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}

/// Options first, the guest's name, then the command for the guest.
fn words_of(args: &SshArgs, target: &SshTarget, pinned: Option<&Path>) -> Vec<String> {
    let mut words = Vec::new();
    let mut option = |text: String| words.extend(["-o".to_owned(), text]);
    // ssh uses the first of several values: the user's.
    args.options.iter().cloned().for_each(&mut option);
    for (name, value) in target.options() {
        option(format!("{name}={value}"));
    }
    match pinned {
        Some(file) => {
            option(format!("UserKnownHostsFile={}", file.display()));
            option("StrictHostKeyChecking=yes".to_owned());
        }
        None => option("StrictHostKeyChecking=accept-new".to_owned()),
    }
    if let Some(user) = &args.login {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(file) = &args.identity {
        words.extend(["-i".to_owned(), file.display().to_string()]);
    }
    // What follows is no option, whatever it is.
    words.extend(["--".to_owned(), target.name.clone()]);
    words.extend(args.args.iter().cloned());
    words
}

/// Stores the host keys that the guest's console shows. If there are none or they cannot be stored, nothing
/// is pinned.
async fn pin(common: &Common, namespace: &str, name: &str, target: &SshTarget) -> Option<PathBuf> {
    let console = ask::ask(common, &["logs", name, "-n", namespace])
        .await
        .ok()?;
    let lines = host_keys::known_hosts(&console, &target.key_alias())?;
    let folder = cache()?.join("vsiflow").join("known_hosts");
    tokio::fs::create_dir_all(&folder).await.ok()?;
    let file = folder.join(target.key_alias());
    config::write(&file, &lines).await.ok()?;
    Some(file)
}

fn cache() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let named = named.filter(|path| path.is_absolute());
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

pub(super) async fn config(common: &Common, args: SshConfigArgs) -> CommandOutcome {
    if let Some(SshConfigCommand::Import(args)) = &args.command {
        return ssh_import::run(args).await;
    }
    let is_limited = !args.write && !args.scope.all_namespaces;
    let query = TableQuery {
        namespace: is_limited.then(|| args.scope.namespace.clone()),
        ..TableQuery::default()
    };
    let mut objects = service::objects(common, ObjectKind::Vsi, query).await?;
    if !args.write {
        objects.retain(|object| args.selection.includes(object));
    }
    let state = compose::state_path(common)?;
    let text = config::render(&objects, &state);
    if !args.write {
        output::line(text.trim_end());
        return Ok(Exit::Done);
    }
    let path = config::path(&state);
    config::write(&path, &text).await.map_err(|error| {
        let message = format!("{} cannot be written: {error}", path.display());
        ExitProblem::new(Exit::Failed, "VSI0908", message, "see who may write there")
    })?;
    output::line(&path.display().to_string());
    if std::io::stderr().is_terminal() {
        let include = format!("Include \"{}\"", path.display());
        output::note(&format!(
            "put this at the beginning of ~/.ssh/config:\n  {include}"
        ));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn words(line: &str) -> String {
        let cli = Cli::parse_from(line.split(' '));
        let CliCommand::Ssh(args) = cli.command else {
            panic!("{line}")
        };
        let object = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "status": {"host": "root@h:22", "ipAddresses": ["10.0.0.2"]},
        });
        let target = SshTarget::of(&object).unwrap();
        words_of(&args, &target, None).join(" ")
    }

    #[test]
    fn options_may_stand_after_the_name_and_what_follows_two_dashes_goes_on_unchanged() {
        let expected = "-o Compression=yes -o HostName=10.0.0.2 -o HostKeyAlias=vsiflow-u -o ProxyJump=root@h:22 \
                        -o StrictHostKeyChecking=accept-new -l debian -i key -- web uname -a";
        assert_eq!(
            words("vsiflow ssh -l debian -i key -o Compression=yes web -- uname -a"),
            expected
        );
        assert_eq!(
            words("vsiflow ssh web -o Compression=yes -i key -l debian -- uname -a"),
            expected
        );
    }
}
