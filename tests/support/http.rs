//! A minimal HTTP client for a Unix socket, for tests of the daemon's API.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// How long a read from the socket may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer to a request.
#[derive(Clone, Debug, Default)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the answer has this status.
    ///
    /// # Panics
    /// When it has another status.
    #[must_use]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.head, self.text());
        self
    }

    /// Asserts that the answer is a problem document with this code and a remedy.
    ///
    /// # Panics
    /// When it is not.
    pub fn is_problem(&self, code: &str) {
        let problem = "content-type: application/problem+json";
        assert!(
            self.head.contains(problem),
            "{}: {}",
            self.head,
            self.text()
        );
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], self.status, "{body}");
        assert!(!body["remedy"].as_str().unwrap().is_empty(), "{body}");
    }
}

/// Connects to the socket.
///
/// # Panics
/// When no process listens there.
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a GET request.
pub fn get(socket: &Path, path: &str) -> HttpAnswer {
    ask(socket, &format!("GET {path} HTTP/1.1\r\n"), b"")
}

/// Sends a POST request with this JSON.
pub fn post(socket: &Path, path: &str, body: &Value) -> HttpAnswer {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n");
    ask(socket, &head, body.as_bytes())
}

/// Sends a request with this request line, these headers and this body, and reads the whole answer.
///
/// # Panics
/// When there is no answer.
pub fn ask(socket: &Path, head: &str, body: &[u8]) -> HttpAnswer {
    let mut stream = connect(socket);
    let length = if head.contains("content-length") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!("{head}host: localhost\r\nconnection: close\r\n{length}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // The server may refuse the request before it has read all of it.
    let _ = stream.write_all(body);
    answer(stream)
}

/// Reads an answer to its end.
///
/// # Panics
/// When it is not an answer.
pub fn answer(stream: UnixStream) -> HttpAnswer {
    let mut lines = BufReader::new(stream);
    let head = head(&mut lines);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no answer: {head:?}"));
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        while let Some(chunk) = chunk(&mut lines) {
            body.extend(chunk);
        }
    } else {
        drop(lines.read_to_end(&mut body))
    }
    HttpAnswer { status, head, body }
}

/// Reads the status line and the headers of an answer, in lower case.
pub fn head(lines: &mut BufReader<UnixStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    head.to_lowercase()
}

/// Reads the next chunk of a chunked answer; none at its end.
pub fn chunk(lines: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut size = String::new();
    lines.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
    let mut bytes = vec![0; size.checked_add(2)?];
    lines.read_exact(&mut bytes).ok()?;
    bytes.truncate(size);
    (size > 0).then_some(bytes)
}
