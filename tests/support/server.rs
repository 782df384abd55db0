//! A small web server on this machine, for images that come whole, broken or not at all.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What the server answers to a path.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This image, whole.
    Image(Vec<u8>),
    /// Less of this image than was announced.
    CutAfter(Vec<u8>, usize),
    /// The same without an announcement: the last piece of a chunked answer is missing.
    CutChunked(Vec<u8>, usize),
    /// This status and nothing else.
    Status(&'static str),
    /// A web page.
    Page(&'static str),
}

#[derive(Default)]
struct Shared {
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

fn answer(mut stream: &TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let Some(path) = requested(stream)? else {
        return Ok(());
    };
    let known = {
        let mut shared = shared.lock().unwrap();
        *shared.requests.entry(path.clone()).or_default() += 1;
        shared.answers.get(&path).cloned()
    };
    match known.unwrap_or(Answer::Status("404 Not Found")) {
        Answer::Image(bytes) => {
            head(stream, "200 OK", "application/octet-stream", bytes.len())?;
            stream.write_all(&bytes)?;
        }
        Answer::CutAfter(bytes, at) => {
            head(stream, "200 OK", "application/octet-stream", bytes.len())?;
            stream.write_all(&bytes[..at])?;
        }
        Answer::CutChunked(bytes, at) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{at:x}\r\n"
            )?;
            stream.write_all(&bytes[..at])?;
            write!(stream, "\r\n")?;
        }
        Answer::Status(status) => head(stream, status, "text/plain", 0)?,
        Answer::Page(text) => {
            head(stream, "200 OK", "text/html; charset=utf-8", text.len())?;
            stream.write_all(text.as_bytes())?;
        }
    }
    stream.shutdown(Shutdown::Write)
}

fn head(mut stream: &TcpStream, status: &str, kind: &str, length: usize) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

/// The path of a request, read to its end.
fn requested(stream: &TcpStream) -> std::io::Result<Option<String>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next() else {
        return Ok(None);
    };
    let path = first?.split(' ').nth(1).map(str::to_owned);
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(path)
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
