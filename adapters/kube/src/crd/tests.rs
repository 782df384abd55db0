use super::*;

#[test]
fn the_committed_definitions_are_the_generated_ones() {
    let committed = include_str!("../../../../deploy/crd.yaml");
    let generated = yaml(Rules::None).unwrap();
    assert!(committed == generated, "run: vsiflow crd > deploy/crd.yaml");
}

#[test]
fn rules_are_there_for_servers_that_know_them() {
    assert!(!yaml(Rules::None).unwrap().contains(VALIDATIONS));
    assert!(yaml(Rules::Cel).unwrap().contains(VALIDATIONS));
}
