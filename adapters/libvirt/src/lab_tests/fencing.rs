//! Fencing on a real host: neither the call of a process that was stopped after its check of the lease, nor
//! bytes that arrive late, have an effect.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
};
use vsiflow_engine::lease::{BootInstant, Lease};
use vsiflow_steps::ports::{HostPorts, Transfer, VolumeFormat, VolumeKey, VolumeSpec};

use super::{
    by_path::{fill, made, until, users},
    streams::noise,
    *,
};
use crate::leased_host_ports;

/// Long enough for a busy machine.
const VALIDITY: Duration = Duration::from_secs(10);
/// After a lease has ended, a successor leaves the hosts alone for this long (`QUIET` of the journal in a
/// database).
const QUIET: Duration = Duration::from_secs(60);
const NAME: &str = "t-fenced.img";
const UPLOADED: &str = "t-fenced-upload.img";

/// A lease that is renewed until the flag is set.
fn renewed() -> (Arc<Lease>, Arc<AtomicBool>) {
    let lease = Lease::new(BootInstant::now(), VALIDITY);
    let stop = Arc::new(AtomicBool::new(false));
    let (renewing, line) = (lease.clone(), stop.clone());
    tokio::spawn(async move {
        while !line.load(Ordering::Acquire) {
            let requested = BootInstant::now();
            if renewing.renew(requested, VALIDITY).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    (lease, stop)
}

/// A proxy between a process and libvirtd. It holds back the call that creates a volume, and everything after
/// it.
struct Between {
    dir: tempfile::TempDir,
    seen: watch::Receiver<SeenCalls>,
    release: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct SeenCalls {
    holds: bool,
    /// libvirtd has closed the connection whose call is held back.
    closed: bool,
    /// The held bytes were sent, or their receiver has gone.
    sent: bool,
}

impl Between {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let (tell, seen) = watch::channel(SeenCalls::default());
        let (release, released) = watch::channel(false);
        let tell = Arc::new(tell);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(SOCKET).await.unwrap();
                tokio::spawn(carry(client, server, tell.clone(), released.clone()));
            }
        });
        Self { dir, seen, release }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    async fn comes_to(&mut self, what: &str, is_so: impl FnMut(&SeenCalls) -> bool) {
        let waited = tokio::time::timeout(LONG, self.seen.wait_for(is_so)).await;
        let found = waited.map(|seen| seen.map(|seen| *seen));
        assert!(matches!(found, Ok(Ok(_))), "{what}: {found:?}");
    }
}

/// Whether a packet, without its length, is the call that creates a volume.
fn creates(packet: &[u8]) -> bool {
    const REMOTE: u32 = 0x2000_8086;
    const STORAGE_VOL_CREATE_XML: u32 = 93;
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    packet.len() >= 12 && word(0) == REMOTE && word(8) == STORAGE_VOL_CREATE_XML
}

async fn carry(
    client: UnixStream,
    server: UnixStream,
    tell: Arc<watch::Sender<SeenCalls>>,
    mut released: watch::Receiver<bool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let holds = Arc::new(AtomicBool::new(false));
    let (held, line) = (holds.clone(), tell.clone());
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        if held.load(Ordering::Acquire) {
            line.send_modify(|seen| seen.closed = true);
        }
    });
    while let Ok(length) = from_client.read_u32().await {
        let mut packet = vec![0; usize::try_from(length).unwrap().saturating_sub(4)];
        if from_client.read_exact(&mut packet).await.is_err() {
            return;
        }
        let is_held = creates(&packet);
        if is_held {
            holds.store(true, Ordering::Release);
            tell.send_modify(|seen| seen.holds = true);
            released.wait_for(|released| *released).await.unwrap();
        }
        let bytes = [&length.to_be_bytes()[..], &packet].concat();
        let sent = to_server.write_all(&bytes).await;
        if is_held {
            tell.send_modify(|seen| seen.sent = true);
        }
        if sent.is_err() {
            return;
        }
    }
}

const AT: &str = "VSIFLOW_TEST_SOCKET";

/// A process with a lease that creates a volume on request.
struct Fenced {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Fenced {
    fn start(socket: &Path) -> Self {
        // Killed when the thread that started it ends, for any reason.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lab_tests::fencing::creates_a_volume_when_it_is_told",
            ])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env(AT, socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line of its output; the test harness prints lines too.
    fn says(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, output)) = line.split_once("SAYS ") {
                return output.trim().to_owned();
            }
        }
    }

    fn go(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"go\n")
            .unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "SAYS {text}");
    let _ = out.flush();
}

/// The body of that process; not a test of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that others start"]
async fn creates_a_volume_when_it_is_told() {
    let Ok(socket) = std::env::var(AT) else {
        return;
    };
    let (lease, _) = renewed();
    let ports = leased_host_ports("lab", Endpoint::Unix(socket.into()), lease.clone());
    ports.storage.pools().await.unwrap();
    say("ready");
    let line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    line.await.unwrap().unwrap();
    let spec = VolumeSpec {
        key: key(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    };
    let made = ports.storage.create(&spec).await;
    let lease = lease.check().is_ok();
    say(&format!("created {}, lease {lease}", made.is_ok()));
}

fn key() -> VolumeKey {
    VolumeKey {
        pool: "images".to_owned(),
        name: NAME.to_owned(),
    }
}

/// Whether libvirtd has the volume. Deletes it if so.
async fn is_there(lab: &Lab, name: &str) -> bool {
    let session = lab.local();
    let calls = control(&session).await;
    let found = calls
        .storage_vol_lookup_by_name(&pool(&calls).await, name)
        .await;
    if let Ok(volume) = &found {
        calls.storage_vol_delete(volume).await.unwrap();
    }
    session.close().await;
    found.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_a_process_that_is_stopped_before_its_call_has_done_nothing_when_it_wakes() {
    let Some(lab) = Lab::enter() else { return };
    is_there(&lab, NAME).await;
    for stopped in [false, true] {
        let mut between = Between::start();
        let mut process = Fenced::start(&between.socket());
        assert_eq!(process.says(), "ready");
        process.go();
        between.comes_to("it calls", |seen| seen.holds).await;
        if stopped {
            process.signal("STOP");
            let since = Instant::now();
            // Its keep-alive gets no more replies.
            between
                .comes_to("libvirtd closes", |seen| seen.closed)
                .await;
            assert!(since.elapsed() < QUIET, "{:?}", since.elapsed());
            assert!(since.elapsed() > VALIDITY, "{:?}", since.elapsed());
            process.signal("CONT");
        }
        between.release.send_replace(true);
        between.comes_to("it is sent", |seen| seen.sent).await;
        let expected = format!("created {}, lease {}", !stopped, !stopped);
        assert_eq!(process.says(), expected);
        assert_eq!(is_there(&lab, NAME).await, !stopped);
    }
}

/// A proxy to the lab's sshd that can be stalled.
async fn line() -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (hold, held) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", 2222)).await.unwrap();
            let mut held = held.clone();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
                let mut bytes = vec![0; 64 << 10];
                while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                    if held.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    if to_server.write_all(&bytes[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, hold)
}

/// Uploads by path with the last mebibyte stalled. Returns the file's length before it arrives, and
/// afterwards.
async fn held_up(
    lab: &Lab,
    lease: Arc<Lease>,
    stop: Arc<AtomicBool>,
    wait: Duration,
) -> (u64, u64) {
    const FIRST: u64 = 4 << 20;
    let (port, hold) = line().await;
    let config = SshConfig {
        port,
        host_keys: HostKeys::InsecureAcceptAny,
        ..lab.ssh_config("id_ed25519")
    };
    let socket = SOCKET.to_owned();
    let ports: HostPorts = leased_host_ports("lab", Endpoint::Ssh { config, socket }, lease);
    let (key, path) = made(&ports, "images", UPLOADED).await;
    let mut sink = fill(&ports, &key, Transfer::Plain).await;
    sink.send(noise(FIRST)).await.unwrap();
    let length = || path.metadata().unwrap().len();
    until("the first bytes arrive", || length() == FIRST).await;
    hold.send_replace(true);
    sink.send(noise(1 << 20)).await.unwrap();
    // The bytes are now in transit.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Release);
    tokio::time::sleep(wait).await;
    let before = length();
    hold.send_replace(false);
    let is_decided = || length() > before || users(&path) == 0;
    until("the bytes were neither written nor dropped", is_decided).await;
    drop(sink);
    until("the file is still open", || users(&path) == 0).await;
    let found = (before, length());
    is_there(lab, UPLOADED).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_bytes_that_arrive_after_the_lease_are_not_written_by_the_host() {
    let Some(lab) = Lab::enter() else { return };
    let (lease, stop) = renewed();
    // The lease, a control call, and rounding.
    let wait = VALIDITY + Duration::from_secs(17);
    let (before, after) = held_up(&lab, lease, stop, wait).await;
    assert_eq!((before, after), (4 << 20, 4 << 20));
    // Without a lease they are written.
    let (plain_before, plain_after) = held_up(&lab, Lease::endless(), Arc::default(), SHORT).await;
    assert!(
        plain_before == 4 << 20 && plain_after > plain_before,
        "{plain_before} {plain_after}"
    );
}
