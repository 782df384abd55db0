//! Asks a socket by HTTP, as any program would.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
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
    /// When it is none.
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless that is the status.
    ///
    /// # Panics
    /// When it is another one.
    #[must_use]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.head, self.text());
        self
    }

    /// Fails unless it is a problem with that code, and says what to do.
    ///
    /// # Panics
    /// When it is something else.
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

/// A connection.
///
/// # Panics
/// When nobody listens there.
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads that.
pub fn get(socket: &Path, path: &str) -> HttpAnswer {
    ask(socket, &format!("GET {path} HTTP/1.1\r\n"), b"")
}

/// Sends that there.
pub fn post(socket: &Path, path: &str, body: &Value) -> HttpAnswer {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n");
    ask(socket, &head, body.as_bytes())
}

/// Begins with this head, and takes the whole answer.
///
/// # Panics
/// When there is none.
pub fn ask(socket: &Path, head: &str, body: &[u8]) -> HttpAnswer {
    let mut stream = connect(socket);
    let length = if head.contains("content-length") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!("{head}host: localhost\r\nconnection: close\r\n{length}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // It may be refused before it is read to its end.
    let _ = stream.write_all(body);
    answer(stream)
}

/// Reads an answer to its end.
///
/// # Panics
/// When it is none.
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

/// The head of an answer, in lower case.
pub fn head(lines: &mut BufReader<UnixStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    head.to_lowercase()
}

/// The next piece of an answer that comes bit by bit; none at its end.
pub fn chunk(lines: &mut BufReader<UnixStream>) -> Option<Vec<u8>> {
    let mut size = String::new();
    lines.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
    let mut bytes = vec![0; size.checked_add(2)?];
    lines.read_exact(&mut bytes).ok()?;
    bytes.truncate(size);
    (size > 0).then_some(bytes)
}
