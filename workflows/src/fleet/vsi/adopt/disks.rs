//! The disks of a domain that is to be adopted.

use vsiflow_engine::model::Failure;
use vsiflow_steps::{
    error, guards,
    guards::own_disks,
    host_text, names,
    ports::{DiskShape, DomainInfo, HostPorts, VolumeInfo},
};

/// The volumes of a domain.
pub(super) struct AdoptedVolumes<'a> {
    /// The boot disk: the first disk that the guest writes to.
    pub(super) boot: Option<&'a VolumeInfo>,
    /// The volume with the guest's configuration.
    pub(super) seed: Option<&'a VolumeInfo>,
    /// The other disks that the guest writes to, in order.
    pub(super) data: Vec<&'a VolumeInfo>,
}

impl<'a> AdoptedVolumes<'a> {
    /// Finds the disks of the domain among `volumes`, those of the active pools. vsiflow writes the domain's
    /// definition later, with the disks that it knows: so it must know all of them.
    ///
    /// # Errors
    /// `VSI0233` if the guest writes to a file that is none of the volumes, or has other disks now than it has
    /// at its next start; `VSI0210` if a layer is over one of its disks; port errors by their kind.
    pub(super) async fn find(
        ports: &HostPorts,
        domain: &DomainInfo,
        volumes: &'a [VolumeInfo],
    ) -> Result<Self, Failure> {
        let mut written = Vec::new();
        for disk in filled(&domain.stored.disks).filter(|disk| !disk.readonly) {
            match own_disks::volume_at(ports, volumes, &disk.source).await? {
                Some(volume) => written.push(volume),
                None => {
                    let why = "is in no active storage pool";
                    return Err(unknown(ports, domain, disk, why));
                }
            }
        }
        let live = domain.live.iter().flat_map(|live| filled(&live.disks));
        for disk in live.filter(|disk| !disk.readonly) {
            let mut stored = domain.stored.disks.iter();
            if !stored.any(|stored| stored.source == disk.source) {
                let why = "is not in its stored definition";
                return Err(unknown(ports, domain, disk, why));
            }
        }
        if let Some(layer) = guards::layer_over(ports, &written, volumes).await? {
            return Err(layer.refused(ports));
        }
        let mut written = written.into_iter();
        let mut adopted = Self {
            boot: written.next(),
            seed: None,
            data: written.collect(),
        };
        adopted.seed = adopted.find_seed(ports, domain, volumes).await?;
        Ok(adopted)
    }

    /// The volume with the guest's configuration: the one that vsiflow would name so, else the first that is
    /// read-only.
    async fn find_seed(
        &self,
        ports: &HostPorts,
        domain: &DomainInfo,
        volumes: &'a [VolumeInfo],
    ) -> Result<Option<&'a VolumeInfo>, Failure> {
        let mut seed = None;
        let is_own = |volume: &VolumeInfo| {
            let pool = &volume.key.pool;
            volume.key == names::cidata(pool, domain.uuid)
        };
        for disk in filled(&domain.stored.disks).filter(|disk| disk.readonly) {
            let volume = own_disks::volume_at(ports, volumes, &disk.source).await?;
            if volume.is_some_and(is_own) {
                return Ok(volume);
            }
            seed = seed.or(volume);
        }
        Ok(seed)
    }

    /// Whether boot disk and configuration have the names that vsiflow gives. Then vsiflow writes the
    /// definition again, and it knows no further disks that are read-only.
    ///
    /// # Errors
    /// `VSI0233` if there is such a disk.
    pub(super) fn are_own(&self, ports: &HostPorts, domain: &DomainInfo) -> Result<bool, Failure> {
        let (Some(boot), Some(seed)) = (self.boot, self.seed) else {
            return Ok(false);
        };
        let (pool, uid) = (&boot.key.pool, domain.uuid);
        let is_boot_disk = names::boot_disk_number(&boot.key.name, uid).is_some();
        if !is_boot_disk || seed.key != names::cidata(pool, uid) {
            return Ok(false);
        }
        let mut others = filled(&domain.stored.disks).filter(|disk| disk.readonly);
        match others.find(|disk| disk.source != seed.path) {
            None => Ok(true),
            Some(disk) => Err(unknown(
                ports,
                domain,
                disk,
                "is read-only, and a VSI's disks are not",
            )),
        }
    }
}

/// The disks that have a file: a drive may have no medium.
fn filled(disks: &[DiskShape]) -> impl Iterator<Item = &DiskShape> {
    disks.iter().filter(|disk| !disk.source.is_empty())
}

fn unknown(ports: &HostPorts, domain: &DomainInfo, disk: &DiskShape, why: &str) -> Failure {
    let (source, target) = (host_text::shown(&disk.source), &disk.target);
    error::DISK_UNKNOWN
        .failure(format!("its disk {target}, {source}, {why}"))
        .on_host(ports.host.name())
        .of_object(format!("domain {}", domain.uuid))
}
