//! Draws the step graphs of VSIs in progress below the output of `get --watch` and `wait`, on a terminal.

use std::{collections::BTreeSet, io::IsTerminal as _};

use vsiflow_api::{GraphRequest, OverviewRequest};
use vsiflow_workflows::fleet::VsiOverview;

use crate::{
    args::Common,
    output::{self, graph, pane::Pane, times::Times},
    service, work,
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

    /// Prints the drawn graphs a last time, in their final state.
    pub(in crate::command) async fn finish(mut self, common: &Common) {
        let mut text = String::new();
        for (namespace, name) in std::mem::take(&mut self.drawn).iter().take(MAX) {
            text.push_str(&graph_of(common, namespace, name).await);
        }
        self.pane.clear();
        if !text.is_empty() {
            output::raw_note(text.as_bytes());
        }
    }

    /// Draws the VSIs in progress that match. If nothing answers, the drawn graphs remain.
    pub(in crate::command) async fn draw(
        &mut self,
        common: &Common,
        is_meant: impl Fn(&VsiOverview) -> bool,
    ) {
        let request = OverviewRequest::default();
        let Ok(fleet) = Box::pin(service::call(common, request)).await else {
            return;
        };
        let worked_on = fleet.vsis.iter().filter(|vsi| vsi.progress.is_some());
        let mut text = String::new();
        for vsi in worked_on.filter(|vsi| is_meant(vsi)).take(MAX) {
            text.push_str(&graph_of(common, &vsi.namespace, &vsi.name).await);
            let name = (vsi.namespace.clone(), vsi.name.clone());
            self.drawn.insert(name);
        }
        self.pane.draw(&text);
    }
}

/// The graph of a VSI below its name; empty if it has none, or nothing answers.
async fn graph_of(common: &Common, namespace: &str, name: &str) -> String {
    let request = GraphRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let answer = Box::pin(service::call(common, request)).await;
    let Some(newest) = answer.ok().and_then(|drawn| drawn.graph) else {
        return String::new();
    };
    let label = work::label(namespace, name);
    let drawn = graph::render(&newest, Times::default());
    format!("vsi/{label}   {}\n\n", drawn.trim_end())
}
