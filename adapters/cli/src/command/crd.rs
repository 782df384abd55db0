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
    let text = yaml(rules).map_err(Problem::defect)?;
    output::raw(text.as_bytes())?;
    Ok(Exit::Done)
}
