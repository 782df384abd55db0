//! The Kubernetes cluster that `serve --kube` serves.

use std::{path::PathBuf, sync::Arc, time::Duration};

use uuid::Uuid;
use vsiflow_kube::{
    ApiConnectError, LostJournal, Namespaces, Operator, OperatorEnd, WatchedCluster,
    leader::Election, share::JournalShare,
};
use vsiflow_libvirt::CONTROL_CALL;
use vsiflow_workflows::spec::HostSettings;

use crate::{
    args::{ClusterArgs, Common, LostJournalPolicy, ServeArgs},
    compose::{
        App,
        bounds::{IdKeyPlace, ReadBounds},
    },
    exit::{Exit, ExitProblem},
    metrics::Metrics,
    output, work,
};

/// A cluster whose resources are served.
pub(crate) struct ServedCluster {
    client: vsiflow_kube::Client,
    namespaces: Namespaces,
    host: Option<HostSettings>,
    lost: LostJournal,
    bounds: ReadBounds,
    /// Namespace and name of its Lease, if one was requested.
    lease: Option<(String, String)>,
}

/// The default duration of a Lease: with it a standby takes over within 40 s.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

impl ServedCluster {
    /// The cluster that the command line names, if any. Does not connect to it yet.
    pub(crate) async fn of(
        common: &Common,
        args: &ClusterArgs,
    ) -> Result<Option<Self>, ExitProblem> {
        if !args.kube {
            return Ok(None);
        }
        let (client, own) = connect(args.kubeconfig.clone(), true).await?;
        let namespaces = match (args.all_namespaces, args.namespaces.as_slice()) {
            (true, _) => Namespaces::All,
            (false, []) => Namespaces::These(vec![own.clone()]),
            (false, these) => Namespaces::These(these.to_vec()),
        };
        let host = work::host(common)?;
        let place = |name: &str| {
            let (namespace, name) = name.split_once('/').unwrap_or((&own, name));
            (namespace.to_owned(), name.to_owned())
        };
        let id_key = args.id_key_secret.as_deref().map(place);
        let id_key = id_key.map(|(namespace, name)| IdKeyPlace {
            client: client.clone(),
            namespace,
            name,
        });
        let bounds =
            ReadBounds::of_cluster(&args.files, &args.networks, &args.bridges, host.clone());
        Ok(Some(Self {
            bounds: ReadBounds { id_key, ..bounds },
            client,
            namespaces,
            host,
            lease: args.leader_elect.then(|| place(&args.lease_name)),
            lost: match args.journal_lost {
                LostJournalPolicy::Wait => LostJournal::Wait,
                LostJournalPolicy::Adopt => LostJournal::Adopt,
            },
        }))
    }

    /// The leader election for its Lease, if one was requested.
    pub(crate) fn election(&self, args: &ServeArgs) -> Option<Election> {
        let (namespace, name) = self.lease.as_ref()?;
        let lasts = args.lease.unwrap_or(LEASE);
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy();
        let identity = format!("{node}_{}", Uuid::new_v4());
        let client = self.client.clone();
        let place = (namespace.as_str(), name.as_str());
        Some(Election::new(client, place, identity, lasts, CONTROL_CALL))
    }

    /// What its resources may refer to.
    pub(crate) fn bounds(&self) -> ReadBounds {
        self.bounds.clone()
    }

    /// The operator that serves the cluster with this process's journal.
    pub(crate) fn operator(&self, app: &App, metrics: &Metrics) -> Operator {
        let (client, fleet) = (self.client.clone(), app.fleet.clone());
        let lease = self.lease.as_ref();
        let operator = Operator::new(client, fleet, &self.namespaces, self.host.clone())
            .with_lost_journal(self.lost)
            .with_permits(Arc::new(self.bounds.clone()))
            .with_lease(lease.map(|(place, name)| format!("{place}/{name}")));
        app.see(operator.view());
        metrics.connect(operator.health());
        operator
    }

    /// One watch on the cluster, for several journals. Nothing is watched yet.
    pub(crate) fn watched(&self) -> WatchedCluster {
        WatchedCluster::new(self.client.clone(), &self.namespaces)
    }

    /// The operator that serves the share of one journal.
    pub(crate) fn sharing(
        &self,
        watched: &WatchedCluster,
        app: &App,
        share: Arc<dyn JournalShare>,
    ) -> Operator {
        Operator::sharing(watched, app.fleet.clone(), self.host.clone(), share)
            .with_permits(Arc::new(self.bounds.clone()))
    }

    /// Prints which namespaces are served.
    pub(crate) fn report(&self) {
        match &self.namespaces {
            Namespaces::All => output::note("serving the resources of all namespaces"),
            Namespaces::These(these) => {
                output::note(&format!("serving the resources of {}", these.join(", ")));
            }
        }
    }

    /// Serves the cluster until this future is dropped or a part of the operator ends; then the
    /// process has to end too.
    pub(crate) async fn serve(&self, operator: Operator) -> ExitProblem {
        self.report();
        ended(operator.run().await).await
    }
}

/// The problem to report when an operator ended.
pub(crate) async fn ended(end: OperatorEnd) -> ExitProblem {
    match end {
        // The engine's own end reports the reason.
        OperatorEnd::Engine => std::future::pending().await,
        OperatorEnd::Defect(what) => {
            crate::ending::defect(&format!("a part of the operator: {what}"))
        }
    }
}

/// A client for the cluster of a kubeconfig or of this process's pod, and the default namespace.
/// Does not connect to it yet.
pub(crate) async fn connect(
    kubeconfig: Option<PathBuf>,
    retries: bool,
) -> Result<(vsiflow_kube::Client, String), ExitProblem> {
    let connected = vsiflow_kube::connect(kubeconfig, retries).await;
    connected.map_err(unusable)
}

pub(crate) fn unusable(error: ApiConnectError) -> ExitProblem {
    ExitProblem::new(
        Exit::Failed,
        "VSI1001",
        error.to_string(),
        "name a kubeconfig with --kubeconfig or $KUBECONFIG, or run this in a pod with a service \
         account",
    )
}
