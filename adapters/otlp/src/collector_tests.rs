use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::spans::{AttributeValue, Span, Status};

fn spans() -> Vec<Span> {
    vec![Span {
        trace: [7; 16],
        id: [8; 8],
        parent: Some([9; 8]),
        name: "define_domain".to_owned(),
        began: 1_000,
        ended: 1_250,
        status: Status::Error("VSI0101: away".to_owned()),
        attributes: vec![("vsiflow.attempt", AttributeValue::Number(2))],
    }]
}

fn access() -> CollectorAccess {
    CollectorAccess::default()
        .with_headers("api-key=hush%2C")
        .unwrap()
}

/// Sends a request to a fake collector with this answer. Returns the result and the request.
async fn sent(answer: Vec<u8>) -> (Result<u64, OtlpError>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut requests = Vec::new();
        let (head, length) = loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            requests.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&requests).to_lowercase();
            let Some(head) = text.find("\r\n\r\n") else {
                continue;
            };
            let length = text.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap();
            break (head + 4, length.parse::<usize>().unwrap());
        };
        while requests.len() < head + length {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            requests.extend_from_slice(&piece[..read]);
        }
        stream.write_all(&answer).await.unwrap();
        drop(stream);
        requests
    });
    let endpoint = format!("http://{address}").parse().unwrap();
    let collector = Collector::new(endpoint, "journal", access()).unwrap();
    let came = collector.send(&spans()).await;
    (came, served.await.unwrap())
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_collector_gets_protobuf_at_the_path_of_traces() {
    let (came, requests) = sent(answer("200 OK", "", b"")).await;
    assert_eq!(came, Ok(0));
    let at = requests
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&requests[..at]).to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("\r\napi-key: hush,\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    let request = ExportTraceServiceRequest::decode(&requests[at + 4..]).unwrap();
    insta::assert_debug_snapshot!(request);
}

#[tokio::test]
async fn each_answer_is_taken_as_the_protocol_has_it() {
    let part = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "too old".to_owned(),
        }),
    };
    let (came, _) = sent(answer("200 OK", "", &part.encode_to_vec())).await;
    assert_eq!(came, Ok(1));
    let (unread, _) = sent(answer("200 OK", "", b"\xff\xff nonsense")).await;
    assert_eq!(unread, Ok(0));
    let busy = answer("503 Service Unavailable", "retry-after: 99999\r\n", b"busy");
    let Err(OtlpError::Later { after, why, .. }) = sent(busy).await.0 else {
        panic!("it may be asked again")
    };
    assert_eq!(after, Some(MAX_WAIT));
    assert_eq!(why, "503 Service Unavailable busy");
    let wrong = [b"\x1b[2J".repeat(100_000), b"end".to_vec()].concat();
    let Err(OtlpError::Refused { why: refusal, .. }) =
        sent(answer("400 Bad Request", "", &wrong)).await.0
    else {
        panic!("it is refused for good")
    };
    assert!(
        refusal.len() < 300 && !refusal.contains('\x1b'),
        "{refusal}"
    );
    let moved = answer(
        "307 Temporary Redirect",
        "location: http://127.0.0.1:1/\r\n",
        b"",
    );
    assert!(matches!(
        sent(moved).await.0,
        Err(OtlpError::Refused { .. })
    ));
    assert!(matches!(
        sent(b"nonsense\r\n\r\n".to_vec()).await.0,
        Err(OtlpError::Later { .. })
    ));
}

#[tokio::test]
async fn one_that_is_away_may_be_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = format!("http://{address}").parse().unwrap();
    let collector = Collector::new(endpoint, "journal", access()).unwrap();
    let came = collector.send(&spans()).await;
    assert!(matches!(came, Err(OtlpError::Later { .. })), "{came:?}");
}

#[test]
fn an_address_means_the_path_of_traces_and_has_no_password() {
    let shown = |text: &str| {
        text.parse::<CollectorAddress>()
            .map(|endpoint| endpoint.to_string())
    };
    assert_eq!(shown("http://c:4318").unwrap(), "http://c:4318/v1/traces");
    assert_eq!(
        shown("https://c/otlp/v1/traces").unwrap(),
        "https://c/otlp/v1/traces"
    );
    for wrong in [
        "c:4318",
        "grpc://c:4317",
        "http://user:secret@c",
        "",
        "http://",
    ] {
        assert!(shown(wrong).is_err(), "{wrong}");
    }
}
