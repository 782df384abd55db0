//! Draws the step graphs of the VSIs that a daemon works on, while a command waits for it on a terminal.

use std::{collections::BTreeSet, time::Duration};

use vsiflow_api::DaemonAddress;
use vsiflow_workflows::fleet::VsiOverview;

use super::graph_pane::LiveGraphs;
use crate::{
    args::{Cli, CliCommand},
    daemon::{self, Forwarded, forward_printing},
    work::CommandDocuments,
};

/// How often the graphs are redrawn.
const INTERVAL: Duration = Duration::from_millis(500);

/// Has the daemon run a command, and draws what it waits for.
pub(super) async fn forward(
    place: &DaemonAddress,
    cli: &Cli,
    words: Vec<String>,
    documents: &CommandDocuments,
) -> Forwarded {
    let graphs = || LiveGraphs::where_drawn(&cli.common, true);
    let Some(mut graphs) = waits(&cli.command).then(graphs).flatten() else {
        return forward_printing(place, words, documents, daemon::show).await;
    };
    let named = NamedObjects::of(&words, documents);
    let above = graphs.above();
    let print = |to_err: bool, bytes: &[u8]| above.print(|| daemon::show(to_err, bytes));
    let done = {
        let drawing = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                graphs.draw(&cli.common, |vsi| named.has(vsi)).await;
            }
        };
        tokio::select! {
            biased;
            done = forward_printing(place, words, documents, &print) => done,
            never = drawing => never,
        }
    };
    graphs.finish(&cli.common).await;
    done
}

/// Whether a command waits for the results of VSIs.
fn waits(command: &CliCommand) -> bool {
    let wait = match command {
        CliCommand::Apply(args) => args.wait.clone(),
        CliCommand::Create(args) => args.wait.clone(),
        _ => return false,
    };
    wait.wait || wait.timeout.is_some()
}

/// All words of a command and its documents that may be names. Other VSIs are not drawn.
struct NamedObjects(BTreeSet<String>);

impl NamedObjects {
    fn of(words: &[String], documents: &CommandDocuments) -> Self {
        let texts = documents
            .files
            .iter()
            .map(|file| String::from_utf8_lossy(&file.bytes));
        let texts: Vec<_> = texts.collect();
        let in_texts = texts.iter().flat_map(|text| text.split(is_between));
        let in_words = words.iter().flat_map(|word| word.split(is_between));
        let all = in_texts.chain(in_words).filter(|word| !word.is_empty());
        Self(all.map(ToOwned::to_owned).collect())
    }

    /// Members of pools and groups have the name of their pool or group, then a number or their own name.
    fn has(&self, vsi: &VsiOverview) -> bool {
        let ends = vsi.name.match_indices('-').map(|(end, _)| end);
        let mut beginnings = ends.filter_map(|end| vsi.name.get(..end));
        self.0.contains(&vsi.name) || beginnings.any(|name| self.0.contains(name))
    }
}

fn is_between(letter: char) -> bool {
    !(letter.is_ascii_alphanumeric() || letter == '-' || letter == '.')
}
