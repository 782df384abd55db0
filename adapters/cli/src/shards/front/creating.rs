//! `create` in a set: the journal of the host makes the VSI. Documents are made here, where the command line names files.
//!
//! Where there is one already of that name, in whichever journal, nothing is done.

use vsiflow_api::CommandFile;

use super::{needed_key, objects::asked};
use crate::{
    args::{Cli, CreateArgs},
    command,
    compose::{App, elsewhere},
    exit::{Exit, ExitProblem},
    shards::{
        SetPlace,
        ask::{self, CommandPart},
        own,
    },
};

/// Has the journal of a host that is known make VSIs on it.
pub(super) async fn create(
    cli: &Cli,
    args: &CreateArgs,
    place: &SetPlace,
) -> Result<Exit, ExitProblem> {
    let sealer = needed_key().await?;
    let namespaces = [args.namespace.clone()].into();
    let limited = place.set.limited_among(&namespaces).await;
    if let Some(namespace) = limited.map_err(elsewhere::problem)?.first() {
        return Err(own::limited_to_documents(namespace));
    }
    let apps = place.look_at_all(&cli.common).await?;
    let found = Box::pin(journal(&apps, args)).await;
    App::end(apps, ()).await;
    let journal = found?;
    let given = command::create::documents(&cli.common, args).await?;
    let files = given.files.into_iter().map(|file| CommandFile {
        name: file.name,
        content: file.bytes,
    });
    let asked = asked(cli, files.collect(), CommandPart::Own);
    ask::ask(&place.set, &sealer, journal, &asked, false).await
}

/// The journal of the one host that is meant.
async fn journal(apps: &[App], args: &CreateArgs) -> Result<u16, ExitProblem> {
    let mut found = Vec::new();
    for (journal, app) in (0..).zip(apps) {
        let hosts = app.fleet.hosts();
        let names: Vec<_> = match (&args.target, &args.on) {
            (Some((key, value)), _) => {
                let labelled = hosts.labelled(key, value).into_iter();
                labelled.map(|host| host.id()).collect()
            }
            (None, Some(name)) => {
                let known = hosts.settings(name).into_iter();
                known.map(|host| host.id()).collect()
            }
            (None, None) => {
                let known = hosts.list().await?.into_iter();
                known.map(|host| host.name).collect()
            }
        };
        found.extend(names.into_iter().map(|name| (name, journal)));
    }
    match found.as_slice() {
        [(_, journal)] => Ok(*journal),
        [] => Err(no_host(args)),
        several => {
            let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("it may be on several hosts: {}", names.join(", "));
            let remedy = "name one of them with --on";
            Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
        }
    }
}

fn no_host(args: &CreateArgs) -> ExitProblem {
    let meant = match (&args.target, &args.on) {
        (Some((key, value)), _) => format!(" with the label {key}={value}"),
        (None, Some(name)) => format!(" by the name {name}"),
        (None, None) => String::new(),
    };
    let message = format!("no host is known{meant}");
    let remedy = "`vsiflow get host` lists the hosts of the set; a new one is made known by a document that names it";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}
