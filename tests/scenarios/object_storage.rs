//! Images from object storage, from the command line on.

use jiff::{SignedDuration, Timestamp};
use vsiflow_tests::{Answer, Server, Vsiflow, server};

const LENGTH: usize = 700_000;
const SECRET: &str = "wJalrXUtnFEMI";

/// A server whose image is in that storage, signed with a key of the host's settings.
fn documents(server: &Server) -> String {
    let endpoint = server.url("");
    let endpoint = endpoint.trim_end_matches('/');
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  labels: {{host: a}}\nstringData:\n  \
         HOSTNAME: sim:a\n  IMAGE_S3_ENDPOINT: {endpoint}\n  IMAGE_S3_ACCESS_KEY: AKIA\n  \
         IMAGE_S3_SECRET_KEY: {SECRET}\n  IMAGE_ALLOW_INSECURE: \"true\"\n---\napiVersion: vsiflow.io/v1\n\
         kind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  imageURL: s3://images/guest.qcow2\n  \
         guest: {{type: none}}\n  targetSelector: {{matchLabels: {{host: a}}}}\n"
    )
}

/// A refusal by a service whose clock is so far ahead of this machine's.
fn skewed(ahead: SignedDuration) -> Answer {
    let date = (Timestamp::now() + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT");
    let body = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    Answer::Dated("403 Forbidden", date.to_string(), body)
}

#[test]
fn a_clock_that_is_off_is_refused_with_by_how_much_and_leaves_nothing_until_it_is_set() {
    let (vsiflow, server) = (Vsiflow::of_documents(), Server::new());
    for (ahead, side) in [
        (40, "behind the service's"),
        (-40, "ahead of the service's"),
    ] {
        let answer = skewed(SignedDuration::from_mins(ahead));
        server.answers("images/guest.qcow2", answer);
        let refused = vsiflow.apply(documents(&server), &["--wait", "--timeout", "60s"]);
        let refused = refused
            .exits(4)
            .says("VSI0303")
            .says("RequestTimeTooSkewed")
            .says("minutes")
            .says(side)
            .says("set the clock");
        let all = format!("{}{}", refused.stdout, refused.stderr);
        assert!(!all.contains(SECRET), "{all}");
        let sim = vsiflow.sim_of("a");
        assert!(sim.domains().is_empty());
        assert!(sim.volumes().is_empty(), "{:?}", sim.volumes());
        vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    }
    let image = server::image(LENGTH);
    server.answers("images/guest.qcow2", Answer::Image(image.clone()));
    vsiflow.apply(documents(&server), &["--wait"]).exits(0);
    assert!(vsiflow.sim_of("a").content("guest.qcow2") == image);
}
