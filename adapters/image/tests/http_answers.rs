//! What servers say about what they send: codings, parts, pages and statuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vsiflow_image::{HttpOptions, HttpSource, Router};
use vsiflow_steps::ports::{ImageSource, SourceError, SourceErrorKind};

/// `some bytes` by gzip.
const PACKED: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01\x0a\0\xf5\xffsome bytes\x55\x7f\x59\x9f\x0a\0\0\0";
const PLAIN: &[u8] = b"some bytes";
const VALIDATOR: Option<&str> = Some("etag \"one\"");

/// An answer with these headers and this body.
#[derive(Clone)]
struct Reply {
    status: &'static str,
    headers: &'static str,
    body: &'static [u8],
}

const fn reply(status: &'static str, headers: &'static str, body: &'static [u8]) -> Reply {
    Reply {
        status,
        headers,
        body,
    }
}

const fn whole(headers: &'static str, body: &'static [u8]) -> Reply {
    reply("200 OK", headers, body)
}

const fn part(headers: &'static str, body: &'static [u8]) -> Reply {
    reply("206 Partial Content", headers, body)
}

/// Serves these answers: the first one to requests for the whole, the second one to those for a part.
async fn serve(of_whole: Reply, of_part: Reply) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/disk.qcow2", listener.local_addr().unwrap());
    let replies = Arc::new((of_whole, of_part));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, replies.clone()));
        }
    });
    url
}

async fn answer(mut stream: TcpStream, replies: Arc<(Reply, Reply)>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let asks_for_part = String::from_utf8_lossy(&head)
        .to_lowercase()
        .contains("range: bytes=");
    let Reply {
        status,
        headers,
        body,
    } = if asks_for_part {
        &replies.1
    } else {
        &replies.0
    };
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\nETag: \"one\"\r\nContent-Length: {length}\r\n{headers}\r\n");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.write_all(body).await;
    let _ = stream.flush().await;
}

fn http() -> HttpSource {
    HttpSource::new(&HttpOptions::default()).unwrap()
}

/// What comes of reading all of it through a source that unpacks.
async fn unpacked(of_whole: Reply) -> Result<Vec<u8>, SourceError> {
    let url = serve(of_whole.clone(), of_whole).await;
    let mut stream = Router::new().unwrap().open(&url).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// What comes of reading on at the sixth byte: where the stream starts, and its bytes.
async fn rest(of_whole: Reply, of_part: Reply) -> Result<(u64, Vec<u8>), SourceError> {
    let url = serve(of_whole, of_part).await;
    let mut stream = http().open_at(&url, 5, VALIDATOR).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((stream.starts_at(), bytes))
}

#[tokio::test]
async fn a_coding_is_unpacked_where_the_body_begins_so_whatever_the_name_of_the_file() {
    for headers in [
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: GZIP\r\n",
        "Content-Encoding: X-Gzip\r\n",
        "Content-Encoding: aws-chunked,gzip\r\n",
        "Content-Encoding: aws-chunked\r\nContent-Encoding: gzip\r\n",
    ] {
        let read = unpacked(whole(headers, PACKED)).await;
        assert_eq!(read.as_deref(), Ok(PLAIN), "{headers}");
    }
}

#[tokio::test]
async fn a_coding_that_the_body_does_not_have_or_that_is_not_undone_is_refused() {
    for (headers, body) in [
        ("Content-Encoding: gzip\r\n", PLAIN),
        ("Content-Encoding: zstd\r\n", PACKED),
        ("Content-Encoding: br\r\n", PACKED),
        ("Content-Encoding: gzip, br\r\n", PACKED),
        ("Content-Encoding: gzip\r\n", b"x"),
    ] {
        let refused = unpacked(whole(headers, body)).await.unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Encoded, "{headers}");
        assert!(refused.message.contains("encoded ("), "{refused}");
    }
}

#[tokio::test]
async fn words_that_encode_nothing_are_no_coding() {
    for headers in [
        "Content-Encoding: \r\n",
        "Content-Encoding: identity\r\n",
        "Content-Encoding: Identity\r\n",
        "Content-Encoding: aws-chunked\r\n",
        "Content-Encoding: aws-chunked, identity,\r\n",
    ] {
        let read = unpacked(whole(headers, PLAIN)).await;
        assert_eq!(read.as_deref(), Ok(PLAIN), "{headers}");
        let headers = headers.to_owned() + "Content-Range: bytes 5-9/10\r\n";
        let continued = rest(whole("", PLAIN), part(headers.leak(), b"bytes")).await;
        assert_eq!(continued, Ok((5, b"bytes".to_vec())));
    }
}

#[tokio::test]
async fn a_part_that_is_encoded_does_not_get_into_the_image() {
    for coding in ["gzip", "GZIP", "br", "aws-chunked, zstd"] {
        let headers =
            format!("Content-Range: bytes 5-9/10\r\nContent-Encoding: {coding}\r\n").leak();
        let continued = rest(whole("", PLAIN), part(headers, b"\x1f\x8b\x08\0\0")).await;
        assert_eq!(continued, Ok((0, PLAIN.to_vec())), "{coding}");
    }
}

#[tokio::test]
async fn what_a_server_packs_is_another_version_than_the_file_though_it_has_the_tag_of_that() {
    let coded = || whole("Content-Encoding: gzip\r\n", PACKED);
    let url = serve(coded(), coded()).await;
    let versions = async |name: &str| {
        let url = url.replace("disk.qcow2", name);
        let source = http();
        let probed = source.probe(&url).await.unwrap().validator;
        let entered = source.open_at(&url, 5, VALIDATOR).await.unwrap();
        let again = source.open_at(&url, 5, probed.as_deref()).await.unwrap();
        assert_eq!((entered.starts_at(), again.starts_at()), (0, 0));
        let entered = entered.info().validator.clone();
        assert_eq!(entered, probed);
        assert_eq!(again.info().validator, probed);
        entered
    };
    let of_packed = versions("disk.qcow2").await.unwrap();
    assert_eq!(of_packed, "etag \"one\" sent as gzip");
    assert_eq!(versions("disk.gz").await.as_deref(), VALIDATOR);
}

#[tokio::test]
async fn a_part_of_a_file_that_is_named_as_packed_is_one_of_the_file() {
    let headers = "Content-Range: bytes 5-9/10\r\nContent-Encoding: x-gzip\r\n";
    let url = serve(whole("", PLAIN), part(headers, b"bytes")).await;
    for (name, starts_at) in [("disk.gz", 5), ("disk.xz", 0), ("disk.img", 0)] {
        let url = url.replace("disk.qcow2", name);
        let stream = http().open_at(&url, 5, VALIDATOR).await.unwrap();
        assert_eq!(stream.starts_at(), starts_at, "{name}");
    }
}

#[tokio::test]
async fn a_page_instead_of_the_rest_is_one_that_passes() {
    let page = "Content-Type: Text/HTML; charset=utf-8\r\nContent-Range: bytes 5-9/10\r\n";
    for of_part in [
        part(page, b"<html"),
        whole(page, b"<html"),
        reply("416 Range Not Satisfiable", "", b""),
    ] {
        let failed = rest(whole(page, b"<html"), of_part).await.unwrap_err();
        assert_eq!(failed.kind, SourceErrorKind::Transient, "{failed}");
        assert!(failed.message.contains("web page"), "{failed}");
    }
    let first = unpacked(whole(page, b"<html")).await.unwrap_err();
    assert_eq!(first.kind, SourceErrorKind::Page);
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_passed_over_for_the_whole() {
    for of_part in [
        part("Content-Range: bytes 7-9/10\r\n", b"tes"),
        part("Content-Range: bytes 0-4/10\r\n", b"some "),
        part("Content-Range: lines 5-9/10\r\n", b"bytes"),
        part("", b"bytes"),
    ] {
        let continued = rest(whole("", PLAIN), of_part).await;
        assert_eq!(continued, Ok((0, PLAIN.to_vec())));
    }
}

#[tokio::test]
async fn an_answer_without_an_image_says_what_its_server_did() {
    for (of_whole, kind, words) in [
        (
            part("Content-Range: bytes 0-9/10\r\n", PLAIN),
            SourceErrorKind::Encoded,
            "206 Partial Content, a part of the file, to a request for the whole",
        ),
        (
            reply("204 No Content", "", b""),
            SourceErrorKind::Empty,
            "204 No Content: it has no content there",
        ),
        (
            reply("300 Multiple Choices", "", b""),
            SourceErrorKind::Redirected,
            "leaves the choice",
        ),
        (
            reply("302 Found", "", b""),
            SourceErrorKind::Redirected,
            "302 Found, without the Location where the image is",
        ),
        (
            reply(
                "302 Found",
                "Location: ftp://me:SECRET@files.example/a?SECRET\r\n",
                b"",
            ),
            SourceErrorKind::Redirected,
            "redirects to ftp://files.example/a?…, and ftp: is not followed",
        ),
    ] {
        let failed = unpacked(of_whole).await.unwrap_err();
        assert_eq!(failed.kind, kind, "{failed}");
        assert!(failed.message.contains(words), "{failed}");
        assert!(!failed.to_string().contains("SECRET"), "{failed}");
    }
}
