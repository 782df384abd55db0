//! The registry of all steps that this version knows.

use std::sync::Arc;

use vsiflow_engine::{registry::Registry, secret::Secrets};
use vsiflow_steps::{
    disk::{CheckSource, CreateVolume, DeleteVolume, FillFromImage, FillVolume, GrowVolume},
    image::{Claim, MarkWhole, ProbeSource, RemoveImage, UploadChunks, VerifyImage},
    network::{
        AwaitNetworks, CheckNetwork, DefineNetwork, DeleteNetwork, ReleaseAddresses,
        ReserveAddresses, StartNetwork,
    },
    ports::{Hosts, ImageSource},
    snapshot::{
        AwaitSnapshot, CheckMemory, CopyDisks, FindCopy, MergeLayers, RestoreBeside, RestoreDisks,
    },
    vsi::{
        AdoptDomain, AttachDataDisks, AwaitDataDisks, AwaitReady, AwaitTurn, CheckContract,
        CloneBootDisk, CreateConsoleLog, DefineDomain, DeleteVolumes, FindParts, GrowDataDisks,
        KeepEvidence, ReleaseSecrets, RemoveReplacedDisks, RequireReferences, ResolveHost,
        ResolveNetworks, ResumeDomain, SetAutostart, StartDomain, StopDomain, SuspendDomain,
        UndefineDomain, WriteCidata,
    },
};

/// The registry of all steps, acting through these ports.
pub fn registry(
    hosts: &Arc<dyn Hosts>,
    images: &Arc<dyn ImageSource>,
    secrets: &Arc<dyn Secrets>,
) -> Registry {
    let mut registry = Registry::default();
    registry
        .add(CheckContract::new(secrets.clone()))
        .add(ResolveHost::new(hosts.clone()))
        .add(CloneBootDisk::new(hosts.clone()))
        .add(WriteCidata::new(hosts.clone(), secrets.clone()))
        .add(CreateConsoleLog::new(hosts.clone()))
        .add(AttachDataDisks::new(hosts.clone()))
        .add(ResolveNetworks::new(hosts.clone()))
        .add(DefineDomain::new(hosts.clone()))
        .add(StartDomain::new(hosts.clone()))
        .add(AwaitReady::new(hosts.clone()))
        .add(AwaitTurn)
        .add(RequireReferences)
        .add(AdoptDomain::new(hosts.clone()))
        .add(AwaitDataDisks)
        .add(CreateVolume::new(hosts.clone()))
        .add(GrowVolume::new(hosts.clone()))
        .add(DeleteVolume::new(hosts.clone()))
        .add(FindParts::new(hosts.clone()))
        .add(GrowDataDisks::new(hosts.clone()))
        .add(SetAutostart::new(hosts.clone()))
        .add(SuspendDomain::new(hosts.clone()))
        .add(ResumeDomain::new(hosts.clone()))
        .add(KeepEvidence::new(hosts.clone()))
        .add(StopDomain::new(hosts.clone()))
        .add(UndefineDomain::new(hosts.clone()))
        .add(DeleteVolumes::new(hosts.clone()))
        .add(RemoveReplacedDisks::new(hosts.clone()))
        .add(ReleaseSecrets::new(secrets.clone()))
        .add(Claim::new(hosts.clone(), images.clone()))
        .add(ProbeSource::new(hosts.clone(), images.clone()))
        .add(UploadChunks::new(hosts.clone(), images.clone()))
        .add(VerifyImage::new(hosts.clone(), images.clone()))
        .add(MarkWhole::new(hosts.clone()))
        .add(RemoveImage::new(hosts.clone()))
        .add(AwaitSnapshot)
        .add(FillVolume::new(hosts.clone()))
        .add(FillFromImage::new(hosts.clone()))
        .add(CheckSource::new(images.clone()))
        .add(FindCopy::new(hosts.clone()))
        .add(CopyDisks::new(hosts.clone()))
        .add(CheckMemory::new(hosts.clone()))
        .add(MergeLayers::new(hosts.clone()))
        .add(RestoreBeside::new(hosts.clone()))
        .add(RestoreDisks::new(hosts.clone()))
        .add(AwaitNetworks)
        .add(CheckNetwork::new(hosts.clone()))
        .add(DefineNetwork::new(hosts.clone()))
        .add(StartNetwork::new(hosts.clone()))
        .add(DeleteNetwork::new(hosts.clone()))
        .add(ReserveAddresses::new(hosts.clone()))
        .add(ReleaseAddresses::new(hosts.clone()));
    registry
}
