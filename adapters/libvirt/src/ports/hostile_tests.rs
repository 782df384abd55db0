//! A hostile host: wrong lengths, lists and streams without end, replies that are unexpected, late or sent
//! twice. It costs bounded memory and time, and does not affect other hosts.

use std::{path::PathBuf, time::Duration};

use bytes::BytesMut;
use serde::Serialize;
use tokio::{
    io::{AsyncWriteExt as _, split},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use vsiflow_steps::{
    ports::{HostPorts, PortResult, VolumeKey},
    turns::owner_of,
};

use super::host_ports;
use crate::{
    connection::memory::PacketBudget,
    packet::{Packet, PacketHeader, PacketReader, encode, kind, status},
    protocol::{Procedure, RemoteDomain, StoragePool, StorageVol},
    session::{Endpoint, HostSession, SessionOptions},
    xdr,
};

/// How the host misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// It behaves correctly.
    None,
    /// Packets announce more than the limit.
    Length,
    /// A list announces more elements than it has.
    Count,
    /// An XML document that never closes its elements.
    DeepXml,
    /// An XML document as long as a string may be.
    LongXml,
    /// An element with very many attributes, in a document that is short enough.
    ManyAttributes,
    /// Each element of a document declares a namespace within the one before.
    NestedNamespaces,
    /// A list is announced with the largest length, and not sent.
    Stalls,
    /// A list of a few megabytes.
    LongList,
    /// A volume's bytes never end.
    EndlessStream,
    /// Each reply is sent twice, after an unexpected one.
    Doubled,
    /// No reply is sent.
    Silence,
}

struct Server {
    lie: Lie,
    socket: tokio::io::WriteHalf<UnixStream>,
}

impl Server {
    async fn send(&mut self, header: PacketHeader, payload: &[u8]) -> std::io::Result<()> {
        let mut bytes = BytesMut::new();
        assert!(encode(&header, payload, &mut bytes));
        self.socket.write_all(&bytes).await
    }

    async fn reply(&mut self, call: &Packet, value: &impl Serialize) -> std::io::Result<()> {
        let header = PacketHeader {
            kind: kind::REPLY,
            ..call.header
        };
        let payload = xdr::to_bytes(value).unwrap();
        if self.lie == Lie::Doubled {
            let stray = PacketHeader {
                serial: 4_000_000,
                ..header
            };
            self.send(stray, &payload).await?;
            self.send(header, &payload).await?;
        }
        self.send(header, &payload).await
    }

    async fn answer(&mut self, call: &Packet) -> std::io::Result<()> {
        let is = |procedure: Procedure| call.header.procedure == procedure.number();
        let (pool, volume) = (
            StoragePool {
                name: "images".to_owned(),
                uuid: uuid::Uuid::nil().into(),
            },
            StorageVol {
                pool: "images".to_owned(),
                name: "v".to_owned(),
                key: "/i/v".to_owned(),
            },
        );
        match self.lie {
            _ if is(Procedure::AuthList) => self.reply(call, &vec![0_i32]).await,
            _ if is(Procedure::ConnectOpen) => self.reply(call, &()).await,
            _ if is(Procedure::ConnectSupportsFeature) => self.reply(call, &0_i32).await,
            _ if is(Procedure::StoragePoolLookupByName) => self.reply(call, &pool).await,
            _ if is(Procedure::StoragePoolIsActive) => self.reply(call, &1_i32).await,
            _ if is(Procedure::StorageVolLookupByName) => self.reply(call, &volume).await,
            _ if is(Procedure::StorageVolGetInfo) => self.reply(call, &(0_i32, 9_u64, 9_u64)).await,
            Lie::Silence => Ok(()),
            Lie::Length => self.socket.write_all(&[0xff; 64]).await,
            _ if is(Procedure::ConnectListAllDomains) => self.domains(call).await,
            _ if is(Procedure::StorageVolGetXmlDesc) => {
                let xml = self.xml();
                self.reply(call, &xml).await
            }
            _ if is(Procedure::StorageVolDownload) => self.stream(call).await,
            _ => self.reply(call, &()).await,
        }
    }

    async fn domains(&mut self, call: &Packet) -> std::io::Result<()> {
        match self.lie {
            Lie::Count => self.reply(call, &(u32::MAX, 1_u32)).await,
            Lie::Stalls => self.socket.write_all(&33_554_436_u32.to_be_bytes()).await,
            Lie::LongList => {
                let domain = RemoteDomain {
                    name: "n".repeat(1000),
                    uuid: uuid::Uuid::nil().into(),
                    id: -1,
                };
                self.reply(call, &(vec![domain; 4_000], 4_000_u32)).await
            }
            _ => self.reply(call, &(Vec::<RemoteDomain>::new(), 0_u32)).await,
        }
    }

    fn xml(&self) -> String {
        let volume = "<volume><name>v</name><physical>9</physical><target><path>/i/v</path>\
                      </target></volume>";
        match self.lie {
            Lie::DeepXml => "<a>".repeat(1_300_000),
            Lie::ManyAttributes => {
                let attributes: String = (0..120_000).map(|n| format!(" a{n}=''")).collect();
                format!("<volume{attributes}/>")
            }
            Lie::NestedNamespaces => {
                let open = |n: usize| format!("<a xmlns:n{n}='u{n}'>");
                let open: String = (0..30_000).map(open).collect();
                format!("{open}{}", "</a>".repeat(30_000))
            }
            Lie::LongXml => format!("<volume>{}</volume>", "<a b='c'/>".repeat(400_000)),
            _ => volume.to_owned(),
        }
    }

    async fn stream(&mut self, call: &Packet) -> std::io::Result<()> {
        self.reply(call, &()).await?;
        let header = PacketHeader {
            kind: kind::STREAM,
            status: status::CONTINUE,
            ..call.header
        };
        let most = match self.lie {
            Lie::EndlessStream => usize::MAX,
            _ => 0,
        };
        let data = vec![7; 200_000];
        for _ in 0..most {
            self.send(header, &data).await?;
        }
        self.send(header, &[7; 9]).await?;
        self.send(header, &[]).await
    }
}

/// A host that misbehaves like this, and the task that serves it.
fn host(dir: &tempfile::TempDir, lie: Lie) -> (HostPorts, JoinHandle<()>) {
    host_named("lying", dir, lie)
}

fn host_named(name: &str, dir: &tempfile::TempDir, lie: Lie) -> (HostPorts, JoinHandle<()>) {
    let path: PathBuf = dir.path().join(format!("{lie:?}"));
    let listener = UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, socket) = split(socket);
                let (mut read, mut server) = (PacketReader::new(read), Server { lie, socket });
                while let Ok(call) = read.next(|| ()).await {
                    let answered = match (call.header.kind, call.header.status) {
                        (kind::CALL, _) => server.answer(&call).await,
                        // Confirms the end of a stream.
                        (kind::STREAM, status::OK) => server.send(call.header, &[]).await,
                        _ => Ok(()),
                    };
                    if answered.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (host_ports(name, Endpoint::Unix(path)), serving)
}

fn key() -> VolumeKey {
    VolumeKey {
        pool: "images".to_owned(),
        name: "v".to_owned(),
    }
}

/// Reads domains and a volume.
async fn look(ports: &HostPorts) -> PortResult<usize> {
    let domains = ports.domains.domains().await?;
    Ok(domains.len() + ports.storage.read(&key(), 0, 9).await?.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_lies_ends_in_an_error_and_costs_no_other_host_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (honest, serving) = host(&dir, Lie::None);
    assert_eq!(look(&honest).await, Ok(9));
    for lie in [
        Lie::Length,
        Lie::Count,
        Lie::DeepXml,
        Lie::LongXml,
        Lie::ManyAttributes,
        Lie::NestedNamespaces,
        Lie::EndlessStream,
    ] {
        let (lying, lying_serving) = host(&dir, lie);
        let found = timeout(Duration::from_secs(60), look(&lying)).await;
        assert!(matches!(found, Ok(Err(_))), "{lie:?}: {found:?}");
        assert_eq!(look(&honest).await, Ok(9), "beside {lie:?}");
        lying_serving.abort();
    }
    let (doubling, also) = host(&dir, Lie::Doubled);
    assert_eq!(
        look(&doubling).await,
        Ok(9),
        "unexpected replies are dropped"
    );
    let (silent, too) = host(&dir, Lie::Silence);
    let waiting = tokio::spawn(async move { look(&silent).await });
    assert_eq!(look(&honest).await, Ok(9), "beside one that says nothing");
    waiting.abort();
    [serving, also, too].iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_one_owner_that_announce_much_and_stall_leave_memory_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let (_ports, serving) = host_named("stalls", &dir, Lie::Stalls);
    let path = dir.path().join(format!("{:?}", Lie::Stalls));
    let mut waiting = Vec::new();
    for _ in 0..14 {
        let ports = host_ports("stalls", Endpoint::Unix(path.clone()));
        waiting.push(tokio::spawn(async move { ports.domains.domains().await }));
    }
    let share = PacketBudget::of_process().share(&owner_of("", "stalls"));
    while share.reserved() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_large, also) = host_named("large", &dir, Lie::LongList);
    let large = dir.path().join(format!("{:?}", Lie::LongList));
    let options = SessionOptions {
        owner: owner_of("", "large"),
        ..SessionOptions::default()
    };
    let session = HostSession::new(Endpoint::Unix(large), options);
    let list = async {
        let calls = session.control().await.unwrap().within(super::QUICK);
        calls.connect_list_all_domains(0).await.unwrap().len()
    };
    assert_eq!(timeout(Duration::from_secs(5), list).await, Ok(4_000));
    assert!(share.reserved() <= 32 << 20, "{}", share.reserved());
    waiting.iter().for_each(JoinHandle::abort);
    [serving, also].iter().for_each(JoinHandle::abort);
}
