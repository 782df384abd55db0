//! Names of a host that would break tables, or that a terminal would obey.

use vsiflow_tests::{Vsi, Vsiflow};

const ODD: [&str; 6] = [
    "two\nlines",
    "\u{1b}[2J",
    "tab\tbed",
    "right\u{202e}left",
    "\u{9b}1m",
    "byte\u{10fee9}",
];

/// Gives the host a volume, a pool, a network and a domain of this name.
fn add(state: &mut serde_json::Value, number: usize, name: &str) {
    let pool = &mut state["pools"]["images"];
    let mut empty = pool.clone();
    let volumes = pool["volumes"].as_object_mut().unwrap();
    let volume = volumes.values().next().unwrap().clone();
    volumes.insert(name.to_owned(), volume);
    empty["volumes"] = serde_json::json!({});
    empty["path"] = format!("/odd{number}").into();
    state["pools"][name] = empty;
    state["networks"][name] = state["networks"]["default"].clone();
    let domains = state["domains"].as_object_mut().unwrap();
    let mut domain = domains.values().next().unwrap().clone();
    let uuid = format!("00000000-0000-4000-8000-00000000000{number}");
    domain["spec"]["uuid"] = uuid.as_str().into();
    domain["spec"]["name"] = name.into();
    domain["spec"]["title"] = name.into();
    domain["mark"] = serde_json::Value::Null;
    domains.insert(uuid, domain);
}

#[test]
fn no_name_of_a_host_reaches_a_terminal_as_it_is() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow.change_sim(|state| {
        for (number, name) in ODD.iter().enumerate() {
            add(state, number, name);
        }
    });
    for words in [
        &["host", "inventory"][..],
        &["host", "inventory", "-o", "name"],
        &["host", "inventory", "-o", "json"],
        &["host", "inventory", "-o", "yaml"],
        &["host", "check"],
        &["host", "check", "-o", "name"],
        &["get", "host", "-o", "wide"],
        &["get", "host", "-o", "json"],
        &["describe", "host/sim"],
        &["adopt", ODD[1]],
        &["adopt", ODD[3]],
        &["delete", "web", "--wait"],
        &["describe", "web"],
        &["history", "web"],
        &["events", "-o", "json"],
        &["image", "prune", "--dry-run"],
        &["image", "prune"],
    ] {
        let ran = vsiflow.run(words);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        let is_odd = |c: char| {
            c.is_control() && c != '\n'
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || c > '\u{10fe00}'
        };
        assert!(!shown.contains(is_odd), "{words:?}: {shown:?}");
        let begins = |line: &str| line.starts_with("lines");
        assert!(!shown.lines().any(begins), "{words:?}: {shown}");
    }
    let names = vsiflow.run(&["host", "inventory", "-o", "name"]).exits(0);
    names.says("volume/images/two\\nlines").says("byte\\xe9");
}
