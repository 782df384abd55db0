use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

use super::*;

/// Sends a command to a fake server with this answer. Returns the lines and the result.
async fn ask(answer: &'static [u8]) -> (Vec<CommandLine>, io::Result<ClientAnswer>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer).await;
    });
    let mut lines = Vec::new();
    let take = |line| {
        lines.push(line);
        Ok(())
    };
    let answered = run(
        &DaemonAddress::Socket(socket),
        &CommandRequest::default(),
        take,
    )
    .await;
    answering.await.unwrap();
    (lines, answered)
}

fn out(text: &str) -> CommandLine {
    CommandLine::Stdout(text.to_owned())
}

#[tokio::test]
async fn lines_come_in_their_order_and_the_last_one_is_the_exit_code() {
    let (lines, answer) = ask(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"stdout\":\"a\"}\n{\"stderr\":\"b\"}\n\
          {\"stdout\":\"c\"}\n{\"exit\":4}\n",
    )
    .await;
    assert_eq!(
        lines,
        [out("a"), CommandLine::Stderr("b".to_owned()), out("c")]
    );
    assert_eq!(answer.unwrap(), ClientAnswer::Done(4));
}

#[tokio::test]
async fn an_answer_without_an_exit_code_was_cut_off() {
    let (lines, answer) =
        ask(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"stdout\":\"a\"}\n{\"exi").await;
    assert_eq!(lines, [out("a")]);
    assert!(answer.is_err());
}

#[tokio::test]
async fn what_is_no_line_and_what_is_no_answer_are_errors() {
    for hostile in [
        &b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"exit\":1000}\n"[..],
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nnothing\n",
        b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno",
        b"\x03\0\0\0\x01\0",
        b"",
    ] {
        let (_, answer) = ask(hostile).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_not_held() {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice();
    let endless: &'static [u8] = Vec::leak([head, &vec![b'a'; 2 * MAX_LINE_LEN]].concat());
    let (_, answer) = ask(endless).await;
    assert!(answer.unwrap_err().to_string().contains("too long"));
}

#[tokio::test]
async fn a_refusal_is_handed_on_as_it_is() {
    let (_, answer) = ask(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 54\r\n\r\n\
          {\"status\":403,\"code\":\"VSI0020\",\"detail\":\"a\",\"new\":1}  ")
    .await;
    let ClientAnswer::Refused(problem) = answer.unwrap() else {
        panic!("it is not refused");
    };
    assert_eq!((problem.code.as_str(), problem.status), ("VSI0020", 403));
}

#[test]
fn bytes_that_are_no_text_go_encoded() {
    assert_eq!(CommandLine::output(false, b"a"), out("a"));
    let encoded = CommandLine::output(true, b"\xff");
    assert_eq!(encoded, CommandLine::StderrBase64("/w==".to_owned()));
}
