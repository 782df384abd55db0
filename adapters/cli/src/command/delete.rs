//! `delete`: deletes VSIs with everything made for them, pools and groups with their members, data disks,
//! networks and snapshots.

use async_trait::async_trait;
use vsiflow_api::{ActEffect, ActedObject, DeleteRequest, DeletionTarget, RetainedOnHost};
use vsiflow_workflows::{
    fleet::RetainedTemplates,
    kinds::NameScope,
    spec::{Resolved, ResolvedGroup},
};

use super::acting::{self, Acted, ActedTarget, Action, ActionReport, FollowUp, Turn};
use crate::{
    args::{Common, DeleteArgs, ObjectKind, Sources, WaitArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::ServiceSession,
    work::{self, Destruction, SelectedObjects},
};

pub(super) async fn run(common: &Common, args: DeleteArgs) -> CommandOutcome {
    let objects = if args.files.is_empty() {
        named(&args.names)
    } else {
        let documents =
            Box::pin(work::described_documents(common, &Sources::of(&args.files))).await?;
        described(&documents)
    };
    let selection = selection(&args)?;
    if objects.is_empty() && selection.is_none() {
        return Ok(Exit::Done);
    }
    let request = DeleteRequest {
        namespace: args.namespace.clone(),
        objects,
        orphan: args.orphan,
        release: args.release,
        ignore_not_found: args.ignore_not_found,
        reason: common.reason.clone(),
    };
    carry_out(common, request, selection, args.wait.clone()).await
}

/// Has objects deleted, and waits.
pub(super) async fn carry_out(
    common: &Common,
    request: DeleteRequest,
    selection: Option<SelectedObjects<'_>>,
    wait: WaitArgs,
) -> CommandOutcome {
    let (recorded, done) = if request.release {
        ("will release its addresses", "has no address any more")
    } else if request.orphan {
        ("will be forgotten", work::FORGOTTEN)
    } else {
        ("will be deleted", work::DELETED)
    };
    let action = Action {
        request,
        selection,
        follow_up: &Deletions(ActionReport {
            wait,
            recorded: recorded.into(),
            done,
        }),
    };
    acting::carry_out(common, &action).await
}

/// The objects that are selected; `None` if they are named. `delete disk -l …` selects data disks.
fn selection(args: &DeleteArgs) -> Result<Option<SelectedObjects<'_>>, ExitProblem> {
    if !args.all && args.selection.is_empty() {
        return Ok(None);
    }
    let kind = match args.names.as_slice() {
        [] => Some(ObjectKind::Vsi),
        [word] => ObjectKind::named(word),
        _ => None,
    };
    let kind = kind.ok_or_else(work::names_and_selector)?;
    let is_selectable = matches!(
        kind,
        ObjectKind::Vsi | ObjectKind::Pool | ObjectKind::Group | ObjectKind::Disk
    );
    if !is_selectable {
        let word = kind.word();
        let message = format!("{word}s are deleted by their names");
        let remedy = format!("name them: `vsiflow delete {word} NAME`");
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, &remedy));
    }
    Ok(Some(SelectedObjects {
        kind,
        namespace: &args.namespace,
        selection: &args.selection,
        destroys: Some(Destruction {
            verb: "delete",
            args: &args.destroy,
        }),
    }))
}

/// The objects that words name: `NAME`, `KIND/NAME`, or `KIND NAME…` as kubectl accepts it.
fn named(words: &[String]) -> Vec<DeletionTarget> {
    let kind = match words {
        [word, _, ..] => ObjectKind::named(word),
        _ => None,
    };
    let names = words.iter().skip(usize::from(kind.is_some()));
    let targets = names.map(|name| match kind {
        Some(kind) if !has_kind(name) => qualified(kind, name),
        _ => DeletionTarget::named(name),
    });
    targets.collect()
}

fn has_kind(name: &str) -> bool {
    let word = name.split_once('/').map(|(word, _)| word);
    word.is_some_and(|word| ObjectKind::named(word).is_some())
}

fn qualified(kind: ObjectKind, name: &str) -> DeletionTarget {
    DeletionTarget::named(format!("{}/{name}", kind.word()))
}

/// The objects of documents: types and quotas last, so that they count as long as there is anything else.
fn described(documents: &Resolved) -> Vec<DeletionTarget> {
    let of_kind =
        |kind, namespace: &str, name: &str| qualified(kind, &format!("{namespace}/{name}"));
    let vsis = documents.vsis.iter().map(|vsi| DeletionTarget {
        policy: Some(vsi.desired.deletion_policy),
        ..of_kind(ObjectKind::Vsi, &vsi.desired.namespace, &vsi.desired.name)
    });
    let pools = documents.pools.iter().map(|pool| DeletionTarget {
        retains: RetainedTemplates::of(pool).into_iter().collect(),
        ..of_kind(
            ObjectKind::Pool,
            &pool.desired.namespace,
            &pool.desired.name,
        )
    });
    let groups = documents.groups.iter().map(|group| DeletionTarget {
        retains: retained_by_group(group),
        ..of_kind(ObjectKind::Group, &group.namespace, &group.name)
    });
    let disks = documents.data_disks.iter().map(|disk| DeletionTarget {
        policy: Some(disk.deletion_policy),
        ..of_kind(ObjectKind::Disk, &disk.namespace, &disk.name)
    });
    let types = documents.types.iter();
    let types = types.map(|server_type| qualified(ObjectKind::Type, &server_type.name));
    let quotas = documents.quotas.iter();
    let quotas = quotas.map(|quota| of_kind(ObjectKind::Quota, &quota.namespace, &quota.name));
    let targets = vsis.chain(pools).chain(groups).chain(disks);
    let targets: Vec<_> = targets.chain(types).chain(quotas).collect();
    if targets.is_empty() {
        output::warning(
            "the documents describe no VSI, pool, group or data disk; nothing is deleted",
        );
    }
    targets
}

fn retained_by_group(group: &ResolvedGroup) -> Vec<RetainedTemplates> {
    let retained = group
        .items()
        .filter_map(|item| RetainedTemplates::of(&item.pool));
    retained.collect()
}

/// Says what stays, and waits for the deletions, then for the pools that make deleted members again.
struct Deletions(ActionReport);

#[async_trait]
impl FollowUp for Deletions {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        if turn == Turn::First {
            acted.finished.iter().for_each(say_finished);
            let targets = acted.targets.iter();
            targets.for_each(|one| say_retained(&one.object));
        }
        let (pools, deleted): (Vec<_>, Vec<_>) = acted
            .targets
            .iter()
            .partition(|one| one.object.effect == ActEffect::MakesAgain);
        let is_left = acted.is_left_to_others(&self.0.wait) && session.worked_on().is_none();
        let mut exit = Exit::Done;
        if is_left {
            for ActedTarget { target, object } in deleted {
                let recorded = match object.effect {
                    ActEffect::Forgotten => "will be forgotten",
                    _ => self.0.recorded.as_ref(),
                };
                output::line(&format!("{} {recorded}", target.shown()));
            }
        } else {
            exit = acting::await_outcomes(common, &self.0, session, deleted).await?;
        }
        for ActedTarget { target, .. } in &pools {
            let pool = target.shown();
            output::note(&format!(
                "{pool} makes its deleted members again; `vsiflow scale` has it have fewer"
            ));
        }
        if is_left || acted.stays() || pools.is_empty() {
            return Ok(exit);
        }
        let of_pools = ActionReport {
            wait: self.0.wait.clone(),
            ..ActionReport::default()
        };
        let made_again = acting::await_outcomes(common, &of_pools, session, pools).await?;
        Ok(exit.max(made_again))
    }
}

pub(super) fn say_finished(object: &ActedObject) {
    let word = object.kind.word();
    if object.effect == ActEffect::UnreadableForgotten {
        output::line(&format!(
            "{word}/{} is forgotten: it could not be read; what it has on its host stays there",
            object.uid
        ));
        return;
    }
    let label = match object.kind.names() {
        NameScope::Journal => object.name.clone(),
        NameScope::Namespace | NameScope::Host => work::label(&object.namespace, &object.name),
    };
    output::line(&format!("{word}/{label} deleted"));
}

pub(super) fn say_retained(object: &ActedObject) {
    let Some(RetainedOnHost { host, volume }) = &object.retained else {
        return;
    };
    let label = work::label(&object.namespace, &object.name);
    let shown = format!("{}/{label}", object.kind.word());
    output::note(&match volume {
        Some(volume) => {
            format!("{shown}: volume {volume} stays on host {host}, as its deletionPolicy says")
        }
        None => format!(
            "{shown}: its domain, its boot disk and everything else stay on host {host}, as its \
             deletionPolicy says, and its guest is not stopped; `vsiflow adopt` manages it again"
        ),
    });
}
