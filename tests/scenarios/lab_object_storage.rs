//! Images from object storage, as configured in the settings of a host.

use jiff::{SignedDuration, Timestamp};
use vsiflow_tests::{Answer, Lab, Server, Vsiflow, server};

const LENGTH: usize = 700_000;
const SECRET: &str = "wJalrXUtnFEMI";
const NAME: &str = "t-s3.qcow2";

/// The settings of the lab's host, with that storage and a key for signing.
fn settings(lab: &Lab, server: &Server) -> String {
    let endpoint = server.url("");
    let plain = format!(
        "  USER: root\n  IMAGE_S3_ENDPOINT: \"{}\"\n  IMAGE_S3_ACCESS_KEY: AKIA\n  \
         IMAGE_ALLOW_INSECURE: \"true\"\n",
        endpoint.trim_end_matches('/')
    );
    let secret = format!("stringData:\n  IMAGE_S3_SECRET_KEY: {SECRET}\n");
    let host = lab.host().to_string();
    host.replacen("  USER: root\n", &plain, 1)
        .replacen("stringData:\n", &secret, 1)
}

/// A refusal by a service whose clock is ahead of this machine's by `ahead`.
fn skewed(ahead: SignedDuration) -> Answer {
    let date = (Timestamp::now() + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT");
    let body = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    Answer::Dated("403 Forbidden", date.to_string(), body)
}

fn left(lab: &Lab) -> Vec<String> {
    let mut volumes = lab.volumes("images");
    volumes.retain(|name| name.contains("t-s3"));
    volumes
}

#[test]
fn lab_a_clock_that_is_off_is_refused_with_by_how_much_and_leaves_nothing_until_it_is_set() {
    let Some(lab) = Lab::enter() else { return };
    let (vsiflow, server) = (Vsiflow::of_documents(), Server::new());
    let host = vsiflow.write("host.yaml", &settings(&lab, &server));
    let host = host.to_str().unwrap();
    let (path, url) = (format!("images/{NAME}"), format!("s3://images/{NAME}"));
    let upload = ["image", "upload", &url, "-f", host];
    for (ahead, side) in [
        (40, "behind the service's"),
        (-40, "ahead of the service's"),
    ] {
        server.answers(&path, skewed(SignedDuration::from_mins(ahead)));
        vsiflow
            .run(&upload)
            .exits(4)
            .says("VSI0303")
            .says("RequestTimeTooSkewed")
            .says(side)
            .says("set the clock")
            .keeps_quiet_about(SECRET);
        assert_eq!(left(&lab), [""; 0]);
    }
    server.answers(&path, Answer::Image(server::image(LENGTH)));
    vsiflow.run(&upload).exits(0).keeps_quiet_about(SECRET);
    assert!(left(&lab).contains(&NAME.to_owned()), "{:?}", left(&lab));
    vsiflow.run(&["image", "prune"]).exits(0);
    assert_eq!(left(&lab), [""; 0]);
}
