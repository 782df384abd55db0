//! A small web server on this machine, for images that come whole, broken or not at all.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What the server answers to a path.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This image, whole.
    Image(Vec<u8>),
    /// The same with a strong ETag, and from any byte on where it is asked for.
    Ranged(Vec<u8>, &'static str),
    /// The same with a strong ETag, and always from its beginning.
    Tagged(Vec<u8>, &'static str),
    /// This image with a strong ETag, so many bytes of it a second.
    Slowly(Vec<u8>, usize),
    /// So many bytes of this image, and then nothing, for as long as anybody waits.
    StallAfter(Vec<u8>, usize),
    /// This image, announced as so long.
    Lie(Vec<u8>, usize),
    /// Less of this image than was announced.
    CutAfter(Vec<u8>, usize),
    /// The same without an announcement: the last piece of a chunked answer is missing.
    CutChunked(Vec<u8>, usize),
    /// This image without an announcement of its length, in pieces.
    Chunked(Vec<u8>),
    /// This status and nothing else.
    Status(&'static str),
    /// This status, and bytes that an image might begin with.
    Refusal(&'static str, Vec<u8>),
    /// This status with that date, and a text.
    Dated(&'static str, String, &'static str),
    /// A web page.
    Page(&'static str),
}

/// What somebody asked for.
struct Request {
    path: String,
    /// The byte to begin at, and the tag under which.
    range: Option<(usize, String)>,
    /// What proves who asks.
    authorization: Option<String>,
}

#[derive(Default)]
struct Shared {
    /// Files that are given only to who shows this.
    guarded: BTreeMap<String, String>,
    answers: BTreeMap<String, Answer>,
    requests: BTreeMap<String, usize>,
    ended: bool,
}

/// A web server. It ends when this is dropped.
pub struct Server {
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// A server that knows no path yet.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Mutex<Shared>>::default();
        let served = shared.clone();
        std::thread::spawn(move || serve(&listener, &served));
        Self { port, shared }
    }

    /// The address of a file.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// From now on a file is answered so.
    pub fn answers(&self, name: &str, answer: Answer) -> String {
        let mut shared = self.shared.lock().unwrap();
        shared.answers.insert(format!("/{name}"), answer);
        self.url(name)
    }

    /// A file is given only to who sends this `Authorization`.
    pub fn guards(&self, name: &str, authorization: &str) {
        let mut shared = self.shared.lock().unwrap();
        let guard = authorization.to_owned();
        shared.guarded.insert(format!("/{name}"), guard);
    }

    /// How often a file was asked for.
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
        // Wakes the server so that it sees the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Mutex<Shared>>) {
    for stream in listener.incoming() {
        if shared.lock().unwrap().ended {
            return;
        }
        let (Ok(stream), shared) = (stream, shared.clone()) else {
            continue;
        };
        // A client that hangs up early is no concern of the server's.
        std::thread::spawn(move || answer(&stream, &shared).unwrap_or_default());
    }
}

fn answer(stream: &TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let Some(request) = requested(stream)? else {
        return Ok(());
    };
    let known = {
        let mut shared = shared.lock().unwrap();
        *shared.requests.entry(request.path.clone()).or_default() += 1;
        let guard = shared.guarded.get(&request.path);
        if guard.is_none_or(|guard| request.authorization.as_ref() == Some(guard)) {
            let path = request.path.as_str();
            // A signature is in the query.
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

fn give(mut stream: &TcpStream, answer: Answer, request: &Request) -> std::io::Result<()> {
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
            // As long as the other side waits.
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

/// A request, read to the end of its head.
fn requested(stream: &TcpStream) -> std::io::Result<Option<Request>> {
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
    Ok(Some(Request {
        path: path.to_owned(),
        range: from.zip(headers.remove("if-range")),
        authorization: headers.remove("authorization"),
    }))
}

/// The beginning of a qcow2 file and so much after it that it has this length in bytes.
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

/// These bytes' `imageChecksum`, as `sha256sum` tells it.
///
/// # Panics
/// When that cannot be run.
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
