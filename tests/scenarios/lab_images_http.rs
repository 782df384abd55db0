//! Images from servers that cut connections, stall, lie, forget and change, on a real host. The
//! host has the source's bytes, or an image that is not marked complete.

use std::process::Command;

use vsiflow_tests::{
    Answer, Lab, Running, Server, TestUpload,
    upload::{INTERVAL, MIB, position},
};

const SIZE: u64 = 48 * MIB;
const HALF: usize = 24 << 20;

/// An upload from a server.
struct ServedUpload {
    server: Server,
    upload: TestUpload,
    bytes: Vec<u8>,
}

impl ServedUpload {
    fn of(lab: &Lab, name: &str, answer: impl FnOnce(Vec<u8>) -> Answer) -> Self {
        let (server, upload) = (Server::new(), TestUpload::sized(lab, name, 3, SIZE));
        let bytes = upload.bytes();
        let url = server.answers(&upload.name, answer(bytes.clone()));
        let upload = upload.from(url);
        Self {
            server,
            upload,
            bytes,
        }
    }

    fn answers(&self, answer: Answer) {
        self.server.answers(&self.upload.name, answer);
    }

    /// Waits until the output contains `words`, and asserts that nothing is marked complete.
    #[track_caller]
    fn fails(&self, mut running: Running, words: &str) -> Running {
        assert!(running.reaches(words, 90), "it ended without `{words}`");
        assert!(!self.upload.is_marked());
        running
    }

    /// Repairs the server; the upload finishes automatically. Returns the offset from which it
    /// continued.
    #[track_caller]
    fn recovers(&self, running: Running) -> Option<u64> {
        self.answers(Answer::Ranged(self.bytes.clone(), TAG));
        let ran = running.end(90).exits(0);
        self.upload.is_whole();
        position(&ran.stderr)
    }
}

const TAG: &str = "\"one\"";

#[test]
fn lab_defect_12_a_server_that_cuts_is_asked_for_the_rest() {
    let Some(lab) = Lab::enter() else { return };
    // The server has an ETag and serves ranges, so an upload can continue.
    let served = ServedUpload::of(&lab, "lab-http-cut", |bytes| Answer::Ranged(bytes, TAG));
    let running = served.upload.start_at("24Mi");
    served.upload.reaches(SIZE / 4);
    // From now on the server answers 503.
    served.answers(Answer::Status("503 Service Unavailable"));
    running.kill();
    let received = served.upload.settled();
    let endless = served.upload.start_at("1Gi");
    let endless = served.fails(endless, "VSI0301");
    let from = served.recovers(endless).expect("sent from the beginning");
    assert!(
        received.saturating_sub(from) <= INTERVAL,
        "{received} there, from {from}"
    );
}

#[test]
fn lab_a_body_cut_in_its_middle_is_never_whole() {
    let Some(lab) = Lab::enter() else { return };
    let served = ServedUpload::of(&lab, "lab-http-short", |bytes| {
        Answer::CutAfter(bytes, HALF)
    });
    let checksum = checksum(&served);
    let upload = served.upload.with(&["--checksum", &checksum]);
    let served = ServedUpload { upload, ..served };
    let running = served.fails(served.upload.start_at("1Gi"), "VSI0301");
    served.recovers(running);
}

#[test]
fn lab_defect_12_a_server_that_falls_silent_is_left_after_half_a_minute() {
    let Some(lab) = Lab::enter() else { return };
    let served = ServedUpload::of(&lab, "lab-http-stall", |bytes| {
        Answer::StallAfter(bytes, HALF)
    });
    let checksum = checksum(&served);
    let upload = served.upload.with(&["--checksum", &checksum]);
    let served = ServedUpload { upload, ..served };
    let running = served.fails(served.upload.start_at("1Gi"), "sent nothing");
    served.recovers(running);
}

#[test]
fn lab_a_length_that_is_a_lie_is_found_out() {
    let Some(lab) = Lab::enter() else { return };
    let half = |bytes| Answer::Lie(bytes, HALF);
    let served = ServedUpload::of(&lab, "lab-http-lie", half);
    let checksum = checksum(&served);
    let upload = served.upload.with(&["--checksum", &checksum]);
    let served = ServedUpload { upload, ..served };
    // Half of the image, with a length that matches: only the checksum detects it.
    served.upload.run().exits(4).says("VSI0305");
    assert!(!served.upload.is_marked());
    let longer = Answer::Lie(served.bytes.clone(), served.bytes.len() + 512);
    served.answers(longer);
    let running = served.fails(served.upload.start_at("1Gi"), "VSI0301");
    served.recovers(running);
}

#[test]
fn lab_a_server_without_ranges_is_read_again_and_little_is_sent_twice() {
    let Some(lab) = Lab::enter() else { return };
    let served = ServedUpload::of(&lab, "lab-http-plain", |bytes| Answer::Tagged(bytes, TAG));
    let running = served.upload.start_at("24Mi");
    served.upload.reaches(SIZE / 2);
    running.kill();
    assert!(served.upload.goes_on() <= INTERVAL);
}

#[test]
fn lab_a_file_that_changes_at_its_server_costs_the_part_and_history_says_so() {
    let Some(lab) = Lab::enter() else { return };
    let served = ServedUpload::of(&lab, "lab-http-change", |bytes| Answer::Ranged(bytes, TAG));
    let running = served.upload.start_at("24Mi");
    served.upload.reaches(SIZE / 2);
    running.kill();
    let mut other = served.bytes.clone();
    other[HALF] ^= 1;
    std::fs::write(&served.upload.file, &other).unwrap();
    served.answers(Answer::Ranged(other, "\"two\""));
    served
        .upload
        .run()
        .exits(0)
        .says("VSI0309")
        .says("discarded");
    served.upload.is_whole();
}

#[test]
fn lab_defect_11_no_image_and_a_login_page_make_no_volume() {
    let Some(lab) = Lab::enter() else { return };
    let served = ServedUpload::of(&lab, "lab-http-none", |_| Answer::Status("404 Not Found"));
    served.upload.run().exits(4).says("VSI0302");
    served.answers(Answer::Page("<title>Please log in</title>"));
    served.upload.run().exits(4).says("VSI0304").says("login");
    assert!(!served.upload.volume().exists() && !served.upload.is_marked());
    served.server.guards(&served.upload.name, "Bearer T0KEN");
    served.answers(Answer::Ranged(served.bytes.clone(), TAG));
    served.upload.run().exits(4).says("VSI0303");
    let server = served
        .server
        .url("")
        .replace("http://", "")
        .replace('/', "");
    let keys = [
        ("IMAGE_SERVER", server.as_str()),
        ("IMAGE_TOKEN", "T0KEN"),
        ("IMAGE_ALLOW_INSECURE", "true"),
    ];
    let upload = served.upload.with_keys(&keys);
    let ran = upload.run().exits(0);
    ran.keeps_quiet_about("T0KEN");
    upload.is_whole();
}

#[test]
fn lab_defect_12_a_wrong_checksum_is_never_whole_until_the_source_is_right() {
    let Some(lab) = Lab::enter() else { return };
    let wrong = |mut bytes: Vec<u8>| {
        bytes[HALF] ^= 1;
        Answer::Ranged(bytes, "\"wrong\"")
    };
    let served = ServedUpload::of(&lab, "lab-http-checksum", wrong);
    let checksum = checksum(&served);
    let upload = served.upload.with(&["--checksum", &checksum]);
    upload.run().exits(4).says("VSI0305");
    assert!(!upload.is_marked());
    served
        .server
        .answers(&upload.name, Answer::Ranged(served.bytes, TAG));
    upload.run().exits(0);
    upload.is_whole();
}

#[test]
fn lab_a_pool_that_gets_full_blocks_until_there_is_room() {
    let Some(lab) = Lab::enter() else { return };
    let pool = lab.pool("lab-http-full", "32M", true);
    let upload =
        TestUpload::sized(&lab, "lab-http-full", 4, SIZE).into_pool(pool.name(), pool.folder());
    // The pool has too little room for the announced length: nothing is sent.
    upload.run().exits(4).says("VSI0203");
    assert!(!upload.volume().exists());
    // Without a length, that is only noticed once the pool is full.
    let packed_upload =
        TestUpload::sized(&lab, "lab-http-packed", 4, SIZE).into_pool(pool.name(), pool.folder());
    let mut gzip = Command::new("gzip");
    assert!(
        gzip.args(["-1", "-k"])
            .arg(&packed_upload.file)
            .status()
            .unwrap()
            .success()
    );
    let packed = format!("{}.gz", packed_upload.file.display());
    let packed_upload = packed_upload.from(packed);
    packed_upload.run().exits(4).says("VSI0311");
    assert!(!packed_upload.is_marked());
    pool.resize("128M");
    packed_upload.run().exits(0);
    packed_upload.is_whole();
}

fn checksum(served: &ServedUpload) -> String {
    let sum = Command::new("sha256sum").arg(&served.upload.file).output();
    format!(
        "sha256:{}",
        &String::from_utf8(sum.unwrap().stdout).unwrap()[..64]
    )
}
