//! `crd`: prints the custom resource definitions.

use vsiflow_kube::crd::{Rules, yaml};

use super::Outcome;
use crate::{
    args::CrdArgs,
    exit::{Exit, Problem},
    output,
};

pub(super) fn run(args: &CrdArgs) -> Outcome {
    let rules = if args.cel { Rules::Cel } else { Rules::None };
    let text = yaml(rules).map_err(|error| {
        let message = format!("the definitions cannot be written: {error}");
        Problem::new(Exit::Failed, "VSI0001", message, "please report this")
    })?;
    output::raw(text.as_bytes())?;
    Ok(Exit::Done)
}
