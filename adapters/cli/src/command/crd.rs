//! `crd`: prints the custom resource definitions.

use vsiflow_kube::crd::{Rules, yaml};

use crate::{
    args::CrdArgs,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

pub(super) fn run(args: &CrdArgs) -> CommandOutcome {
    let rules = if args.cel { Rules::Cel } else { Rules::None };
    let text = yaml(rules).map_err(ExitProblem::defect)?;
    output::raw(text.as_bytes())?;
    Ok(Exit::Done)
}
