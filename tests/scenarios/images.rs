//! Image servers that fail: no image, a broken one, or another kind of file. A partial image is never used,
//! and once the server is repaired the VSI runs.

use vsiflow_tests::{
    Answer, Server, Vsi, Vsiflow,
    history::{self, Failure},
    server, until,
};

const LENGTH: usize = 700_000;

/// A VSI, and the server of its image.
struct ImageStory {
    vsiflow: Vsiflow,
    server: Server,
}

impl ImageStory {
    fn begin(answer: Answer) -> Self {
        let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
        server.answers("guest.qcow2", answer);
        Self { vsiflow, server }
    }

    fn vsi(&self) -> Vsi {
        Vsi::named("web").image(self.server.url("guest.qcow2"))
    }

    /// Applies the VSI, and asserts that it fails with this code and exit code, and that no image is ready.
    #[track_caller]
    fn ends(&self, vsi: Vsi, code: &str, exit: i32) -> Failure {
        let patience = ["--wait", "--timeout", if exit == 5 { "2s" } else { "60s" }];
        let ran = self
            .vsiflow
            .apply(vsi, &patience)
            .exits(exit)
            .says(&format!("error[{code}]"));
        assert!(!ran.stdout.contains("is Running"), "{ran:#?}");
        let phases = self.vsiflow.image_phases();
        assert!(phases.iter().all(|phase| phase != "Ready"), "{phases:?}");
        assert!(self.vsiflow.sim().domains().is_empty());
        let failure = history::failure(&self.vsiflow.history("web"), code);
        let url = self.server.url("guest.qcow2");
        assert!(failure.object.contains(&url), "{failure:?}");
        assert!(!failure.remedy.is_empty(), "{failure:?}");
        failure
    }

    /// Repairs the server, and asserts that the VSI runs after a retry.
    #[track_caller]
    fn recovers(&self) {
        let image = server::image(LENGTH);
        self.server
            .answers("guest.qcow2", Answer::Image(image.clone()));
        let patience = ["retry", "web", "--wait", "--timeout", "60s"];
        self.vsiflow.run(&patience).exits(0);
        assert_eq!(self.vsiflow.phase("web"), "Running");
        assert_eq!(self.vsiflow.image_phases(), ["Ready"]);
        self.vsiflow.sim().assert_one_vsi("default/web");
        assert!(
            self.vsiflow.sim().content("guest.qcow2") == image,
            "another image"
        );
    }
}

/// Asserts that this answer of the server causes this failure, and that the VSI recovers.
#[track_caller]
fn passes(answer: Answer, code: &str, class: &str, exit: i32) {
    let story = ImageStory::begin(answer);
    let failure = story.ends(story.vsi(), code, exit);
    assert_eq!(failure.class, class, "{failure:?}");
    story.recovers();
}

#[test]
fn defect_11_what_comes_with_a_404_never_becomes_the_image() {
    let page = Answer::Refusal("404 Not Found", server::image(LENGTH));
    passes(page, "VSI0302", "recheck", 4);
}

#[test]
fn defect_11_an_image_whose_length_nobody_says_comes_whole() {
    let image = server::image(LENGTH);
    let story = ImageStory::begin(Answer::Chunked(image.clone()));
    story.vsiflow.apply(story.vsi(), &["--wait"]).exits(0);
    assert_eq!(story.vsiflow.image_phases(), ["Ready"]);
    assert!(story.vsiflow.sim().content("guest.qcow2") == image);
}

#[test]
fn an_image_that_is_not_given_away() {
    passes(Answer::Status("403 Forbidden"), "VSI0303", "recheck", 4);
}

#[test]
fn defect_17_a_server_in_trouble_is_asked_again_at_once() {
    let story = ImageStory::begin(Answer::Status("500 Internal Server Error"));
    let failure = story.ends(story.vsi(), "VSI0301", 5);
    assert_eq!(failure.class, "transient");
    let requests = story.server.requests("guest.qcow2");
    assert!(requests > 1, "asked {requests} times");
    story.recovers();
}

#[test]
fn an_empty_image() {
    passes(Answer::Image(Vec::new()), "VSI0304", "blocked", 4);
}

#[test]
fn an_image_cut_in_the_middle() {
    let cut = Answer::CutAfter(server::image(LENGTH), LENGTH / 2);
    passes(cut, "VSI0301", "transient", 5);
}

#[test]
fn an_image_of_unknown_length_cut_in_the_middle() {
    let cut = Answer::CutChunked(server::image(LENGTH), LENGTH / 2);
    passes(cut, "VSI0301", "transient", 5);
}

#[test]
fn a_file_that_is_no_qcow2() {
    passes(Answer::Image(vec![7; LENGTH]), "VSI0306", "blocked", 4);
}

#[test]
fn a_login_page_instead_of_an_image() {
    passes(
        Answer::Page("<title>Please log in</title>"),
        "VSI0304",
        "blocked",
        4,
    );
}

#[test]
fn defect_12_an_image_of_another_checksum_is_refused() {
    let story = ImageStory::begin(Answer::Image(server::image(LENGTH - 1)));
    let vsi = story.vsi().checksum(CHECKSUM);
    let failure = story.ends(vsi, "VSI0305", 4);
    assert_eq!(failure.class, "blocked");
    story.recovers();
}

/// The checksum of `server::image(LENGTH)`, computed by `sha256sum`.
const CHECKSUM: &str = "sha256:39ed552269d9ab8f36c94c9bab0f9bfbf12b400a9381a22285e0a4b749e09fa5";

#[test]
fn one_upload_serves_all_who_need_it() {
    let story = ImageStory::begin(Answer::Image(server::image(LENGTH)));
    let url = story.server.url("guest.qcow2");
    let all: String = ["one", "two", "three"]
        .map(|name| format!("{}---\n", Vsi::named(name).image(&url)))
        .concat();
    story.vsiflow.apply(all, &["--wait"]).exits(0);
    let uploads = story.vsiflow.history("one");
    let uploads = uploads
        .iter()
        .filter(|e| e.step() == "upload_chunks" && e.kind() == "step_started");
    assert_eq!(uploads.count(), 1);
    assert_eq!(story.vsiflow.image_phases(), ["Ready"]);
}

#[test]
fn whoever_waits_for_an_image_sees_how_fast_it_comes_and_how_long_it_takes() {
    let story = ImageStory::begin(Answer::Slowly(server::image(20 * LENGTH), LENGTH));
    let running = story
        .vsiflow
        .start_apply(story.vsi(), &["--wait", "--timeout", "60s"]);
    let seen = until("a rate", 60, || {
        let ran = story.vsiflow.run(&["get", "vsi", "-o", "json"]);
        let upload = ran.json()["items"][0]["status"]["progress"]["upload"].clone();
        upload["secondsLeft"].is_u64().then_some(upload)
    });
    let number = |key: &str| {
        seen[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {seen}"))
    };
    assert_eq!(number("totalBytes"), 20 * LENGTH as u64, "{seen}");
    assert!((1..20 * LENGTH as u64).contains(&number("bytes")), "{seen}");
    let rate = LENGTH as u64;
    assert!(
        (rate / 10..rate * 3).contains(&number("bytesPerSecond")),
        "{seen}"
    );
    assert_eq!(seen["activity"], "uploading");
    let described = story.vsiflow.run(&["describe", "web"]).exits(0);
    described
        .says("steps; uploading")
        .says("MiB/s")
        .says("s left");
    let listed = story.vsiflow.run(&["image", "list"]).exits(0);
    listed.says("Uploading").says("s left");
    running.kill();
}

#[test]
fn defect_12_a_password_that_changed_is_taken_from_the_document_applied_again() {
    let story = ImageStory::begin(Answer::Image(server::image(LENGTH)));
    story.server.guards("guest.qcow2", "Basic bWU6bmV3");
    let with = |password: &str| {
        let url = story.server.url("guest.qcow2");
        let credentials = format!("://me:{password}@");
        Vsi::named("web").image(url.replacen("://", &credentials, 1))
    };
    let patience = ["--wait", "--timeout", "60s"];
    let refused = story.vsiflow.apply(with("old"), &patience).exits(4);
    refused.says("VSI0303").keeps_quiet_about("old@");
    story.vsiflow.apply(with("new"), &patience).exits(0);
    assert_eq!(story.vsiflow.phase("web"), "Running");
    story
        .vsiflow
        .apply(with("new"), &[])
        .exits(0)
        .says("unchanged");
}
