//! Runs all journals of a set in one process, with one engine for each journal.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use age::secrecy::ExposeSecret as _;
use tokio::{task::JoinHandle, time::Instant};
use vsiflow_engine::{
    clock::SystemClock,
    executor::{By, Tuning},
    model::{Actor, Text, Who},
    room::Room,
};
use vsiflow_postgres::{
    Held, PostgresBlobs, PostgresCheckpoints, PostgresJournal, PostgresSecrets,
    seal::Sealer,
    shards::{ShardSet, owners::Claim},
};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, Verdict},
    hosts::HostDirectory,
    record::vsi_entity,
};

use crate::{
    Answer, ON_A_HOST, processor,
    report::Figures,
    stored,
    vsis::{documents, host, object, uid},
};

/// The size of base images, in bytes. It is small because the simulation holds very many disks in memory.
const IMAGE: u64 = 4 << 10;
/// Ten times the default, because a fully loaded machine renews its leases late.
const LEASE: Duration = Duration::from_secs(60);
/// How many VSIs one `apply` submits to a journal.
const BATCH: usize = 500;

/// A journal that this process holds, and the engine on it.
struct Open {
    number: u16,
    fleet: Fleet,
    journal: Arc<PostgresJournal>,
    held: Arc<Held>,
    keeper: JoinHandle<()>,
}

async fn open(set: &ShardSet, number: u16, sealer: Sealer) -> Answer<Open> {
    let held = Held::take(&set.member(number), LEASE).await?;
    let renewed = held.clone();
    let keeper = tokio::spawn(async move {
        let lost = renewed.keep().await;
        eprintln!("journal {number}: {lost}");
    });
    let journal = Arc::new(PostgresJournal::open(held.clone()).await?);
    let parts = FleetConfig {
        journal: journal.clone(),
        blobs: Arc::new(PostgresBlobs::of(&journal)),
        checkpoints: Arc::new(PostgresCheckpoints::of(&journal)),
        secrets: Arc::new(PostgresSecrets::of(&journal, Some(sealer))),
        clock: Arc::new(SystemClock),
        journal_id: journal.identity().journal_id.as_str().into(),
        tuning: Tuning::default(),
        room: Room::boundless(),
        lease: held.lease(),
        hosts: Arc::new(SimHosts::in_memory()),
        images: Arc::new(SimSource::with_size(IMAGE)),
        directory: Arc::new(HostDirectory::default()),
    };
    let fleet = Box::pin(Fleet::open(parts)).await?;
    Ok(Open {
        number,
        fleet,
        journal,
        held,
        keeper,
    })
}

fn by() -> By {
    By {
        actor: Actor::Unix {
            uid: 0,
            name: Who::new("bench"),
        },
        reason: Text::new("a benchmark"),
    }
}

impl Open {
    /// Claims the names of VSIs, applies their documents and waits until each VSI runs.
    async fn provision(&self, set: &ShardSet, vsis: &[(u32, u32)]) -> Answer<()> {
        let by_claim = uuid::Uuid::new_v4().simple().to_string();
        for (number, _) in vsis {
            let object = object(*number);
            let claim = set.claim_name(&self.held, &object, self.number, &by_claim);
            match claim.await? {
                Claim::Own => {}
                other => return Err(format!("vsi-{number}: {other:?}").into()),
            }
        }
        Box::pin(self.fleet.apply(documents(vsis)?, by())).await?;
        set.settle_names(self.number, &by_claim).await?;
        for (number, _) in vsis {
            match self.fleet.decided(&vsi_entity(uid(*number))?).await? {
                Verdict::Reached => {}
                other => return Err(format!("vsi-{number}: {other:?}").into()),
            }
        }
        Ok(())
    }

    async fn ready(&self) -> Answer<u32> {
        let all = self.fleet.vsis().summaries(false).await?;
        let ready = all.iter().filter(|vsi| vsi.ready == "True");
        Ok(u32::try_from(ready.count())?)
    }

    async fn close(self) {
        self.fleet.close().await;
        self.journal.close().await;
        self.keeper.abort();
        self.held.release().await;
    }
}

/// Assigns the hosts to journals. Returns the VSIs of each journal, each as (VSI, host).
async fn assigned(set: &ShardSet, vsis: u32) -> Answer<BTreeMap<u16, Vec<(u32, u32)>>> {
    let hosts = vsis.div_ceil(ON_A_HOST);
    let mut journals = Vec::new();
    for number in 0..hosts {
        journals.push(set.assign(&host(number).id()).await?);
    }
    let mut shares = BTreeMap::<u16, Vec<(u32, u32)>>::new();
    for number in 0..vsis {
        let on = number % hosts;
        let journal = journals.get(usize::try_from(on)?).copied();
        let share = shares.entry(journal.unwrap_or_default());
        share.or_default().push((number, on));
    }
    Ok(shares)
}

/// Provisions this number of VSIs over a new set of `journals` journals.
pub(crate) async fn measure(url: &str, vsis: u32, journals: u16) -> Answer<Figures> {
    let name = format!("of{vsis}");
    let mark = if url.contains('?') { '&' } else { '?' };
    let set = ShardSet::make(&format!("{url}{mark}journal={name}").parse()?, journals).await?;
    let key = age::x25519::Identity::generate().to_string();
    let mut open_journals = Vec::new();
    for number in 0..set.journals() {
        let sealer = Sealer::read(key.expose_secret())?;
        open_journals.push(open(&set, number, sealer).await?);
    }
    let (begun, before) = (Instant::now(), processor::of_this()?);
    let shares = assigned(&set, vsis).await?;
    let working = open_journals.iter().map(|open| {
        let (set, own) = (&set, shares.get(&open.number));
        Box::pin(async move {
            for batch in own.into_iter().flat_map(|own| own.chunks(BATCH)) {
                open.provision(set, batch).await?;
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        })
    });
    futures::future::try_join_all(working).await?;
    let used = processor::of_this()? - before;
    let provision_s = begun.elapsed().as_secs_f64();
    let mut ready = 0;
    for open in &open_journals {
        ready += open.ready().await?;
    }
    for open in open_journals {
        open.close().await;
    }
    let stored = stored::count(url, &name).await?;
    let events = stored.events as f64;
    Ok(Figures {
        ready,
        events: stored.events,
        us_per_event: used * 1e6 / events,
        server_us_per_event: None,
        bytes_per_event: stored.bytes as f64 / events,
        disk_bytes_per_event: stored.on_disk as f64 / events,
        provision_s,
        most_mib: processor::most_mib()?,
    })
}
