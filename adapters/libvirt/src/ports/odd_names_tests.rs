//! A host whose volumes have names that are no text, served as libvirt serves them: it finds a volume only by
//! the bytes of its name, and leaves control characters out of its descriptions.

use std::path::Path;

use bytes::BytesMut;
use proptest::prelude::*;
use serde::Serialize;
use tokio::{
    io::{AsyncWriteExt as _, WriteHalf, split},
    net::{UnixListener, UnixStream},
};
use vsiflow_steps::{host_text, ports::HostPorts};

use super::host_ports;
use crate::{
    packet::{Packet, PacketHeader, PacketReader, encode, kind},
    protocol::{Procedure, StoragePool},
    session::Endpoint,
    xdr,
};

/// Bytes as libvirt sends a string.
struct Wire<'a>(&'a [u8]);

impl Serialize for Wire<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A host with one volume of this name, over `/i/base`.
struct OddHost {
    name: Vec<u8>,
    socket: WriteHalf<UnixStream>,
}

impl OddHost {
    async fn reply(&mut self, call: &Packet, value: &impl Serialize) {
        let header = PacketHeader {
            kind: kind::REPLY,
            ..call.header
        };
        let mut bytes = BytesMut::new();
        assert!(encode(&header, &xdr::to_bytes(value).unwrap(), &mut bytes));
        let _ = self.socket.write_all(&bytes).await;
    }

    fn xml(&self) -> Vec<u8> {
        let mut name = Vec::new();
        for byte in &self.name {
            match byte {
                b'<' => name.extend_from_slice(b"&lt;"),
                b'>' => name.extend_from_slice(b"&gt;"),
                b'&' => name.extend_from_slice(b"&amp;"),
                b'\'' => name.extend_from_slice(b"&apos;"),
                b'"' => name.extend_from_slice(b"&quot;"),
                b'\n' | b'\t' | b'\r' | 0x20.. => name.push(*byte),
                _ => {}
            }
        }
        let parts: [&[u8]; 5] = [
            b"<volume><name>",
            &name,
            b"</name><target><path>/i/",
            &name,
            b"</path></target><backingStore><path>/i/base</path></backingStore></volume>",
        ];
        parts.concat()
    }

    async fn answer(&mut self, call: &Packet) {
        let is = |procedure: Procedure| call.header.procedure == procedure.number();
        let pool = StoragePool {
            name: "images".to_owned(),
            uuid: uuid::Uuid::nil().into(),
        };
        let name = self.name.clone();
        let (odd, key) = (Wire(&name), [b"/i/", &name[..]].concat());
        let volume = (Wire(b"images"), odd, Wire(&key));
        match () {
            () if is(Procedure::AuthList) => self.reply(call, &vec![0_i32]).await,
            () if is(Procedure::ConnectSupportsFeature) => self.reply(call, &0_i32).await,
            () if is(Procedure::StoragePoolLookupByName) => self.reply(call, &pool).await,
            () if is(Procedure::StoragePoolIsActive) => self.reply(call, &1_i32).await,
            () if is(Procedure::StoragePoolListAllVolumes) => {
                self.reply(call, &(vec![&volume], 1_u32)).await;
            }
            () if is(Procedure::StoragePoolGetXmlDesc) => {
                self.reply(call, &"<pool type='logical'/>").await;
            }
            () if is(Procedure::StorageVolGetXmlDesc) => {
                let asked = xdr::to_bytes(&(&volume, 0_u32)).unwrap();
                assert_eq!(
                    call.payload, asked,
                    "the volume is asked for by its own bytes"
                );
                let xml = self.xml();
                self.reply(call, &Wire(&xml)).await;
            }
            () => self.reply(call, &()).await,
        }
    }
}

fn host(dir: &Path, name: Vec<u8>) -> HostPorts {
    let path = dir.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (read, socket) = split(socket);
            let name = name.clone();
            let (mut read, mut host) = (PacketReader::new(read), OddHost { name, socket });
            tokio::spawn(async move {
                while let Ok(call) = read.next(|| ()).await {
                    if call.header.kind == kind::CALL {
                        host.answer(&call).await;
                    }
                }
            });
        }
    });
    host_ports("odd", Endpoint::Unix(path))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_volume_of_any_name_is_listed_by_its_bytes_or_as_unreadable(
        random in proptest::collection::vec(1..=255_u8, 1..20),
        pick in 0..6_usize,
    ) {
        let named: [&[u8]; 5] = [b"caf\xe9.qcow2", b" spaces ", b"two\r\nlines", b"\x01", b"<&'\">"];
        let name = named.get(pick).map_or(random, |name| name.to_vec());
        prop_assume!(!name.contains(&b'/'));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let volumes = runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            host(dir.path(), name.clone()).storage.volumes("images").await.unwrap()
        });
        let [volume] = &volumes[..] else {
            panic!("{volumes:?}");
        };
        prop_assert_eq!(&*host_text::bytes(&volume.key.name), &name[..]);
        let dropped = |byte: &u8| *byte < 0x20 && !b"\n\t\r".contains(byte);
        if name.iter().any(dropped) {
            prop_assert!(volume.unreadable.is_some(), "{volume:?}");
        } else {
            prop_assert_eq!(&volume.unreadable, &None);
            prop_assert_eq!(volume.backing.as_deref(), Some("/i/base"));
            prop_assert_eq!(&*host_text::bytes(&volume.path), [b"/i/", &name[..]].concat());
        }
    }
}
