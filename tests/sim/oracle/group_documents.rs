//! The documents of games of a group.

use vsiflow_engine::secret::Secret;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::spec::{
    Resolved,
    group::{Gate, LateProblem, OutputPlace, OutputSource, Quorum, ResolvedItem, ResolvedWave},
    problem::{FieldPath, Problem, ProblemCode},
};

use super::{
    controller_game::user_data,
    group_model::{GroupDemand, REMOVED, WAVES},
};
use crate::documents::{Group, PoolDocument, VsiDocument};

/// The item whose first member has the output that [`FILLED`] is filled with.
pub(super) const GIVES: &str = "b";
/// The item whose members' user-data has an output.
pub(super) const FILLED: &str = "e";
/// What is before the value of an output in user-data.
pub(super) const VALUE: &str = "# value ";

/// The document of a demand.
pub(super) fn document(demand: &GroupDemand) -> Resolved {
    let mut resolved = Group { member: member(2) }.resolved();
    let group = resolved.groups.first_mut().unwrap();
    let outputs = demand.outputs.iter();
    group.outputs = outputs
        .map(|(item, pattern)| output(item, pattern))
        .collect();
    let names = ["first", "second", "third"];
    let waves = names.iter().zip(WAVES);
    group.waves = waves
        .map(|(name, items)| ResolvedWave {
            name: (*name).to_owned(),
            gate: Gate {
                members: if demand.any && *name == "first" {
                    Quorum::Any
                } else {
                    Quorum::All
                },
                ..Gate::default()
            },
            items: items
                .iter()
                .map(|item| resolved_item(demand, item))
                .collect(),
        })
        .collect();
    resolved
}

/// The same once the host that was for the removed item alone is in no document any more.
pub(super) fn without_host_of_removed(demand: &GroupDemand) -> Resolved {
    let mut resolved = document(demand);
    let group = resolved.groups.first_mut().unwrap();
    for item in group.waves.iter_mut().flat_map(|wave| &mut wave.items) {
        if item.name == REMOVED {
            let template = &mut item.pool.template.desired;
            (template.host, template.placement) = (String::new(), None);
        }
    }
    group.late.push(LateProblem {
        problem: Problem {
            code: ProblemCode::MatchesNothing,
            document: group.at.clone(),
            kind: "VirtualServerGroup".to_owned(),
            object: "default/grp".to_owned(),
            path: FieldPath::default(),
            message: "no ConfigMap matches".to_owned(),
            remedy: String::new(),
        },
        item: REMOVED.to_owned(),
        value: None,
    });
    resolved
}

fn resolved_item(demand: &GroupDemand, name: &str) -> ResolvedItem {
    let asked = demand.items[name];
    let pool = PoolDocument {
        replicas: Some(asked.replicas),
        member: member(asked.edition),
        disk: false,
        evictable: true,
    };
    let mut pool = pool.resolved().pools.pop().unwrap();
    (pool.desired.name, pool.desired.uid) = (format!("grp-{name}"), None);
    let mut words = user_data(asked.edition);
    if name == FILLED {
        words.push_str(&format!("{VALUE}$(group.outputs.of-{GIVES})\n"));
    }
    pool.template.contract = Secret::new(words);
    ResolvedItem {
        name: name.to_owned(),
        single: false,
        remove_after: (name == REMOVED).then(|| "second".to_owned()),
        pool,
    }
}

fn member(cpus: u32) -> VsiDocument {
    let mut member = VsiDocument::new("grp", 1, "").server(GuestType::CloudInit);
    member.cpus = cpus;
    member
}

fn output(item: &str, pattern: &str) -> OutputSource {
    OutputSource {
        name: format!("of-{item}"),
        item: item.to_owned(),
        number: 0,
        from: OutputPlace::Console(pattern.to_owned()),
        secret: false,
    }
}
