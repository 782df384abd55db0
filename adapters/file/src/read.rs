//! Deserializes a type from a tree and reports every fault, not only the first.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use vsiflow_workflows::spec::{FieldPath, PathSegment};

use crate::fault::{DocumentFault, FieldProblem};
use crate::messages::intended;
use crate::node::{Value, YamlEntry, YamlMark, YamlNode};

/// More faults than this in one document do not help the user.
const MAX_FAULTS: usize = 50;

/// Reads a `T`. serde stops at the first fault, so each fault is repaired and the tree is read again.
///
/// # Errors
/// Every fault, in the order in which they were found.
pub(crate) fn read<T: DeserializeOwned>(node: &YamlNode) -> Result<T, Vec<DocumentFault>> {
    let mut tree = node.clone();
    let mut faults: Vec<DocumentFault> = Vec::new();
    let mut met = BTreeSet::new();
    loop {
        let fault = match T::deserialize(&tree) {
            Ok(value) if faults.is_empty() => return Ok(value),
            Ok(_) => return Err(faults),
            Err(fault) => fault,
        };
        let mended = mend(&mut tree, &fault);
        let path = fault.path();
        // A fault below a value that was already reported is a consequence of that one.
        let follows = (1..path.0.len()).any(|end| {
            path.0
                .get(..end)
                .is_some_and(|above| met.contains(&FieldPath(above.to_vec())))
        });
        if met.insert(path) && !follows {
            faults.push(fault);
        }
        if !mended || faults.len() >= MAX_FAULTS {
            return Err(faults);
        }
    }
}

/// Each required field of every kind accepts one of these texts.
const FILLERS: [&str; 2] = ["filler", "http://filler/filler"];

/// Repairs a fault so that reading can continue. Returns false if it cannot be repaired.
fn mend(tree: &mut YamlNode, fault: &DocumentFault) -> bool {
    let path = fault.path();
    let now = tree.find_mut(&path.0).map(|node| &node.value);
    let next = match (&fault.wrong, now) {
        (FieldProblem::UnknownField { known }, _) => {
            return correct(tree, &path, intended(&path, known));
        }
        (_, Some(Value::Filler(text))) => FILLERS.iter().skip_while(|other| *other != text).nth(1),
        (FieldProblem::Missing, _) | (_, Some(Value::Null)) => FILLERS.first(),
        // First try to remove the value: a field with a default is then valid.
        _ => return set(tree, &path, YamlNode::nowhere(Value::Null)),
    };
    next.is_some_and(|text| set(tree, &path, YamlNode::nowhere(Value::Filler(text))))
}

/// Renames an unknown field to the one that was meant, if that is absent; otherwise removes it.
fn correct(tree: &mut YamlNode, path: &FieldPath, meant: Option<&str>) -> bool {
    let Some((PathSegment::Key(key), above)) = path.0.split_last() else {
        return false;
    };
    let Some(YamlNode {
        value: Value::Map(entries),
        ..
    }) = tree.find_mut(above)
    else {
        return false;
    };
    let free = |name: &&str| entries.iter().all(|entry| entry.key != *name);
    match meant.filter(free) {
        Some(name) => {
            let unknown = entries.iter_mut().filter(|entry| entry.key == *key);
            unknown.for_each(|entry| name.clone_into(&mut entry.key));
        }
        None => entries.retain(|entry| entry.key != *key),
    }
    true
}

fn set(tree: &mut YamlNode, path: &FieldPath, node: YamlNode) -> bool {
    if let Some(found) = tree.find_mut(&path.0) {
        *found = node;
        return true;
    }
    let Some((PathSegment::Key(key), above)) = path.0.split_last() else {
        return false;
    };
    let Some(YamlNode {
        value: Value::Map(entries),
        ..
    }) = tree.find_mut(above)
    else {
        return false;
    };
    entries.push(YamlEntry {
        key: key.clone(),
        key_at: YamlMark::default(),
        node,
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use vsiflow_workflows::spec::VsiSpec;

    fn faults(text: &str) -> Vec<String> {
        let node: YamlNode = serde_saphyr::from_str(text).unwrap();
        let faults = read::<VsiSpec>(&node).unwrap_err();
        faults
            .iter()
            .map(|fault| fault.path().to_string())
            .collect()
    }

    #[test]
    fn every_fault_is_found() {
        let text = "imageUrl: x\nmachine: {cpus: two, arch: 3, mem: 4}\npowerState: Runing\n\
                    diskSelector: {matchLabels: {a: 1, b: c}}\nstoragePool: [a]\n";
        assert_eq!(
            faults(text),
            [
                "imageUrl",
                "imageURL",
                "machine.cpus",
                "machine.arch",
                "machine.mem",
                "powerState",
                "diskSelector.matchLabels.a",
                "storagePool",
                "contract",
            ]
        );
    }

    #[test]
    fn a_field_without_a_value_counts_as_absent() {
        let node: YamlNode =
            serde_saphyr::from_str("contract: a\nimageURL: http://a/b\nstoragePool:\n").unwrap();
        assert_eq!(read::<VsiSpec>(&node).unwrap().storage_pool, "images");
        assert_eq!(faults("contract:\nimageURL: http://a/b\n"), ["contract"]);
    }

    #[test]
    fn it_ends_however_much_is_wrong() {
        let many: String = (0..200).map(|number| format!("x{number}: 1\n")).collect();
        assert_eq!(faults(&many).len(), MAX_FAULTS);
    }
}
