//! Tests of drift findings.

use vsiflow_steps::ports::{DomainInfo, NicSpec};

use super::*;

fn shape() -> DomainShape {
    let disk = |target: &str| DiskShape {
        target: target.to_owned(),
        source: format!("/i/{target}"),
        format: "qcow2".to_owned(),
        readonly: false,
        serial: target.to_owned(),
    };
    DomainShape {
        cpus: 2,
        memory_mib: 512,
        disks: vec![disk("vda"), disk("vdc")],
        nics: vec![NicSpec {
            network: "default".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
        }],
        screens: Some(vec![ScreenShape::ours()]),
    }
}

fn domain() -> DomainInfo {
    DomainInfo {
        uuid: uuid::Uuid::nil(),
        name: "a".to_owned(),
        title: None,
        arch: String::new(),
        state: DomainState::Running,
        reason: None,
        moved: false,
        saved: false,
        persistent: true,
        autostart: true,
        files: Vec::new(),
        chains: Vec::new(),
        mark: None,
        stored: shape(),
        live: Some(shape()),
        xml: String::new(),
    }
}

fn found(change: impl FnOnce(&mut DomainInfo)) -> Vec<String> {
    let mut domain = domain();
    change(&mut domain);
    let expected = Expected {
        power: PowerState::Running,
        autostart: true,
        written: Some(shape()),
    };
    let findings = findings(&expected, Some(&domain));
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_stands_as_it_was_written_is_no_drift() {
    assert!(found(|_| ()).is_empty());
    assert!(found(|domain| domain.state = DomainState::ShuttingDown).is_empty());
}

#[test]
fn each_difference_says_what_was_expected_and_what_is() {
    let off = found(|domain| (domain.state, domain.live) = (DomainState::ShutOff, None));
    assert_eq!(off, ["power: expected running, found shut off"]);
    let edited = found(|domain| domain.stored.cpus = 8);
    assert_eq!(edited, ["cpus: expected 2, found 8"]);
    let detached = found(|domain| {
        let live = domain.live.as_mut().unwrap();
        live.disks.pop();
    });
    let disk = "running disk vdc: expected /i/vdc (qcow2, serial vdc), found none";
    assert_eq!(detached, [disk]);
    let autostart = found(|domain| domain.autostart = false);
    assert_eq!(autostart, ["autostart: expected true, found false"]);
    let moved = found(|domain| domain.stored.nics[0].network = "other".to_owned());
    assert_eq!(moved.len(), 1, "{moved:?}");
}

#[test]
fn a_definition_that_is_gone_is_drift() {
    let findings = findings(&Expected::default(), None);
    assert_eq!(
        findings[0].to_string(),
        "domain: expected a definition, found none"
    );
    assert!(!runs(&findings) && !is_power_alone(&findings));
}

#[test]
fn of_what_an_older_version_wrote_only_its_power_is_compared() {
    let mut domain = domain();
    (domain.stored.cpus, domain.live) = (8, None);
    let expected = Expected {
        power: PowerState::Running,
        autostart: true,
        written: None,
    };
    assert!(findings(&expected, Some(&domain)).is_empty());
}

#[test]
fn a_screen_that_listens_elsewhere_is_drift_and_one_that_nobody_looked_for_is_not() {
    let listening = |address: &str| {
        let mut screen = ScreenShape::ours();
        screen.listen = address.to_owned();
        Some(vec![screen])
    };
    let edited = found(|domain| domain.stored.screens = listening("0.0.0.0"));
    let words = "screen: expected vnc on 127.0.0.1, found vnc on 0.0.0.0";
    assert_eq!(edited, [words]);
    let removed = found(|domain| domain.live.as_mut().unwrap().screens = Some(Vec::new()));
    let absent = "running screen: expected vnc on 127.0.0.1, found none";
    assert_eq!(removed, [absent]);
    // An older version recorded no screens, so they are not compared.
    let mut before = shape();
    before.screens = None;
    let expected = Expected {
        power: PowerState::Running,
        autostart: true,
        written: Some(before),
    };
    assert!(findings(&expected, Some(&domain())).is_empty());
}

#[test]
fn a_recorded_detail_is_known_again() {
    let detail = findings_text(&[gone("boot disk", "images/boot-a.qcow2")]);
    assert!(tells_drift(&detail));
    let words = "boot disk: expected images/boot-a.qcow2, found no such volume";
    assert_eq!(message(&detail), Some(words));
    assert!(!tells_drift(&Text::new("VSI0204: no network")));
}

#[test]
fn a_guest_without_mark_is_degraded_while_it_runs_and_failed_once_it_is_off() {
    let mut domain = domain();
    domain.mark = None;
    let running = unmarked(PowerState::Running, &domain);
    assert!(runs(&running), "{running:?}");
    assert!(
        !is_mendable(&running),
        "nobody can tell whose it is: it is left alone"
    );
    (domain.state, domain.live) = (DomainState::ShutOff, None);
    let off = unmarked(PowerState::Running, &domain);
    assert!(!runs(&off) && !is_mendable(&off));
    let off: Vec<_> = off.iter().map(ToString::to_string).collect();
    let power = "power: expected running, found shut off";
    let mark = "mark: expected this journal's, found no mark of vsiflow";
    assert_eq!(off, [mark, power]);
}
