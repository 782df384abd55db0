//! A proxy before a real API server, whose lists expire: a client receives the first page, and 410 for the next one.
//! Watches that are open then end with 410. It listens on loopback alone.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What an API server answers whose history no longer reaches so far back.
const EXPIRED: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"The provided continue parameter is too old","reason":"Expired","code":410}"#;

#[derive(Default)]
struct State {
    is_expired: AtomicBool,
    /// How many lists could not be continued.
    expired: AtomicUsize,
    /// The clients of open watches.
    watches: Mutex<Vec<TcpStream>>,
}

/// The proxy. It ends when it is dropped.
pub struct ExpiringLists {
    state: Arc<State>,
    upstream: Child,
    kubeconfig: PathBuf,
}

impl ExpiringLists {
    /// Starts the proxy before the API server of a kubeconfig, with the rights of that.
    pub fn start(kubeconfig: &str, folder: &Path) -> Self {
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["proxy", "--port=0", "--reject-paths=^$"]);
        kubectl.env("KUBECONFIG", kubeconfig).stdout(Stdio::piped());
        let mut upstream = kubectl.spawn().unwrap();
        let mut line = String::new();
        let stdout = upstream.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        // Starting to serve on 127.0.0.1:PORT
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<State>::default();
        let serving = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (of_client, upstream_address) = (serving.clone(), address.clone());
                // A client that leaves early is no failure of the test.
                std::thread::spawn(move || drop(forward(client, &upstream_address, &of_client)));
            }
        });
        let path = folder.join("expiring.yaml");
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: it, user: {{}}}}]\ncontexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n"
        );
        std::fs::write(&path, config).unwrap();
        Self {
            state,
            upstream,
            kubeconfig: path,
        }
    }

    /// The path of the kubeconfig that leads through the proxy.
    pub fn kubeconfig(&self) -> &str {
        self.kubeconfig.to_str().unwrap()
    }

    /// Ends all watches, and lets lists expire after one object until [`Self::heal`].
    pub fn expire(&self) {
        self.state.is_expired.store(true, Ordering::Relaxed);
        for watch in self.state.watches.lock().unwrap().drain(..) {
            // It may have ended.
            let _ = watch.shutdown(Shutdown::Both);
        }
    }

    /// Lets lists be whole again.
    pub fn heal(&self) {
        self.state.is_expired.store(false, Ordering::Relaxed);
    }

    /// How many lists could not be continued.
    pub fn expired(&self) -> usize {
        self.state.expired.load(Ordering::Relaxed)
    }
}

impl Drop for ExpiringLists {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.upstream.kill();
        let _ = self.upstream.wait();
    }
}

/// Answers one request of a client.
fn forward(mut client: TcpStream, address: &str, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "connection" | "host" => continue,
            _ => {}
        }
        head.push_str(&line);
    }
    let is_watch = request.contains("watch=true");
    let is_expired = state.is_expired.load(Ordering::Relaxed);
    if is_expired && is_watch {
        let event = format!("{{\"type\":\"ERROR\",\"object\":{EXPIRED}}}\n");
        return answer(&mut client, "200 OK", &event);
    }
    if is_expired && request.contains("continue=") {
        state.expired.fetch_add(1, Ordering::Relaxed);
        return answer(&mut client, "410 Gone", EXPIRED);
    }
    if is_expired {
        request = request.replace("limit=500", "limit=1");
    }
    if is_watch {
        state.watches.lock().unwrap().push(client.try_clone()?);
    }
    let mut server = TcpStream::connect(address)?;
    let sent = format!("{request}{head}Host: {address}\r\nConnection: close\r\n\r\n");
    server.write_all(sent.as_bytes())?;
    std::io::copy(&mut reader.take(length), &mut server)?;
    let copied = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    copied.map(drop)
}

fn answer(client: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    client.shutdown(Shutdown::Write)
}
