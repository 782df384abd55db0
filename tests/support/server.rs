//! A small web server on this machine that serves images: whole, broken or not at all.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How the server answers a request for a path.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This image, whole.
    Image(Vec<u8>),
    /// This image with a strong `ETag`; range requests are honoured.
    Ranged(Vec<u8>, &'static str),
    /// This image with a strong `ETag`; range requests are ignored.
    Tagged(Vec<u8>, &'static str),
    /// This image with a strong `ETag`, at this many bytes a second.
    Slowly(Vec<u8>, usize),
    /// This many bytes of this image, and then nothing until the client closes the connection.
    StallAfter(Vec<u8>, usize),
    /// This image with this number as its `Content-Length`.
    Lie(Vec<u8>, usize),
    /// Only this many bytes of this image, although `Content-Length` announces all of it.
    CutAfter(Vec<u8>, usize),
    /// Only this many bytes of this image, in a chunked answer without its last chunk.
    CutChunked(Vec<u8>, usize),
    /// This image in chunks, without `Content-Length`.
    Chunked(Vec<u8>),
    /// This status and an empty body.
    Status(&'static str),
    /// This status with a body, which may look like the start of an image.
    Refusal(&'static str, Vec<u8>),
    /// This status with this `Date` header, and a text as XML.
    Dated(&'static str, String, &'static str),
    /// A web page.
    Page(&'static str),
}

/// A request from a client.
struct ServerRequest {
    path: String,
    /// The first byte of `Range`, and the `ETag` of `If-Range`.
    range: Option<(usize, String)>,
    /// The `Authorization` header.
    authorization: Option<String>,
}

#[derive(Default)]
struct ServedFiles {
    /// For each guarded file the `Authorization` header that a request needs.
    guarded: BTreeMap<String, String>,
    answers: BTreeMap<String, Answer>,
    requests: BTreeMap<String, usize>,
    ended: bool,
}

/// A web server. Drop ends it.
pub struct Server {
    port: u16,
    shared: Arc<Mutex<ServedFiles>>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server that answers 404 to every path.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Mutex<ServedFiles>>::default();
        let served = shared.clone();
        std::thread::spawn(move || serve(&listener, &served));
        Self { port, shared }
    }

    /// The URL of a file.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// Sets the answer for a file, and returns its URL.
    pub fn answers(&self, name: &str, answer: Answer) -> String {
        let mut shared = self.shared.lock().unwrap();
        shared.answers.insert(format!("/{name}"), answer);
        self.url(name)
    }

    /// Serves a file only to requests with this `Authorization` header.
    pub fn guards(&self, name: &str, authorization: &str) {
        let mut shared = self.shared.lock().unwrap();
        let guard = authorization.to_owned();
        shared.guarded.insert(format!("/{name}"), guard);
    }

    /// How many requests for a file there were.
    pub fn requests(&self, name: &str) -> usize {
        let shared = self.shared.lock().unwrap();
        shared
            .requests
            .get(&format!("/{name}"))
            .copied()
            .unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock().unwrap().ended = true;
        // Wakes the server, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Mutex<ServedFiles>>) {
    for stream in listener.incoming() {
        if shared.lock().unwrap().ended {
            return;
        }
        let (Ok(stream), shared) = (stream, shared.clone()) else {
            continue;
        };
        // A client that closes the connection early is not an error.
        std::thread::spawn(move || answer(&stream, &shared).unwrap_or_default());
    }
}

fn answer(stream: &TcpStream, shared: &Mutex<ServedFiles>) -> std::io::Result<()> {
    let Some(request) = requested(stream)? else {
        return Ok(());
    };
    let known = {
        let mut shared = shared.lock().unwrap();
        *shared.requests.entry(request.path.clone()).or_default() += 1;
        let guard = shared.guarded.get(&request.path);
        if guard.is_none_or(|guard| request.authorization.as_ref() == Some(guard)) {
            let path = request.path.as_str();
            // The query may hold a signature.
            let bare = path.split_once('?').map_or(path, |(path, _)| path);
            let answers = &shared.answers;
            answers.get(path).or_else(|| answers.get(bare)).cloned()
        } else {
            Some(Answer::Status("401 Unauthorized"))
        }
    };
    give(
        stream,
        known.unwrap_or(Answer::Status("404 Not Found")),
        &request,
    )?;
    stream.shutdown(Shutdown::Write)
}

fn give(mut stream: &TcpStream, answer: Answer, request: &ServerRequest) -> std::io::Result<()> {
    match answer {
        Answer::Image(bytes) => {
            head(stream, "200 OK", BYTES, bytes.len(), "")?;
            stream.write_all(&bytes)
        }
        Answer::Ranged(bytes, tag) => match &request.range {
            Some((from, condition)) if condition == tag && *from < bytes.len() => {
                let (last, length) = (bytes.len() - 1, bytes.len());
                let more =
                    format!("etag: {tag}\r\ncontent-range: bytes {from}-{last}/{length}\r\n");
                head(stream, "206 Partial Content", BYTES, length - from, &more)?;
                stream.write_all(&bytes[*from..])
            }
            _ => give(stream, Answer::Tagged(bytes, tag), request),
        },
        Answer::Tagged(bytes, tag) => {
            head(
                stream,
                "200 OK",
                BYTES,
                bytes.len(),
                &format!("etag: {tag}\r\n"),
            )?;
            stream.write_all(&bytes)
        }
        Answer::Slowly(bytes, a_second) => {
            head(stream, "200 OK", BYTES, bytes.len(), "etag: \"slow\"\r\n")?;
            for piece in bytes.chunks(a_second.div_ceil(20)) {
                stream.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        Answer::StallAfter(bytes, at) => {
            head(stream, "200 OK", BYTES, bytes.len(), "")?;
            stream.write_all(&bytes[..at])?;
            // Returns when the client closes the connection.
            stream.read(&mut [0; 1]).map(drop)
        }
        Answer::Lie(bytes, announced) => {
            head(stream, "200 OK", BYTES, announced, "")?;
            stream.write_all(&bytes)
        }
        Answer::CutAfter(bytes, at) => {
            head(stream, "200 OK", BYTES, bytes.len(), "")?;
            stream.write_all(&bytes[..at])
        }
        Answer::CutChunked(bytes, at) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{at:x}\r\n"
            )?;
            stream.write_all(&bytes[..at])?;
            write!(stream, "\r\n")
        }
        Answer::Chunked(bytes) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            )?;
            for piece in bytes.chunks(64 * 1024) {
                write!(stream, "{:x}\r\n", piece.len())?;
                stream.write_all(piece)?;
                write!(stream, "\r\n")?;
            }
            write!(stream, "0\r\n\r\n")
        }
        Answer::Refusal(status, bytes) => {
            head(stream, status, BYTES, bytes.len(), "")?;
            stream.write_all(&bytes)
        }
        Answer::Dated(status, date, text) => {
            let date = format!("date: {date}\r\n");
            head(stream, status, "application/xml", text.len(), &date)?;
            stream.write_all(text.as_bytes())
        }
        Answer::Status(status) => head(stream, status, "text/plain", 0, ""),
        Answer::Page(text) => {
            head(stream, "200 OK", "text/html; charset=utf-8", text.len(), "")?;
            stream.write_all(text.as_bytes())
        }
    }
}

const BYTES: &str = "application/octet-stream";

fn head(
    mut stream: &TcpStream,
    status: &str,
    kind: &str,
    length: usize,
    more: &str,
) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{more}connection: close\r\n\r\n"
    )
}

/// Reads a request up to the end of its headers; none if the client sent nothing.
fn requested(stream: &TcpStream) -> std::io::Result<Option<ServerRequest>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(None);
    };
    let Some(path) = first.split(' ').nth(1) else {
        return Ok(None);
    };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let from = headers.get("range").and_then(|range| {
        let from = range.strip_prefix("bytes=")?.strip_suffix('-')?;
        from.parse().ok()
    });
    Ok(Some(ServerRequest {
        path: path.to_owned(),
        range: from.zip(headers.remove("if-range")),
        authorization: headers.remove("authorization"),
    }))
}

/// A qcow2 header, followed by a pattern up to this length in bytes.
pub fn image(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; 112];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[7] = 3; // version
    bytes[23] = 16; // cluster bits
    bytes[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes()); // virtual size
    bytes[99] = 4; // refcount order
    bytes[103] = 104; // header length
    let pattern = (0_u32..).flat_map(u32::to_le_bytes);
    bytes.extend(pattern.take(length.saturating_sub(112)));
    bytes
}

/// The `imageChecksum` of these bytes, computed by `sha256sum`.
///
/// # Panics
/// When `sha256sum` cannot be run.
pub fn checksum(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum");
    let mut sum = sum
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sum.stdin.take().unwrap().write_all(bytes).unwrap();
    let sum_text = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    format!("sha256:{}", sum_text.split(' ').next().unwrap())
}
