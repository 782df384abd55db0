use std::path::Path;

use super::*;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

#[test]
fn the_committed_definitions_are_the_generated_ones() {
    let generated = yaml(Rules::None).unwrap();
    if std::env::var_os("VSIFLOW_DRAW").is_some() {
        for place in ["crd.yaml", "helm/crds/crd.yaml", "kustomize/crd/crd.yaml"] {
            std::fs::write(Path::new(DEPLOY).join(place), &generated).unwrap();
        }
        return;
    }
    let committed = include_str!("../../../../deploy/crd.yaml");
    assert!(
        committed == generated,
        "run: VSIFLOW_DRAW=1 cargo nextest run -p vsiflow-kube -E 'test(committed_definitions)'"
    );
}

#[test]
fn rules_are_there_for_servers_that_know_them() {
    assert!(!yaml(Rules::None).unwrap().contains(VALIDATIONS));
    assert!(yaml(Rules::Cel).unwrap().contains(VALIDATIONS));
}

/// Without a status, kstatus takes a new object for one that is in effect.
#[test]
fn an_object_that_was_never_seen_says_so() {
    for definition in all() {
        let definition = serde_json::to_value(&definition).unwrap();
        let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/default";
        let default = definition.pointer(path).unwrap();
        assert_eq!(*default, json!({"observedGeneration": -1}));
    }
}

/// What a refused change asks for is in no column.
#[test]
fn columns_show_what_is_recorded() {
    for definition in all() {
        let columns = definition.spec.versions.iter();
        let columns =
            columns.flat_map(|version| version.additional_printer_columns.iter().flatten());
        for column in columns {
            let (name, path) = (&column.name, &column.json_path);
            assert!(!path.starts_with(".spec"), "{name} shows {path}");
        }
    }
}

#[test]
fn health_checks_of_other_tools_cover_every_kind() {
    let flux = include_str!("../../../../deploy/gitops/flux-kustomization.yaml");
    let argo = include_str!("../../../../deploy/gitops/argocd-cm.yaml");
    for definition in all() {
        let (group, kind) = (definition.spec.group, definition.spec.names.kind);
        let checked = format!("    - apiVersion: {group}/v1\n      kind: {kind}\n");
        assert!(flux.contains(&checked), "{kind}");
        assert!(argo.contains(&format!("    {group}/*:\n")), "{group}");
    }
    for condition in ["AsDesired", "Reconciling"] {
        assert!(flux.contains(&format!("'{condition}'")), "{condition}");
        assert!(argo.contains(&format!("\"{condition}\"")), "{condition}");
    }
    let mut checks = argo.split("health.lua: |\n").skip(1);
    let lines = |check: &str| -> Vec<String> {
        let lines = check.lines().filter(|line| line.starts_with("        "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(checks.next().map(lines), checks.next().map(lines));
}
