//! Draws the step graphs of VSIs in progress below the output of `get --watch` and `wait`, on a terminal.

use std::{collections::BTreeSet, io::IsTerminal as _};

use vsiflow_top::{FleetSnapshot, VsiRow};

use crate::{
    args::{Common, GetArgs, ObjectKind},
    output::{
        self,
        pane::{Pane, PanePrinter},
    },
    work,
    work::ask::ask,
};

/// How many graphs are drawn: a terminal has room for few.
const MAX: usize = 3;

/// Graphs that are redrawn at each poll.
pub(in crate::command) struct LiveGraphs {
    pane: Pane,
    /// Namespace and name of the VSIs that were drawn.
    drawn: BTreeSet<(String, String)>,
}

impl LiveGraphs {
    /// `None` unless the output is lines on a terminal that a person reads.
    pub(in crate::command) fn where_drawn(common: &Common, lines: bool) -> Option<Self> {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let person = lines && terminal && !common.quiet && !output::sink::is_for_caller();
        person.then(|| Self {
            pane: Pane::new(),
            drawn: BTreeSet::new(),
        })
    }

    /// Prints above the graphs.
    pub(in crate::command) fn print(&self, print: impl FnOnce()) {
        self.pane.print(print);
    }

    /// A printer that prints above the graphs while they are drawn.
    pub(in crate::command) fn above(&self) -> PanePrinter {
        self.pane.over()
    }

    /// Prints the drawn graphs a last time, in their final state.
    pub(in crate::command) async fn finish(mut self, common: &Common) {
        let mut text = String::new();
        for (namespace, name) in std::mem::take(&mut self.drawn).iter().take(MAX) {
            text.push_str(&graph(common, namespace, name).await);
        }
        self.pane.clear();
        if !text.is_empty() {
            output::raw_note(text.as_bytes());
        }
    }

    /// Draws the VSIs in progress that are in the list.
    pub(super) async fn draw_those_in(&mut self, common: &Common, args: &GetArgs, list: &str) {
        if !args.shows(ObjectKind::Vsi) {
            return;
        }
        let scope = &args.scope;
        let is_listed = |vsi: &VsiRow| {
            let here = scope.all_namespaces || vsi.namespace == scope.namespace;
            here && list.split_whitespace().any(|word| word == vsi.name)
        };
        self.draw(common, is_listed).await;
    }

    /// Draws the VSIs in progress that match. If nothing answers, the drawn graphs remain.
    pub(in crate::command) async fn draw(
        &mut self,
        common: &Common,
        is_meant: impl Fn(&VsiRow) -> bool,
    ) {
        let Ok(look) = Box::pin(ask(common, &["top", "--once"])).await else {
            return;
        };
        let Ok(fleet) = serde_json::from_str::<FleetSnapshot>(&look) else {
            return;
        };
        let worked_on = fleet.vsis.iter().filter(|vsi| vsi.progress.is_some());
        let mut text = String::new();
        for vsi in worked_on.filter(|vsi| is_meant(vsi)).take(MAX) {
            text.push_str(&graph(common, &vsi.namespace, &vsi.name).await);
            let name = (vsi.namespace.clone(), vsi.name.clone());
            self.drawn.insert(name);
        }
        self.pane.draw(&text);
    }
}

/// The graph of a VSI below its name; empty if nothing answers.
async fn graph(common: &Common, namespace: &str, name: &str) -> String {
    let words = ["history", "--graph", "-n", namespace, name];
    let graph = Box::pin(ask(common, &words)).await.unwrap_or_default();
    if graph.is_empty() {
        return graph;
    }
    let label = work::label(namespace, name);
    format!("vsi/{label}   {}\n\n", graph.trim_end())
}
