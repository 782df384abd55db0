//! Checks the contract before anything is done for the VSI.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, Name},
    secret::Secrets,
    step::{Done, Observed, Step, StepContext},
};

use super::stored_contract;
use crate::{
    contract::{self, Report},
    hpl::cut,
};

/// Maximum number of doubts that are stored.
const DOUBTS_MAX: usize = 8;
/// Maximum number of bytes of each.
const DOUBT_MAX: usize = 240;

/// Checks the contract, including the validity period of its certificate. Errors that the guest would
/// refuse block the step; what it may refuse is stored as a doubt.
///
/// The step changes nothing and asks no host, so a crash during it leaves nothing; the next attempt
/// checks again.
pub struct CheckContract {
    secrets: Arc<dyn Secrets>,
}

/// Parameters of [`CheckContract`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The secret that holds the contract.
    pub contract: Name,
    /// The VSI's namespace; empty in runs that an earlier version recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// What [`CheckContract`] found. The only text of the contract that it repeats is names of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What the guest may refuse, with lines and remedies; at most 8.
    pub doubts: Vec<String>,
    /// The last day of the signer's certificate, if it can be read.
    #[serde(default)]
    pub certificate_ends: Option<String>,
}

impl CheckContract {
    /// The step, with contracts from this store.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets }
    }
}

#[async_trait]
impl Step for CheckContract {
    const NAME: &'static str = "check_contract";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let contract = stored_contract::read(self.secrets.as_ref(), &params.contract).await?;
        let report = contract::inspect_remembered(contract, &params.namespace, "").await?;
        let report = Report::clone(&report).at(SystemTime::now());
        report.verdict()?;
        let doubts = report.doubts().take(DOUBTS_MAX);
        Ok(Done::present(Output {
            doubts: doubts
                .map(|finding| cut(&finding.to_string(), DOUBT_MAX).to_owned())
                .collect(),
            certificate_ends: report.certificate.map(|lifetime| lifetime.last_day()),
        }))
    }
}
