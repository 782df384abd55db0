//! Deletes unused images by the image policies of their hosts.
//!
//! Only images that `image prune` would also delete are deleted here: the journal says that no VSI needs
//! the image, and the guards on the host decide. A deletion is a recorded desired state, so a restart
//! continues with it. A deletion that cannot be done is given up, and not begun again for a day.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::time::{Instant, interval_at, timeout};
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, EntityState, RunResult, Text, Timestamp},
};

use crate::fleet::{Fleet, FleetError, ImageHandle, ImageObject, Verdict};
use crate::{
    remove_base_image,
    spec::{
        ImagePolicy,
        image_policy::{Due, UnusedImage},
    },
};

/// How many images of a pool are deleted in a row at most; the rest waits for the next round.
const MAX_IN_A_ROW: usize = 8;
/// A deletion that takes longer than this is given up.
const DELETION_TIMEOUT: Duration = Duration::from_secs(600);
/// How long an image that could not be deleted is not tried again, in milliseconds.
const RETRY_AFTER_MS: u64 = 24 * 3_600 * 1_000;
/// The phases of images that are complete and not worked on.
const COMPLETE_PHASES: [&str; 2] = ["Ready", "Superseded"];

/// A host and one of its pools.
type PoolKey = (String, String);

impl ImageHandle<'_> {
    /// Applies the hosts' image policies at each interval `every`, for as long as it is polled, and passes
    /// the result of each round to `report`. Failed deletions are tried again in a later round. If it is
    /// dropped during a deletion, the deletion continues.
    pub async fn run_policies(
        self,
        every: Duration,
        report: impl Fn(Result<Vec<(ImageObject, Verdict)>, FleetError>),
    ) -> Infallible {
        let mut due = interval_at(Instant::now() + every, every);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            report(self.apply_policies().await);
        }
    }

    /// Applies the hosts' image policies now, one image after the other. Returns the outcome of each
    /// deletion. Hosts that are known not to answer are left out; under the global pause nothing is done.
    ///
    /// # Errors
    /// When the journal cannot be read or written; `VSI0019` while an entity that may name an image cannot
    /// be read.
    pub async fn apply_policies(self) -> Result<Vec<(ImageObject, Verdict)>, FleetError> {
        let mut done = Vec::new();
        if self.fleet.policies().is_empty() || self.fleet.engine.observes_only() {
            return Ok(done);
        }
        let pools = self.fleet.unused_by_pool().await?;
        for place in pools.into_keys() {
            for _ in 0..MAX_IN_A_ROW {
                let Some((image, due)) = self.fleet.next_due(&place).await? else {
                    break;
                };
                let verdict = self.fleet.remove_due(&image, due).await?;
                done.push((image, verdict));
            }
        }
        Ok(done)
    }
}

impl Fleet {
    /// The policies by host.
    fn policies(&self) -> BTreeMap<String, ImagePolicy> {
        let hosts = self.directory.ids().into_iter();
        let policy = |id: &String| self.directory.get(id)?.record.image_policy();
        hosts
            .filter_map(|id| Some((id.clone(), policy(&id)?)))
            .collect()
    }

    /// Unused complete images of the pools whose host has a policy and may be worked with.
    async fn unused_by_pool(&self) -> Result<BTreeMap<PoolKey, Vec<ImageObject>>, FleetError> {
        let policies = self.policies();
        let answers = |host: &str| !matches!(self.reach.answers(host), Some(Err(_)));
        let mut pools = BTreeMap::<PoolKey, Vec<ImageObject>>::new();
        if self.engine.global_pause().is_some() {
            return Ok(pools);
        }
        for image in self.images().unneeded(0).await? {
            if is_whole(&image) && policies.contains_key(&image.host) && answers(&image.host) {
                let place = (image.host.clone(), image.pool.clone());
                pools.entry(place).or_default().push(image);
            }
        }
        Ok(pools)
    }

    /// The image of the pool that is to be deleted next. It is chosen anew each time, because anything may
    /// have changed since the last check.
    async fn next_due(&self, place: &PoolKey) -> Result<Option<(ImageObject, String)>, FleetError> {
        let Some(policy) = self.policies().get(&place.0).copied() else {
            return Ok(None);
        };
        let mut unused = self
            .unused_by_pool()
            .await?
            .remove(place)
            .unwrap_or_default();
        // An image that cannot be deleted does not count as one that the policy keeps.
        unused.retain(|image| !self.was_refused(image));
        unused.sort_by_key(|image| std::cmp::Reverse(image.verification));
        let used = match policy.watermark {
            Some(_) if !unused.is_empty() => self.pool_in_use(place).await,
            _ => None,
        };
        let now_ms = self.clock.now().0;
        let next = policy.next(&counted(unused.iter(), now_ms), now_ms, used);
        Ok(next.and_then(|(index, due)| {
            let image = unused.into_iter().nth(index)?;
            Some((image, reason(&policy, due, used)))
        }))
    }

    /// Whether its deletion was begun recently and did not succeed.
    fn was_refused(&self, image: &ImageObject) -> bool {
        let state = self.image(image).map(|(_, state)| state);
        state.is_some_and(|state| is_refused(&state, self.clock.now().0))
    }

    /// The used part of the pool in percent; `None` if it is unknown.
    async fn pool_in_use(&self, (host, pool): &PoolKey) -> Option<u8> {
        let ports = self.hosts.host(host).await.ok()?;
        let pool = ports.storage.pool(pool).await.ok()??;
        let used = u128::from(pool.capacity.checked_sub(pool.available)?);
        let percent = used
            .checked_mul(100)?
            .checked_div(u128::from(pool.capacity))?;
        u8::try_from(percent).ok().filter(|_| pool.active)
    }

    /// Deletes the image, or gives up if something prevents it.
    async fn remove_due(&self, image: &ImageObject, due: String) -> Result<Verdict, FleetError> {
        let by = By {
            actor: Actor::Engine,
            reason: Text::new(due),
        };
        let entity = self.images().remove(image, by.clone()).await?;
        match timeout(DELETION_TIMEOUT, self.decided(&entity)).await {
            Ok(Ok(Verdict::Reached)) if self.was_removed(&entity) => Ok(Verdict::Reached),
            Ok(Err(error)) => Err(error),
            other => {
                self.give_up_removal(&entity, by).await?;
                let verdict = other.ok().and_then(Result::ok);
                let undecided = |reached: &Verdict| *reached != Verdict::Reached;
                Ok(verdict.filter(undecided).unwrap_or(Verdict::Cancelled))
            }
        }
    }

    /// Whether a deletion was the last run: a VSI may have requested the image in the meantime.
    fn was_removed(&self, entity: &EntityId) -> bool {
        let state = self.engine.entity(entity);
        let last = state.and_then(|state| state.last.clone());
        last.is_some_and(|last| last.workflow.as_str() == remove_base_image::NAME)
    }

    /// Cancels the deletion of an image. An upload that replaced it in the meantime is left alone.
    async fn give_up_removal(&self, entity: &EntityId, by: By) -> Result<(), FleetError> {
        let state = self.engine.entity(entity);
        let active = state.and_then(|state| state.active.clone());
        if let Some(active) = active.filter(|a| a.workflow.as_str() == remove_base_image::NAME) {
            self.engine
                .cancel_run(entity.clone(), active.run, by)
                .await?;
        }
        Ok(())
    }

    /// Adds to each image what its host's policy will do with it.
    pub(in crate::fleet) fn note_policies(&self, images: &mut [ImageObject]) {
        let (policies, now) = (self.policies(), self.clock.now().0);
        let mut places = BTreeMap::<PoolKey, Vec<&mut ImageObject>>::new();
        for image in images {
            let is_unused = !image.needed && is_whole(image);
            if is_unused && policies.contains_key(&image.host) {
                let place = (image.host.clone(), image.pool.clone());
                places.entry(place).or_default().push(image);
            }
        }
        for ((host, _), mut pool_images) in places {
            let Some(policy) = policies.get(&host) else {
                continue;
            };
            pool_images.sort_by_key(|image| std::cmp::Reverse(image.verification));
            let mut newer = 0_usize;
            let times = counted(pool_images.iter().map(|image| &**image), now);
            for (image, counts_as) in pool_images.into_iter().zip(times) {
                if self.was_refused(image) {
                    let refused = "could not be removed; tried again after a day";
                    image.policy = Some(refused.to_owned());
                    continue;
                }
                let mut effect = forecast(policy, newer, counts_as, now);
                let verified = image.verification;
                if verified.is_some_and(|verified| self.is_in_future(Timestamp(verified.at_ms))) {
                    effect.push_str("; it was verified while the clock was ahead");
                }
                image.policy = Some(effect);
                newer = newer.saturating_add(1);
            }
        }
    }
}

fn is_whole(image: &ImageObject) -> bool {
    COMPLETE_PHASES.contains(&image.phase.as_str()) && image.verification.is_some()
}

fn is_refused(state: &EntityState, now_ms: u64) -> bool {
    state.last.as_ref().is_some_and(|last| {
        last.workflow.as_str() == remove_base_image::NAME
            && last.result != RunResult::Succeeded
            // A run that is far in the future was begun while the clock was ahead.
            && now_ms.abs_diff(last.run.0.timestamp_ms()) < RETRY_AFTER_MS
    })
}

/// Images, the last verified first, with the times that count for them.
fn counted<'i>(images: impl Iterator<Item = &'i ImageObject>, now_ms: u64) -> Vec<UnusedImage> {
    // An unknown time does not count as long ago.
    let recorded = images.map(|image| {
        image
            .verification
            .map_or(u64::MAX, |verified| verified.at_ms)
    });
    UnusedImage::counted(recorded, now_ms)
}

fn reason(policy: &ImagePolicy, due: Due, used: Option<u8>) -> String {
    let why = match due {
        Due::Count => format!("more than {} are unused", policy.keep),
        Due::Age => "it was unused for too long".to_owned(),
        Due::Watermark => format!("{} % of the pool are in use", used.unwrap_or_default()),
    };
    format!("image policy of the host ({policy}): {why}")
}

/// What the policy will do with an unused image, if `newer` unused images of its pool are newer.
fn forecast(policy: &ImagePolicy, newer: usize, image: UnusedImage, now_ms: u64) -> String {
    if newer < policy.keep {
        return format!("stays: one of the newest {}", policy.keep);
    }
    let alone = ImagePolicy { keep: 0, ..*policy };
    match (alone.next(&[image], now_ms, None), policy.watermark) {
        (Some(_), _) => "goes at the next look".to_owned(),
        (None, Some(mark)) => format!("goes while more than {mark} % of the pool are in use"),
        (None, None) => "stays: not unused for long enough".to_owned(),
    }
}
