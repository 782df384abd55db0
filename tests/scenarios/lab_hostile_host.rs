//! A libvirt that sends malformed or wrong replies: a proxy between vsiflow and a real one.

use std::{
    io::{Read as _, Result, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted, until};

const LIBVIRT: &str = "/var/run/libvirt/libvirt-sock";
/// Length word and header of a packet.
const HEADER: usize = 28;
const HUGE: usize = 100_000_000;
/// The most memory that the daemon may use, in KiB.
const MOST: u64 = 300 * 1024;

/// How the proxy falsifies replies.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum HostLie {
    None,
    /// A length that no packet may have.
    Length,
    /// A permitted length, with fewer bytes after it.
    Short,
    /// A list or text that announces four billion elements.
    Endless,
    /// A text of 100 MB.
    Huge,
    /// A text as long as a packet may be, not terminated.
    Long,
    /// Each reply twice, after an unsolicited one.
    Doubled,
    /// Instead of each reply, the previous one.
    Stale,
    /// Each reply half a minute late.
    Late,
}

const LIES: [HostLie; 8] = [
    HostLie::Length,
    HostLie::Short,
    HostLie::Endless,
    HostLie::Huge,
    HostLie::Long,
    HostLie::Doubled,
    HostLie::Stale,
    HostLie::Late,
];

/// Passes data between two sides, and falsifies what it sends to the first.
#[derive(Clone, Default)]
struct Proxy {
    lie: Arc<AtomicU8>,
    /// How many replies it has sent since the lie was set.
    replied: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(socket: &Path) -> Self {
        let (proxy, listener) = (Self::default(), UnixListener::bind(socket).unwrap());
        let own = proxy.clone();
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || drop(own.pass(caller)));
            }
        });
        proxy
    }

    fn set_lie(&self, lie: HostLie) {
        self.lie.store(lie as u8, Ordering::Relaxed);
        self.replied.store(0, Ordering::Relaxed);
    }

    fn lie(&self) -> HostLie {
        let number = self.lie.load(Ordering::Relaxed);
        let mut lies = LIES.into_iter();
        lies.find(|lie| *lie as u8 == number)
            .unwrap_or(HostLie::None)
    }

    fn pass(&self, mut caller: UnixStream) -> Result<()> {
        let mut libvirt = UnixStream::connect(LIBVIRT)?;
        let (mut from, mut to) = (caller.try_clone()?, libvirt.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let result = self.replies(&mut libvirt, &mut caller);
        let _ = caller.shutdown(std::net::Shutdown::Both);
        let _ = libvirt.shutdown(std::net::Shutdown::Both);
        result
    }

    fn replies(&self, from: &mut UnixStream, to: &mut UnixStream) -> Result<()> {
        let mut before: Option<Vec<u8>> = None;
        loop {
            let mut packet = vec![0; 4];
            from.read_exact(&mut packet)?;
            let length = u32::from_be_bytes(packet[..4].try_into().unwrap());
            packet.resize(usize::try_from(length).unwrap(), 0);
            from.read_exact(&mut packet[4..])?;
            self.say(&packet, before.as_deref(), to)?;
            before = Some(packet);
        }
    }

    fn say(&self, packet: &[u8], before: Option<&[u8]>, to: &mut UnixStream) -> Result<()> {
        let is_reply = packet[16..20] == [0, 0, 0, 1];
        if is_reply {
            self.replied.fetch_add(1, Ordering::Relaxed);
        }
        match self.lie() {
            _ if !is_reply => to.write_all(packet),
            HostLie::None => to.write_all(packet),
            HostLie::Length => to.write_all(&[0xff; 64]),
            HostLie::Short => to.write_all(&packet[..packet.len() / 2]),
            HostLie::Endless => {
                let mut lying = packet.to_vec();
                lying.resize(lying.len().max(HEADER + 4), 0);
                lying[HEADER..HEADER + 4].fill(0xff);
                to.write_all(&sized(lying))
            }
            HostLie::Huge => text(packet, HUGE, to),
            HostLie::Long => text(packet, 33_000_000, to),
            HostLie::Doubled => {
                let mut stray = packet.to_vec();
                stray[20..24].fill(0x7f);
                to.write_all(&[&stray, packet, packet].concat())
            }
            HostLie::Stale => to.write_all(&[before.unwrap_or(packet), packet].concat()),
            HostLie::Late => {
                std::thread::sleep(Duration::from_secs(30));
                to.write_all(packet)
            }
        }
    }
}

/// Writes the packet's own length at its beginning.
fn sized(mut packet: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap();
    packet[..4].copy_from_slice(&length.to_be_bytes());
    packet
}

/// Sends a reply whose content is one long text.
fn text(packet: &[u8], length: usize, to: &mut UnixStream) -> Result<()> {
    let number = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
    to.write_all(&number(HEADER + 4 + length))?;
    to.write_all(&packet[4..HEADER])?;
    to.write_all(&number(length))?;
    for _ in 0..length.div_ceil(1_000_000) {
        to.write_all(&b"<a b='c'>.".repeat(100_000))?;
    }
    Ok(())
}

/// The most memory that a process has used, in KiB.
fn most_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let word = line.unwrap().split_whitespace().next().unwrap();
    word.parse().unwrap()
}

#[test]
fn lab_a_libvirt_that_lies_costs_bounded_memory_and_no_other_host_anything() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-lies.qcow2"), Vsiflow::of_documents());
    let socket = vsiflow.folder().join("libvirt-sock");
    let proxy = Proxy::start(&socket);
    let mut liar = lab.host();
    // The same machine under another name, through the proxy's socket.
    (liar.label, liar.hostname) = ("liar".to_owned(), "localhost".to_owned());
    liar.known_hosts = liar.known_hosts.replace("127.0.0.1", "localhost");
    let lying = format!("  SOCKET: {}\n  HOSTNAME:", socket.display());
    let lying = liar.to_string().replacen("  HOSTNAME:", &lying, 1);
    let documents = format!(
        "{}{lying}{}---\n{}",
        lab.host(),
        Vsi::named("t-honest").image(image.url()),
        Vsi::named("t-lied-to").image(image.url()).on("liar")
    );
    let _gone = (
        Deleted(&vsiflow, "t-honest"),
        Deleted(&vsiflow, "t-lied-to"),
    );
    let mut daemon = vsiflow.serve(&["--look-every", "2s"]);
    vsiflow.apply(documents, &[]).exits(0);
    for name in ["t-honest", "t-lied-to"] {
        vsiflow.until_phase(name, "Running", 180);
    }
    for lie in LIES {
        proxy.set_lie(lie);
        // Each of these commands gets false replies, or waits.
        let calls = [
            "host",
            "inventory",
            &format!("root@localhost:{}", liar.port),
        ];
        let mut looking = vsiflow.start(&calls);
        for action in ["pause", "unpause"] {
            let bounded = [action, "t-honest", "--wait", "--timeout", "60s"];
            vsiflow.run(&bounded).exits(0);
        }
        if !matches!(lie, HostLie::Late) {
            until(&format!("an answer although {lie:?}"), 60, || {
                looking.has_ended().then_some(())
            });
        }
        until(&format!("replies with {lie:?}"), 60, || {
            (proxy.replied.load(Ordering::Relaxed) > 0).then_some(())
        });
        assert!(!daemon.has_ended(), "it ended by {lie:?}");
        let used = most_memory(daemon.pid());
        assert!(used < MOST, "{used} KiB by {lie:?}");
    }
    proxy.set_lie(HostLie::None);
    vsiflow.until_phase("t-lied-to", "Running", 180);
    let again = ["stop", "t-lied-to", "--wait", "--timeout", "120s"];
    until("the host is believed again", 180, || {
        (vsiflow.run(&again).code == Some(0)).then_some(())
    });
    for name in ["t-honest", "t-lied-to"] {
        let gone = ["delete", name, "--wait", "--timeout", "120s"];
        vsiflow.run(&gone).exits(0);
    }
    daemon.terminate();
    let ended = daemon.end(60);
    ended.keeps_quiet_about("panicked").exits(0);
}
