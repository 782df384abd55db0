//! The HTTP source against a server whose certificate only its own authority vouches for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use vsiflow_image::{HttpOptions, HttpSource};
use vsiflow_steps::ports::{ImageSource, SourceErrorKind};

/// OpenSSL's own server, for the files of a folder. It ends when this is dropped.
struct Server {
    child: Child,
    port: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn openssl(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split(' '));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn serve(folder: &Path) -> Server {
    serve_as(folder, "-WWW")
}

/// With `-HTTP` the files are whole answers.
fn serve_as(folder: &Path, how: &str) -> Server {
    let make = |arguments: &str| {
        let made = openssl(folder, arguments).stdout(Stdio::null()).status();
        assert!(made.unwrap().success(), "{arguments}");
    };
    make(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    make(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=images -keyout key.pem -out request.pem",
    );
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    make(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
    );
    let mut server = openssl(
        folder,
        &format!("s_server -accept 127.0.0.1:0 {how} -cert cert.pem -key key.pem"),
    );
    let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.strip_prefix("ACCEPT ")?.rsplit_once(':')?;
        Some(port.to_owned())
    });
    // What it says later must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Server {
        child,
        port: port.expect("no port"),
    }
}

#[tokio::test]
async fn a_server_is_trusted_once_its_authority_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("image"), "some bytes").unwrap();
    let server = serve(folder.path());
    let url = format!("https://127.0.0.1:{}/image", server.port);
    let with = |authorities| {
        HttpSource::new(&HttpOptions {
            authorities,
            ..HttpOptions::default()
        })
    };
    let error = with(None).unwrap().probe(&url).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Untrusted, "{error}");
    assert!(error.message.contains("IMAGE_CA"), "{error}");
    let authority = std::fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    let mut stream = with(Some(authority)).unwrap().open(&url).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "some bytes");
    let broken = "-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----\n";
    assert!(with(Some(broken.to_owned())).is_err());
}

/// A server without TLS that answers each request with the same few bytes.
fn plain() -> u16 {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsome";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[tokio::test]
async fn a_redirect_leads_out_of_https_only_where_nothing_can_be_changed_by_that() {
    let folder = tempfile::tempdir().unwrap();
    let away = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://localhost:{0}/image\r\nContent-Length: 0\r\n\r\n",
        plain()
    );
    std::fs::write(folder.path().join("away"), away.as_bytes()).unwrap();
    let same = away.replace("localhost", "127.0.0.1");
    std::fs::write(folder.path().join("same"), same).unwrap();
    let server = serve_as(folder.path(), "-HTTP");
    let authorities = std::fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    let probe = async |path: &str, checked, insecure| {
        let options = HttpOptions {
            authorities: Some(authorities.clone()),
            checked,
            insecure,
            ..HttpOptions::default()
        };
        let url = format!("https://127.0.0.1:{}/{path}", server.port);
        let probed = HttpSource::new(&options).unwrap().probe(&url).await;
        probed.map(drop).map_err(|error| error.kind)
    };
    let refused = Err(SourceErrorKind::Refused);
    assert_eq!(probe("away", false, false).await, refused);
    assert_eq!(probe("away", true, false).await, Ok(()));
    assert_eq!(probe("away", false, true).await, Ok(()));
    // It would take along what is shown to this server.
    assert_eq!(probe("same", true, false).await, refused);
}
