//! The serial console of a guest on a real host.

use vsiflow_tests::{Lab, TestConsole, Vsi, Vsiflow, lab::Deleted};

#[test]
fn lab_the_console_of_a_guest_is_opened_refused_taken_over_and_left() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-serial.qcow2"), Vsiflow::of_documents());
    let documents = format!(
        "{}{}",
        lab.host(),
        Vsi::named("t-serial").image(image.url())
    );
    let _gone = Deleted(&vsiflow, "t-serial");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let open = |more: &[&str]| {
        let words = [&["console", "t-serial"], more].concat();
        TestConsole::on_a_terminal(&vsiflow, &words)
    };

    let mut first = open(&[]);
    first.shows("HPL10001I");
    // The guest's terminal echoes its input.
    first.types("are-you-there\r");
    first.shows("are-you-there");
    vsiflow
        .run(&["console", "t-serial", "--stdin"])
        .exits(4)
        .says("VSI0711")
        .says("unix:");

    let daemon = vsiflow.serve(&[]);
    let mut second = open(&["--force"]);
    first.end();
    second.shows("HPL10001I");
    second.types("still-there\r");
    second.shows("still-there");
    second.types("\x1d");
    assert_eq!(second.end(), 0);
    daemon.terminate();
    daemon.end(60).exits(0);

    let history = vsiflow.run(&["history", "t-serial"]).exits(0);
    history
        .says("console_opened: by force")
        .says("console_closed");
    vsiflow.run(&["delete", "t-serial", "--wait"]).exits(0);
}
