//! vsiflow's API of subresources, served through the aggregation layer of the lab's API server.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Running, TestCluster, Vsiflow, vsiflow::Ran};

/// The address at which the API server reaches vsiflow. An endpoint must not have a loopback address.
const ENDPOINT: &str = "192.0.2.2";
/// The name of the Service in the chart.
const SERVICE: &str = "vsiflow-subresources";
const API_SERVICE: &str = "v1.subresources.vsiflow.io";

/// A process that serves a namespace with the rights of the chart, and that the API server asks for
/// subresources. A cluster has one such API, so other tests wait until this is dropped.
pub struct Aggregated<'a> {
    cluster: &'a TestCluster,
    vsiflow: &'a Vsiflow,
    serving: Option<Running>,
    port: u16,
    _turn: File,
}

/// A certificate and its key, in files.
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl<'a> Aggregated<'a> {
    /// Starts a process that serves the namespace, and waits until the API server reaches it.
    ///
    /// # Panics
    /// When it does not reach it within 90 s.
    #[track_caller]
    pub fn serve(cluster: &'a TestCluster, vsiflow: &'a Vsiflow) -> Self {
        let turn = File::create(cluster.beside("subresources.lock")).unwrap();
        turn.lock().unwrap();
        let free = TcpListener::bind((ENDPOINT, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut aggregated = Self {
            cluster,
            vsiflow,
            serving: None,
            port,
            _turn: turn,
        };
        aggregated.deploy();
        aggregated.start();
        aggregated.wait();
        aggregated
    }

    fn deploy(&self) {
        let only = ["-s", "templates/subresources.yaml"];
        let chart = self.cluster.chart(&only).exits(0).stdout;
        let apply = ["apply", "-f", "-"];
        self.cluster.feed_anywhere(&apply, &chart).exits(0);
        let (namespace, port) = (self.cluster.namespace(), self.port);
        let endpoints = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": SERVICE, "namespace": namespace},
            "subsets": [{
                "addresses": [{"ip": ENDPOINT}],
                "ports": [{"name": "subresources", "port": port}],
            }],
        });
        self.cluster.apply(endpoints);
    }

    /// Starts the process, also again after its end.
    pub fn start(&mut self) {
        let namespace = self.cluster.namespace();
        let lease = format!("{namespace}/vsiflow");
        let address = self.address().to_string();
        let service = format!("{namespace}/{SERVICE}");
        let options = [
            ["--lease-name", &lease],
            ["--subresources-address", &address],
            ["--subresources-service", &service],
        ];
        let mut arguments = vec!["--leader-elect"];
        arguments.extend(options.iter().flatten());
        self.serving = Some(self.cluster.serve(self.vsiflow, &arguments));
    }

    /// Stops the process with SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.terminate();
            serving.end(60).exits(0);
        }
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.kill();
        }
    }

    /// Waits until the API server reaches the process, for at most 90 s.
    #[track_caller]
    pub fn wait(&self) {
        let what = format!("apiservice/{API_SERVICE}");
        self.cluster.until("the API of subresources", 90, || {
            let bundle = &self.cluster.get(&what)["spec"]["caBundle"];
            bundle.is_string() && self.cluster.condition(&what, "Available") == "True"
        });
    }

    /// The address at which the process listens.
    pub fn address(&self) -> SocketAddr {
        format!("{ENDPOINT}:{}", self.port).parse().unwrap()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        self.serving.as_mut().unwrap()
    }

    /// The path of a subresource of a VSI in the namespace.
    pub fn path(&self, name: &str, rest: &str) -> String {
        path(self.cluster.namespace(), name, rest)
    }

    fn folder(&self) -> &Path {
        self.vsiflow.folder()
    }

    /// A client certificate from the lab's authority `ca` or `proxy-ca`.
    pub fn pair(&self, authority: &str, subject: &str) -> Pair {
        self.signed(authority, subject, "20200101000000Z", "20400101000000Z")
    }

    /// A client certificate that has expired.
    pub fn expired_pair(&self, authority: &str, subject: &str) -> Pair {
        self.signed(authority, subject, "20200101000000Z", "20210101000000Z")
    }

    fn signed(&self, authority: &str, subject: &str, from: &str, to: &str) -> Pair {
        let folder = tempfile::tempdir_in(self.folder()).unwrap().keep();
        let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nrand_serial=yes\ndefault_md=sha256\n\
                      policy=p\nunique_subject=no\nx509_extensions=e\n[p]\ncommonName=supplied\n\
                      organizationName=optional\n[e]\nextendedKeyUsage=clientAuth\n";
        std::fs::write(folder.join("config"), config).unwrap();
        std::fs::write(folder.join("index"), "").unwrap();
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(arguments).current_dir(&folder);
            Running::start(&mut command).end(30).exits(0)
        };
        openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            "key.pem",
            "-out",
            "request.pem",
        ]);
        let file = |end: &str| {
            let path = self.cluster.beside(&format!("{authority}.{end}"));
            path.display().to_string()
        };
        let (certificate, key) = (file("crt"), file("key"));
        openssl(&[
            "ca",
            "-batch",
            "-config",
            "config",
            "-notext",
            "-startdate",
            from,
            "-enddate",
            to,
            "-cert",
            &certificate,
            "-keyfile",
            &key,
            "-outdir",
            ".",
            "-in",
            "request.pem",
            "-out",
            "certificate.pem",
        ]);
        Pair {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        }
    }

    /// The kubeconfig of a user that the cluster knows by a client certificate.
    pub fn person(&self, name: &str) -> PathBuf {
        let pair = self.pair("ca", &format!("/CN={name}"));
        let view = ["config", "view", "--raw", "-o", "json"];
        let mut config = self.cluster.kubectl(&view).exits(0).json();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = serde_json::json!({
                "client-certificate": pair.certificate, "client-key": pair.key,
            });
        }
        let path = self.folder().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Runs `kubectl` as the user of this kubeconfig, in the namespace.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Ran {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("KUBECONFIG", kubeconfig);
        kubectl
            .args(["-n", self.cluster.namespace()])
            .args(arguments);
        Running::start(&mut kubectl).end(60)
    }

    /// Grants a user verbs on subresources of the object with this name, in the namespace.
    pub fn grant(&self, person: &str, verb: &str, resources: &str, object: &str) {
        let name = format!("{person}-{verb}-{object}");
        let role = serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name},
            "rules": [{
                "apiGroups": ["subresources.vsiflow.io"],
                "resources": resources.split(',').collect::<Vec<_>>(),
                "resourceNames": [object],
                "verbs": verb.split(',').collect::<Vec<_>>(),
            }],
        });
        self.cluster.apply(role);
        let (role_arg, user) = (format!("--role={name}"), format!("--user={person}"));
        self.cluster
            .kubectl(&["create", "rolebinding", &name, &role_arg, &user])
            .exits(0);
    }

    /// Sends a request to the process directly, not through the API server. Returns the HTTP status (0 if
    /// there was no answer) and the body.
    pub fn ask(&self, pair: Option<&Pair>, path: &str, more: &[&str]) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "60", "-w", "\n%{http_code}"]);
        if let Some(pair) = pair {
            curl.arg("--cert").arg(&pair.certificate);
            curl.arg("--key").arg(&pair.key);
        }
        curl.args(more);
        curl.arg(format!("https://{}{path}", self.address()));
        let ran = Running::start(&mut curl).end(90);
        let (body, status) = ran.stdout.trim_end().rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }
}

/// The path of a subresource of a VSI.
pub fn path(namespace: &str, name: &str, rest: &str) -> String {
    format!("/apis/subresources.vsiflow.io/v1/namespaces/{namespace}/onprem-hpcrs/{name}/{rest}")
}

impl Drop for Aggregated<'_> {
    fn drop(&mut self) {
        // Deleted before the process ends: a namespace cannot be deleted while an API group is unavailable.
        for (kind, name) in [
            ("apiservice", API_SERVICE.to_owned()),
            ("clusterrolebinding", SERVICE.to_owned()),
            ("clusterrole", SERVICE.to_owned()),
            ("clusterrole", format!("{SERVICE}-view")),
            ("clusterrole", format!("{SERVICE}-edit")),
        ] {
            self.cluster
                .kubectl(&["delete", kind, &name, "--ignore-not-found"]);
        }
        let delete = ["delete", "rolebinding", SERVICE, "-n", "kube-system"];
        self.cluster.feed_anywhere(&delete, "");
    }
}
