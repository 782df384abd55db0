//! Tests of the route of each command line in a set.

use crate::args::Cli;
use clap::Parser as _;

use super::{super::is_standalone, *};

fn met(line: &str) -> String {
    let words = std::iter::once("vsiflow").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let objects = |objects: &Objects<'_>| match objects {
        Objects::Named(namespace, names) => format!("{namespace} {}", names.join(" ")),
        Objects::Selected(selection) => {
            format!("each {} of {}", selection.kind.word(), selection.namespace)
        }
    };
    let how = |repeatable| if repeatable { "again" } else { "once" };
    if is_standalone(&cli) {
        return "alone".to_owned();
    }
    match route_of(&cli.command) {
        CommandRoute::Looks => "looks".to_owned(),
        CommandRoute::LooksAt(of) => format!("looks at {}", objects(&of)),
        CommandRoute::LooksAtEach => "looks at each journal".to_owned(),
        CommandRoute::Acts(of, repeatable) => format!("{} {}", how(repeatable), objects(&of)),
        CommandRoute::ActsEverywhere(repeatable) => format!("{} in all journals", how(repeatable)),
        CommandRoute::Decides(repeatable) => format!("{} in journal 0", how(repeatable)),
        CommandRoute::OfHost(host, repeatable) => {
            let (name, files) = (host.name.unwrap_or("the only host"), host.files.len());
            format!("{} on {name}, {files} files", how(repeatable))
        }
        CommandRoute::OfHosts(labels) => format!("on hosts with {labels}"),
        CommandRoute::Server => "server".to_owned(),
        CommandRoute::Refused(_) => "refused".to_owned(),
    }
}

#[test]
fn each_command_meets_a_set_as_the_docs_say() {
    for (line, expected) in [
        ("get", "looks"),
        ("get vsi,disk -o json", "looks"),
        ("get --watch", "looks"),
        ("get --refresh", "refused"),
        ("get --at 4", "refused"),
        ("get --at 2026-11-25T09:30:00Z", "looks"),
        ("events", "looks"),
        ("events --from-offset 3", "refused"),
        ("events --from-offset 2:3", "looks"),
        ("events -w --from-offset 0:0", "looks"),
        ("describe disk data -n a", "looks at a disk/data"),
        ("history web db", "looks at default web db"),
        ("logs web", "looks at default web"),
        ("logs --all", "looks at each vsi of default"),
        ("ssh web -n a", "looks at a web"),
        ("ssh vsi/web -- uname -a", "looks at default web"),
        ("ssh-config --write", "looks"),
        ("create web --image u --on h", "looks"),
        ("create web --image u --dry-run", "alone"),
        ("create web --image u --target a=b -f h.yaml", "looks"),
        ("diff web --at 4 -n a", "looks at a web"),
        ("diff -f a.yaml", "looks"),
        ("apply -f a.yaml", "looks"),
        ("plan -f a.yaml", "looks"),
        ("delete disk data", "looks"),
        ("delete -l app=web", "looks"),
        ("delete -f a.yaml", "looks"),
        ("stop web", "looks"),
        ("restart web", "looks"),
        ("stop -l app=web", "looks"),
        ("rebuild --all", "looks"),
        ("approve web", "looks"),
        ("cancel web", "looks"),
        ("retry web", "looks"),
        ("retry --all", "looks"),
        ("pause --all", "looks"),
        ("unpause web", "looks"),
        ("doctor", "server"),
        ("token list", "server"),
        ("token create --role viewer --ttl 1d", "refused"),
        (
            "token create --role viewer --ttl 1d --tls-cert a",
            "once in journal 0",
        ),
        ("token revoke a", "again in journal 0"),
        ("console web", "looks"),
        ("vnc web", "looks"),
        ("host drain a --stop", "looks"),
        ("host drain a --move", "refused"),
        ("host cordon a", "looks"),
        ("host uncordon a --start", "looks"),
        ("host accept a", "looks"),
        ("host check -f h.yaml", "again on the only host, 1 files"),
        ("host inventory", "again on the only host, 0 files"),
        ("adopt d --on a", "again on a, 0 files"),
        ("image list", "looks"),
        ("image prune --dry-run", "again in all journals"),
        (
            "image unlock a --force -f h.yaml",
            "once on the only host, 1 files",
        ),
        (
            "image upload http://i/a -l role=test",
            "on hosts with role in (test)",
        ),
        ("image upload a.qcow2 -l role=test", "refused"),
        ("audit verify", "looks at each journal"),
        (
            "traces export --endpoint http://c:4318",
            "looks at each journal",
        ),
        (
            "traces export --endpoint http://c:4318 --from-offset 3",
            "refused",
        ),
        ("audit verify --head a", "refused"),
        ("audit export a", "refused"),
        ("replay --verify", "looks at each journal"),
        ("resume", "refused"),
        ("describe pool web -n a", "looks"),
        ("describe quota/team pool/web", "looks"),
        ("describe quota/team vsi/web", "refused"),
        ("describe pool web --at 4", "refused"),
        ("describe pool web --at 2026-11-25T09:30:00Z", "looks"),
        ("describe pool/web vsi/web", "looks at default pool/web web"),
        ("history pool/web", "looks at default pool/web"),
        ("scale pool/web --replicas 4", "looks"),
        ("scale group/web --pool a --replicas 4", "looks"),
        ("describe group web", "looks"),
        ("delete group web", "looks"),
        ("output group/web token -n a", "looks at a group/web"),
        ("retry group/web", "looks"),
        ("cordon web-1", "looks"),
        ("rollback pool/web", "looks"),
        ("rollback pool/web --dry-run", "looks"),
        ("rollback web", "looks"),
        ("approve pool/web", "looks"),
        ("delete pool web", "looks"),
        ("retry pool/web", "looks"),
        ("wait pool/web --for delete", "looks"),
        ("get snapshots", "looks"),
        ("wait snapshot/a --for delete", "looks"),
        (
            "describe snapshot/a vsi/web",
            "looks at default snapshot/a web",
        ),
        ("history snapshot a -n b", "looks at b snapshot/a"),
        ("snapshot create web", "once default web"),
        ("snapshot create vsi/web before -n a", "once a vsi/web"),
        ("snapshot restore before -n a", "looks"),
        ("snapshot delete a snapshot/b", "looks"),
        ("create new --from before", "looks"),
        ("clone web web-2 -n a", "once a web"),
    ] {
        assert_eq!(met(line), expected, "{line}");
    }
}
