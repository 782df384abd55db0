//! Writes the volume by which the guest gets its configuration: a contract, user-data, or an Ignition
//! configuration.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Hash, Name},
    secret::Secrets,
    step::{Done, Observed, Step, StepContext},
};

use super::stored_contract;
use crate::{
    cidata::Cidata,
    contract, error,
    guards::{self, DeletionCandidate},
    guest::{Seed, ignition, no_cloud::Instance},
    ports::{DeletionGround, HostPorts, Hosts, VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec},
};

/// Builds the volume from the contract or the user-data and uploads it.
///
/// The same content gives the same bytes, so the step recognises its own volume by size and hash. A crash
/// during the step leaves no volume or a part of one; the next attempt finds that the hash differs,
/// checks the guards, deletes the volume and writes it again.
pub struct WriteCidata {
    hosts: Arc<dyn Hosts>,
    secrets: Arc<dyn Secrets>,
}

/// Parameters of [`WriteCidata`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID: its own domain, while off, does not protect an old volume.
    pub uuid: Uuid,
    /// The volume to create.
    pub volume: VolumeKey,
    /// The guest's hostname.
    pub hostname: String,
    /// The secret that holds the contract.
    pub contract: Name,
    /// Netplan v2 text.
    #[serde(default)]
    pub network_config: Option<String>,
    /// Data for a cloud-init guest in addition to its user-data; `None` for other guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    /// The type of the volume.
    #[serde(default, skip_serializing_if = "Seed::is_cidata")]
    pub seed: Seed,
}

/// What [`WriteCidata`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The path on the host.
    pub path: String,
    /// The SHA-256 of the whole volume, the same as in the guest's attestation record.
    pub sha256: String,
    /// The length in bytes.
    pub size: u64,
}

impl WriteCidata {
    /// The step, acting through these hosts, with contracts from this store.
    pub fn new(hosts: Arc<dyn Hosts>, secrets: Arc<dyn Secrets>) -> Self {
        Self { hosts, secrets }
    }

    async fn build(&self, params: &Params) -> Result<Iso, Failure> {
        let user_data = stored_contract::read(self.secrets.as_ref(), &params.contract).await?;
        let is_contract = params.instance.is_none()
            && !matches!(params.seed, Seed::IgnitionFwCfg | Seed::IgnitionDisk);
        if is_contract {
            let report = contract::inspect_remembered(user_data.clone(), "", &params.host).await?;
            report.verdict()?;
        }
        let bytes = Bytes::from(bytes(params, user_data.expose())?);
        Ok(Iso {
            hash: Hash::of(&bytes),
            bytes,
        })
    }
}

fn bytes(params: &Params, user_data: &[u8]) -> Result<Vec<u8>, Failure> {
    let network_config = params.network_config.clone();
    match (params.seed, &params.instance) {
        (Seed::IgnitionFwCfg, _) => Ok(user_data.to_vec()),
        (Seed::IgnitionDisk, _) => Ok(ignition::on_disk(user_data)),
        (_, Some(instance)) => {
            Cidata::of_instance(params.uuid, user_data, instance, network_config).build()
        }
        (_, None) => {
            let cidata = Cidata {
                user_data: user_data.to_vec(),
                hostname: params.hostname.clone(),
                network_config,
                instance: None,
            };
            cidata.build()
        }
    }
}

struct Iso {
    bytes: Bytes,
    hash: Hash,
}

impl Iso {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The volume, if it holds exactly these bytes and they are on the host's disk.
    async fn found(
        &self,
        ports: &HostPorts,
        key: &VolumeKey,
    ) -> Result<Option<VolumeInfo>, Failure> {
        match ports.storage.volume(key).await? {
            Some(volume) if volume.physical == self.len() => {
                // An earlier attempt may have ended between the upload and the sync.
                ports.storage.sync(key).await?;
                let same = ports.storage.sha256(key).await? == self.hash;
                Ok(same.then_some(volume))
            }
            _ => Ok(None),
        }
    }

    fn output(&self, volume: VolumeInfo) -> Output {
        Output {
            path: volume.path,
            sha256: self.hash.to_string(),
            size: self.len(),
        }
    }
}

#[async_trait]
impl Step for WriteCidata {
    const NAME: &'static str = "write_cidata";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let iso = self.build(params).await?;
        let ports = self.hosts.host(&params.host).await?;
        match iso.found(&ports, &params.volume).await? {
            Some(volume) if cx.intended_before => Ok(Observed::Present(iso.output(volume))),
            _ => guards::free_or_ours(cx, &ports, &params.volume).await,
        }
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let iso = self.build(params).await?;
        let ports = self.hosts.host(&params.host).await?;
        let key = &params.volume;
        let doomed = DeletionCandidate {
            key,
            recorded: cx.intended_before,
            owner: Some(params.uuid),
        };
        guards::remove(cx, &ports, doomed, DeletionGround::Scratch).await?;
        upload(&ports, key, iso.bytes.clone()).await?;
        let volume = iso.found(&ports, key).await?.ok_or_else(|| {
            error::VERIFICATION
                .failure("the configuration volume differs from what was sent")
                .on_host(ports.host.name())
                .of_object(format!("volume {key}"))
        })?;
        Ok(Done::created(iso.output(volume)))
    }
}

async fn upload(ports: &HostPorts, key: &VolumeKey, bytes: Bytes) -> Result<(), Failure> {
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    };
    ports.storage.create(&spec).await?;
    let mut sink = ports
        .storage
        .upload(key, 0, Some(bytes.len() as u64))
        .await?;
    sink.send(bytes).await?;
    sink.finish().await?;
    Ok(())
}
