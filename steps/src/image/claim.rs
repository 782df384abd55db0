//! Chooses the image's volume, and finds out whether it is whole already.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    BaseImage, Params,
    identity::{self, RequestedImage},
    place::{self, ImagePlace},
    sidecar,
};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    ports::{DeletionGround, HostPorts, Hosts, ImageSource, VolumeKey},
};

/// Claims a name in the pool for the image, by a sidecar volume ([`sidecar`]).
///
/// A volume with a claim of this journal is part of an upload of ours, or the whole image if the claim
/// has the mark. A volume without a claim is foreign: it is used if its hash shows that it is the same
/// image; otherwise it is not touched and another name is chosen. If another vsiflow uploads the image,
/// the step waits.
///
/// A crash during the step leaves the claim, perhaps without content; the next attempt recognises it by
/// its length and writes it again. If the source has changed since an earlier upload that did not end,
/// the attempt deletes the part that was uploaded, and fails with that reason.
pub struct Claim {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
    turns: ClaimTurns,
}

/// What [`Claim`] decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The volume that the image is in, or will be.
    pub volume: VolumeKey,
    /// The image, if it is whole already: then the later steps have nothing to do.
    pub whole: Option<BaseImage>,
    /// The image's identity, which distinguishes it from others.
    #[serde(default)]
    pub identity: String,
    /// The source's validator when it was asked: exactly that image is sent, even if the URL has another
    /// one by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
}

/// Serialises the writing of claims on a host: between creating a claim and writing it, another image of
/// this journal would take it for its own.
#[derive(Default)]
struct ClaimTurns(std::sync::Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl ClaimTurns {
    /// Waits for the host's lock. It is held over a few calls, each with its own deadline. Cancel safe.
    async fn take(&self, host: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(host.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}

/// What an attempt observed before it acts.
#[derive(Serialize, Deserialize)]
struct ClaimInputs {
    attempt: u32,
    #[serde(rename = "wanted")]
    request: RequestedImage,
}

impl Claim {
    /// The step, acting through these hosts, with images from this source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        let turns = ClaimTurns::default();
        Self {
            hosts,
            source,
            turns,
        }
    }

    /// Writes the claim, unless another image of this journal was faster: then the next attempt finds
    /// that claim and chooses another name.
    async fn put(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        volume: &VolumeKey,
        claim: &sidecar::SidecarClaim,
    ) -> Result<(), Failure> {
        let _turn = self.turns.take(ports.host.name()).await;
        let sidecar = sidecar::hold(cx, ports, volume).await?;
        let recorded = sidecar.and_then(|sidecar| sidecar.claim);
        if recorded.is_some_and(|recorded| recorded.entity != claim.entity) {
            return Err(sidecar::claimed(ports, volume));
        }
        sidecar::write(ports, volume, claim, None).await
    }

    async fn desired_image(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        params: &Params,
    ) -> Result<RequestedImage, Failure> {
        let source = params.source(&self.source).await?;
        identity::desired_image(cx, source.as_ref(), ports, params).await
    }

    async fn find(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        params: &Params,
        request: &RequestedImage,
    ) -> Result<ImagePlace, Failure> {
        let source = params.source(&self.source).await?;
        let looking = place::ImageSearch {
            cx,
            ports,
            params,
            request,
            source: source.as_ref(),
        };
        looking.find().await
    }
}

#[async_trait]
impl Step for Claim {
    const NAME: &'static str = "claim";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let source = params.source(&self.source).await?;
        let request = identity::desired_image(cx, source.as_ref(), &ports, params).await?;
        let place = self.find(cx, &ports, params, &request).await?;
        match settled(place, &request) {
            Some(output) => Ok(Observed::Present(output)),
            None => {
                // Asking may read the image in full: do not do it twice.
                let attempt = cx.attempt;
                cx.save(&ClaimInputs { attempt, request }).await?;
                source.expect(&params.url).await;
                Ok(Observed::Needed)
            }
        }
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let saved: Option<ClaimInputs> = cx.saved().await?;
        let request = match saved.filter(|saved| saved.attempt == cx.attempt) {
            Some(saved) => saved.request,
            None => self.desired_image(cx, &ports, params).await?,
        };
        let claim = sidecar::claim_of(cx, &request.identity);
        let volume = match self.find(cx, &ports, params, &request).await? {
            ImagePlace::Free(volume) | ImagePlace::Unwritten(volume) => volume,
            ImagePlace::Outdated { volume, size } => {
                let doomed = DeletionCandidate {
                    key: &volume,
                    // A claim beside the volume is no proof of ownership: another program may have
                    // written it.
                    recorded: cx.intended_before,
                    owner: None,
                };
                guards::remove(cx, &ports, doomed, DeletionGround::Scratch).await?;
                sidecar::write(&ports, &volume, &claim, None).await?;
                return Err(identity::changed(params, size));
            }
            place => {
                return settled(place, &request)
                    .map(Done::present)
                    .ok_or_else(|| error::WRONG_STATE.failure("the claim changed"));
            }
        };
        self.put(cx, &ports, &volume, &claim).await?;
        Ok(Done::created(Output {
            volume,
            whole: None,
            identity: request.identity,
            validator: request.validator,
        }))
    }
}

/// The step's output, if nothing is left to do.
fn settled(place: ImagePlace, request: &RequestedImage) -> Option<Output> {
    let (volume, whole) = match place {
        ImagePlace::Ours(volume) => (volume, None),
        ImagePlace::Whole(image) => (image.key.clone(), Some(*image)),
        ImagePlace::Free(_) | ImagePlace::Unwritten(_) | ImagePlace::Outdated { .. } => {
            return None;
        }
    };
    Some(Output {
        volume,
        whole,
        identity: request.identity.clone(),
        validator: request.validator.clone(),
    })
}
