use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};
use vsiflow_workflows::fleet::{
    FleetOverview, HostOverview, StepOverview, UploadOverview, VsiOverview,
};

use super::*;
use crate::{KeyPress, WorkerAnswer};

const GIB: u64 = 1 << 30;

fn fleet() -> FleetOverview {
    let vsi = |name: &str, phase: &str| VsiOverview {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        phase: phase.to_owned(),
        ready: "False".to_owned(),
        host: "root@lpar1:22".to_owned(),
        age: 61,
        ..VsiOverview::default()
    };
    FleetOverview {
        end: 7,
        counted_from: Some(0),
        steps_ended: 3,
        vsis: vec![
            VsiOverview {
                step: Some("clone_boot_disk".to_owned()),
                progress: Some((3, 11)),
                ..vsi("db", "Provisioning")
            },
            VsiOverview {
                ready: "True".to_owned(),
                address: Some("192.168.122.9".to_owned()),
                ..vsi("web", "Running")
            },
            vsi("wb\x1b[2J\u{202e}evil", "Blocked"),
        ],
        steps: vec![StepOverview {
            kind: "vsi".to_owned(),
            namespace: "default".to_owned(),
            name: "db".to_owned(),
            workflow: "provision_vsi".to_owned(),
            step: "clone_boot_disk".to_owned(),
            state: "Delayed".to_owned(),
            attempt: 4,
            message: "VSI0101: the host is not reached\nat all".to_owned(),
        }],
        uploads: vec![UploadOverview {
            image: "debian-12.qcow2".to_owned(),
            host: "root@lpar1:22".to_owned(),
            pool: "images".to_owned(),
            activity: "uploading".to_owned(),
            bytes: GIB / 2,
            total: Some(2 * GIB),
            rate: Some(40 << 20),
            left: Some(38),
        }],
        hosts: vec![HostOverview {
            name: "root@lpar1:22".to_owned(),
            status: "Ready".to_owned(),
            vsis: 3,
            cpus: Some(16),
            cpus_promised: 6,
            memory: Some(64 * GIB),
            memory_promised: 12 * GIB,
            disk: None,
            disk_promised: 12 * GIB,
            message: None,
        }],
        ..FleetOverview::default()
    }
}

fn seen(top: &mut Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, top)).unwrap();
    // The test terminal cannot be displayed without columns.
    match width {
        0 => String::new(),
        _ => terminal.backend().to_string(),
    }
}

fn top() -> Top {
    let mut top = Top::default();
    top.take(WorkerAnswer::Look(Box::default(), Duration::ZERO));
    top.take(WorkerAnswer::Look(
        Box::new(fleet()),
        Duration::from_secs(2),
    ));
    top
}

#[test]
fn each_kind_is_a_list() {
    let mut top = top();
    let kinds = Kind::ALL.map(|_| {
        let seen = seen(&mut top, 110, 9);
        top.press(KeyPress::Tab);
        seen
    });
    insta::assert_snapshot!(kinds.join("\n"));
}

#[test]
fn what_is_typed_said_and_asked_is_seen() {
    let mut top = top();
    let mut all = vec![seen(&mut Top::default(), 60, 6)];
    for key in "/we".chars() {
        top.press(KeyPress::Char(key));
    }
    all.push(seen(&mut top, 60, 6));
    top.press(KeyPress::Enter);
    top.press(KeyPress::Char('d'));
    all.push(seen(&mut top, 60, 6));
    let words = ["describe", "-n", "default", "web"]
        .map(str::to_owned)
        .to_vec();
    let text = "Name: web\nConsole: \x1b]0;title\x07 end\n";
    top.take(WorkerAnswer::Text(words, Ok(text.to_owned())));
    all.push(seen(&mut top, 60, 6));
    top.press(KeyPress::Escape);
    top.press(KeyPress::Char('?'));
    top.take(WorkerAnswer::NoLook("no process answers".to_owned()));
    all.push(seen(&mut top, 100, 13));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_chosen_row_is_always_seen() {
    let mut top = top();
    let row = |number| VsiOverview {
        namespace: "default".to_owned(),
        name: format!("vsi-{number:05}"),
        ..VsiOverview::default()
    };
    let many = FleetOverview {
        vsis: (0..10_000).map(row).collect(),
        ..FleetOverview::default()
    };
    top.take(WorkerAnswer::Look(Box::new(many), Duration::from_secs(1)));
    seen(&mut top, 80, 10);
    top.press(KeyPress::End);
    assert!(seen(&mut top, 80, 10).contains("vsi-09999"));
    top.press(KeyPress::PageUp);
    assert!(seen(&mut top, 80, 10).contains("vsi-09993"));
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x1f\u{7f}-\u{9f}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{300}-\u{36f}👩‍🚀一a]{0,40}",
        Just("x".repeat(100_000)),
    ]
}

fn keys() -> impl Strategy<Value = KeyPress> {
    prop_oneof![
        any::<char>().prop_map(KeyPress::Char),
        prop::sample::select("/:?dlhgscjkG123q \n".chars().collect::<Vec<_>>())
            .prop_map(KeyPress::Char),
        Just(KeyPress::Enter),
        Just(KeyPress::Escape),
        Just(KeyPress::Backspace),
        Just(KeyPress::Tab),
        Just(KeyPress::Up),
        Just(KeyPress::PageDown),
        Just(KeyPress::Home),
        Just(KeyPress::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// For any content of the fleet, any input, and any size of the terminal.
    #[test]
    fn no_text_breaks_the_screen(
        text in texts(),
        numbers in any::<(u64, u64, Option<u64>)>(),
        typed in prop::collection::vec(keys(), 0..40),
        (width, height) in (0_u16..120, 0_u16..30),
    ) {
        let t = || text.clone();
        let snapshot = FleetOverview {
            end: numbers.0,
            counted_from: numbers.2,
            steps_ended: numbers.1,
            paused: Some(t()),
            vsis: vec![VsiOverview {
                namespace: t(), name: t(), phase: t(), ready: t(), step: Some(t()),
                progress: Some((numbers.0, numbers.1)), host: t(), address: Some(t()), age: numbers.0,
            }],
            steps: vec![StepOverview {
                kind: t(), namespace: t(), name: t(), workflow: t(), step: t(), state: t(),
                attempt: 1, message: t(),
            }],
            more_steps: numbers.1,
            uploads: vec![UploadOverview {
                image: t(), host: t(), pool: t(), activity: t(), bytes: numbers.0,
                total: numbers.2, rate: numbers.2, left: numbers.2,
            }; 2],
            hosts: vec![HostOverview {
                name: t(), status: t(), vsis: 1, cpus: numbers.2, cpus_promised: numbers.0,
                memory: numbers.2, memory_promised: numbers.1, disk: numbers.2,
                disk_promised: numbers.0, message: Some(t()),
            }],
        };
        let mut top = Top::default();
        top.take(WorkerAnswer::Look(Box::new(snapshot), Duration::from_millis(numbers.1)));
        let mut read = Vec::new();
        for key in typed {
            if let Some(crate::KeyEffect::Read(words)) = top.press(key) {
                read.push(words);
            }
            if let Some(words) = read.pop() {
                top.take(WorkerAnswer::Text(words, Ok(t())));
            }
            let seen = seen(&mut top, width, height);
            let obeyed = |c: char| c != '\n' && clean(&c.to_string()) != c.to_string();
            prop_assert!(!seen.chars().any(obeyed), "{seen:?}");
        }
    }
}
