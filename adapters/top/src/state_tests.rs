use vsiflow_workflows::fleet::{HostOverview, StepOverview, VsiOverview};

use super::*;

pub(crate) fn vsi(namespace: &str, name: &str, phase: &str) -> VsiOverview {
    VsiOverview {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        phase: phase.to_owned(),
        ready: "False".to_owned(),
        host: "root@lpar1:22".to_owned(),
        age: 61,
        ..VsiOverview::default()
    }
}

fn top(vsis: &[&str]) -> Top {
    let mut top = Top {
        page: 3,
        ..Top::default()
    };
    top.take(looked_at(vsis));
    top
}

fn looked_at(vsis: &[&str]) -> WorkerAnswer {
    let vsis = vsis.iter().map(|name| vsi("default", name, "Running"));
    let snapshot = FleetOverview {
        vsis: vsis.collect(),
        hosts: vec![HostOverview {
            name: "sim".to_owned(),
            ..HostOverview::default()
        }],
        steps: vec![
            StepOverview {
                kind: "image".to_owned(),
                name: "i".to_owned(),
                ..StepOverview::default()
            },
            StepOverview {
                kind: "vsi".to_owned(),
                namespace: "team".to_owned(),
                name: "a".to_owned(),
                ..StepOverview::default()
            },
        ],
        ..FleetOverview::default()
    };
    WorkerAnswer::Look(Box::new(snapshot), Duration::from_secs(1))
}

fn press(top: &mut Top, keys: &str) -> Option<KeyEffect> {
    let mut last = None;
    for key in keys.chars() {
        last = top.press(match key {
            '\n' => KeyPress::Enter,
            '\x1b' => KeyPress::Escape,
            key => KeyPress::Char(key),
        });
    }
    last
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn each_key_asks_for_the_chosen_object() {
    let mut top = top(&["a", "b", "c"]);
    assert_eq!(
        press(&mut top, "jd"),
        Some(KeyEffect::Read(words("describe -n default b")))
    );
    assert_eq!(press(&mut top, "q"), None, "it closes the text");
    assert_eq!(
        press(&mut top, "jl"),
        Some(KeyEffect::Read(words("logs --tail 1000 -n default c")))
    );
    press(&mut top, "\x1b");
    assert_eq!(
        press(&mut top, "h"),
        Some(KeyEffect::Read(words("history -n default c")))
    );
    press(&mut top, "q");
    assert_eq!(
        press(&mut top, "g"),
        Some(KeyEffect::Read(words("history --graph -n default c")))
    );
    press(&mut top, "q");
    assert_eq!(
        press(&mut top, "s"),
        Some(KeyEffect::HandOver(words("ssh -n default c")))
    );
    assert_eq!(
        press(&mut top, "c"),
        Some(KeyEffect::HandOver(words("console -n default c")))
    );
    assert_eq!(
        press(&mut top, ":hosts\nd"),
        Some(KeyEffect::Read(words("describe host/sim")))
    );
    press(&mut top, "q");
    assert_eq!(press(&mut top, "s"), None);
    assert_eq!(top.message.as_deref(), Some("`ssh` is for VSIs"));
    assert_eq!(
        press(&mut top, ":steps\nh"),
        Some(KeyEffect::Read(words("history image/i")))
    );
    assert_eq!(
        press(&mut top, "qjl"),
        Some(KeyEffect::Read(words("logs --tail 1000 -n team a")))
    );
    assert_eq!(press(&mut top, "qq"), Some(KeyEffect::Quit));
    assert_eq!(top.press(KeyPress::Interrupt), Some(KeyEffect::Quit));
}

#[test]
fn nothing_is_asked_of_an_empty_list_or_of_a_name_like_an_option() {
    let mut top = top(&[]);
    assert_eq!(press(&mut top, "d"), None);
    let mut remote = self::top(&["--server=https://x:1"]);
    assert_eq!(press(&mut remote, "d"), None);
    assert_eq!(press(&mut remote, "s"), None);
}

#[test]
fn the_chosen_object_stays_chosen_while_others_come_and_go() {
    let mut top = top(&["b", "c", "d"]);
    press(&mut top, "j");
    top.take(looked_at(&["a", "b", "c", "d"]));
    assert_eq!(top.words, words("-n default c"));
    assert_eq!(top.chosen, 2);
    top.take(looked_at(&["a", "b"]));
    assert_eq!(top.words, words("-n default b"));
    top.take(looked_at(&[]));
    assert_eq!(top.words, Vec::<String>::new());
}

#[test]
fn a_filter_narrows_while_it_is_typed_and_escape_ends_it() {
    let mut top = top(&["web-1", "web-2", "db"]);
    press(&mut top, "/WEB");
    assert_eq!(top.rows().len(), 2);
    press(&mut top, "\n");
    assert_eq!(top.rows().len(), 2);
    assert_eq!(top.input, None);
    press(&mut top, "/");
    top.press(KeyPress::Backspace);
    assert_eq!(top.filter, "WE");
    press(&mut top, "\x1b");
    assert_eq!(top.rows().len(), 3);
    press(&mut top, "/q\n");
    assert_eq!(top.rows().len(), 0, "a typed q does not quit");
    press(&mut top, ":nonsense\n");
    assert!(
        top.message
            .as_deref()
            .unwrap_or_default()
            .contains("no such kind: nonsense")
    );
}

#[test]
fn a_text_that_comes_too_late_or_for_another_is_not_shown() {
    let mut top = top(&["a"]);
    press(&mut top, "d");
    top.take(WorkerAnswer::Text(
        words("history -n default a"),
        Ok("other".into()),
    ));
    assert!(top.pager.as_ref().is_some_and(|pager| pager.waits));
    let text = (0..100).map(|n| format!("line {n}\n")).collect();
    top.take(WorkerAnswer::Text(words("describe -n default a"), Ok(text)));
    press(&mut top, "G");
    assert_eq!(top.pager.as_ref().map(|pager| pager.at), Some(97));
    press(&mut top, "kkjq");
    top.take(WorkerAnswer::Text(
        words("describe -n default a"),
        Err("late".into()),
    ));
    assert_eq!(top.pager, None);
}

#[test]
fn a_silent_fleet_leaves_the_last_look_and_says_so() {
    let mut top = top(&["a"]);
    top.take(WorkerAnswer::NoLook("nobody\x1b[2J answers".into()));
    assert_eq!(top.rows().len(), 1);
    assert_eq!(top.silent.as_deref(), Some("nobody·[2J answers"));
    top.take(looked_at(&["a"]));
    assert_eq!(top.silent, None);
}
