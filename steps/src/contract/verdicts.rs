//! Checks the contracts of tenants in turns, off the runtime, and remembers what was found.

use std::sync::Arc;

use vsiflow_engine::{
    low_priority::{self, Panicked},
    model::Failure,
    secret::Secret,
};

use super::{CheckInputs, Report, inspect};
use crate::{
    turns::{WorkTurns, owner_of},
    verdicts::Verdicts,
};

/// How many reports are remembered.
const REPORTS_MAX: usize = 4_096;
/// How many errors, and how many doubts, of each.
const FINDINGS_MAX: usize = 8;

static REPORTS: Verdicts<Arc<Report>> = Verdicts::new(REPORTS_MAX);

/// The report about a contract of this namespace, with the first findings of each kind; [`Report::at`] adds what is to be
/// said of its certificate. A contract that is new is checked on a thread of low priority, in the turns of its namespace,
/// or of its host if the namespace is empty.
///
/// # Errors
/// When the check panicked.
pub async fn inspect_remembered(
    contract: Secret,
    namespace: &str,
    host: &str,
) -> Result<Arc<Report>, Failure> {
    let look = move || REPORTS.get(contract.expose()).ok_or(contract);
    let unknown = match low_priority::blocking(look).await.map_err(ended)? {
        Ok(report) => return Ok(report),
        Err(unknown) => unknown,
    };
    let turn = WorkTurns::current().take(&owner_of(namespace, host)).await;
    let checked = low_priority::aside(move || {
        // Held by the work: a caller that waits no longer does not end it.
        let _turn = turn;
        let bytes = unknown.expose();
        let check = || inspect(bytes, &CheckInputs::default()).shortened(FINDINGS_MAX);
        REPORTS.of(bytes, || Arc::new(check()))
    });
    checked.await.map_err(ended)
}

fn ended(panicked: Panicked) -> Failure {
    Failure::defect(format!("the check of the contract ended: {panicked}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Severity;

    /// A contract with very many wrong variables, as a hostile tenant writes it.
    fn hostile(seed: usize) -> Secret {
        let variables = (0..9_000).map(|number| format!("    {number}-{seed}: 1\n"));
        let variables: String = variables.collect();
        Secret::new(format!("workload: x\nenv: |\n  type: env\n  env:\n{variables}").into_bytes())
    }

    #[tokio::test]
    async fn hostile_contracts_hold_up_neither_the_runtime_nor_another_namespace() {
        let checks = (0..8).map(|seed| {
            tokio::spawn(async move { inspect_remembered(hostile(seed), "hostile", "").await })
        });
        let checks: Vec<_> = checks.collect();
        tokio::task::yield_now().await;
        let honest = Secret::new(b"workload: x\nenv: y # honest\n".to_vec());
        inspect_remembered(honest, "honest", "").await.unwrap();
        let are_left = checks.iter().any(|check| !check.is_finished());
        assert!(are_left, "it waited for all of another namespace");
        for check in checks {
            let report = check.await.unwrap().unwrap();
            assert!(report.errors().next().is_some());
        }
    }

    #[tokio::test]
    async fn a_contract_is_checked_once_and_says_how_many_errors_there_are() {
        let volumes: String = (0..20)
            .map(|number| format!("    v{number}: {{}}\n"))
            .collect();
        let text = format!("workload: |\n  type: workload\n  volumes:\n{volumes}env: x\n");
        let contract = || Secret::new(text.clone().into_bytes());
        let whole = inspect(text.as_bytes(), &CheckInputs::default());
        let first = inspect_remembered(contract(), "a", "").await.unwrap();
        let again = inspect_remembered(contract(), "b", "").await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(whole.findings.len() > FINDINGS_MAX && first.findings.len() < whole.findings.len());
        assert_eq!(first.verdict(), whole.verdict());
        assert_eq!(first.errors().count(), FINDINGS_MAX);
        assert!(
            first
                .findings
                .is_sorted_by_key(|finding| finding.severity != Severity::Error)
        );
    }
}
