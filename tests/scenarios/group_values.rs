//! Values of groups: what members were made with stays, and what cannot be read holds up nothing else.

use serde_json::Value;
use vsiflow_tests::Vsiflow;

/// A group of two waves; the pool of the second one is filled with output `t`.
struct ValuesGroup {
    /// How many members the first wave has.
    first: u32,
    /// The gate of the first wave.
    gate: &'static str,
    /// How many members the second wave has.
    second: u32,
    /// When the pool of the first wave is removed.
    remove_after: &'static str,
    outputs: &'static str,
}

const TOKEN: &str = "{name: t, member: a-0, file: /etc/token, secret: false}";
const NAME: &str = "{name: t, member: a-0, file: /etc/hostname, secret: false}";

impl Default for ValuesGroup {
    fn default() -> Self {
        Self {
            first: 1,
            gate: "{}",
            second: 1,
            remove_after: "",
            outputs: TOKEN,
        }
    }
}

impl std::fmt::Display for ValuesGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let image = vsiflow_tests::SIMULATED_IMAGE;
        let template = |words: &str| {
            format!(
                "template: {{spec: {{imageURL: '{image}', machine: {{cpus: 1, memory: 512Mi}}, \
                 guest: {{type: cloudInit, userData: \"#cloud-config\\n{words}\\n\"}}}}}}"
            )
        };
        write!(
            f,
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: g}}\nspec:\n  waves:\n  \
             - name: first\n    gate: {}\n    pools:\n    - name: a\n      replicas: {}\n      {}\n      {}\n  \
             - name: second\n    pools:\n    - name: b\n      replicas: {}\n      {}\n  outputs: [{}]\n",
            self.gate,
            self.first,
            self.remove_after,
            template("{}"),
            self.second,
            template("# tok $(group.outputs.t)"),
            self.outputs
        )
    }
}

/// The UID of a member, and the bytes of its cidata volume.
fn member(vsiflow: &Vsiflow, name: &str) -> (String, String) {
    let uid = vsiflow.vsi(name)["metadata"]["uid"].clone();
    let uid = uid.as_str().unwrap().to_owned();
    let bytes = vsiflow.sim().content(&format!("cidata-{uid}"));
    (uid, String::from_utf8_lossy(&bytes).into_owned())
}

fn runs(vsiflow: &Vsiflow, name: &str) -> usize {
    let history = vsiflow.run(&["history", name]).exits(0).stdout;
    history.matches("update_vsi").count()
}

fn shown(vsiflow: &Vsiflow) -> Value {
    let group = vsiflow.run(&["get", "group", "g", "-o", "json"]);
    group.exits(0).json()
}

#[test]
fn members_keep_the_values_that_they_were_made_with_and_later_ones_get_the_same() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(ValuesGroup::default(), &["--wait"]).exits(0);
    let (uid, seed) = member(&vsiflow, "g-b-0");
    assert!(seed.contains("# tok token-of-g-a-0\n"), "{seed}");
    let elsewhere = |second| ValuesGroup {
        second,
        outputs: NAME,
        ..ValuesGroup::default()
    };
    vsiflow.apply(elsewhere(1), &["--wait"]).exits(0);
    let read = vsiflow.run(&["output", "group/g", "t"]).exits(0);
    assert_eq!(read.stdout, "g-a-0\n");
    vsiflow.apply(elsewhere(2), &["--wait"]).exits(0);
    assert_eq!(member(&vsiflow, "g-b-0"), (uid, seed));
    assert_eq!(runs(&vsiflow, "g-b-0"), 0);
    let (_, later) = member(&vsiflow, "g-b-1");
    assert!(later.contains("# tok token-of-g-a-0\n"), "{later}");
}

#[test]
fn a_secret_that_members_were_made_with_outlives_the_place_that_it_came_from() {
    let vsiflow = Vsiflow::simulated();
    let secret = |outputs, second| ValuesGroup {
        outputs,
        second,
        ..ValuesGroup::default()
    };
    let token = "{name: t, member: a-0, file: /etc/token}";
    let name = "{name: t, member: a-0, file: /etc/hostname}";
    vsiflow.apply(secret(token, 1), &["--wait"]).exits(0);
    vsiflow.apply(secret(name, 1), &["--wait"]).exits(0);
    vsiflow.apply(secret(name, 2), &["--wait"]).exits(0);
    assert_eq!(runs(&vsiflow, "g-b-0"), 0);
    let (_, later) = member(&vsiflow, "g-b-1");
    assert!(later.contains("# tok token-of-g-a-0\n"), "{later}");
    // It may become one that is shown, and nothing restarts.
    vsiflow.apply(secret(NAME, 2), &["--wait"]).exits(0);
    vsiflow.apply(secret(NAME, 3), &["--wait"]).exits(0);
    assert_eq!(runs(&vsiflow, "g-b-0"), 0);
    let (_, latest) = member(&vsiflow, "g-b-2");
    assert!(latest.contains("# tok token-of-g-a-0\n"), "{latest}");
}

#[test]
fn an_output_that_cannot_be_read_keeps_no_other_from_being_read_and_says_why() {
    let vsiflow = Vsiflow::simulated();
    let both = ValuesGroup {
        outputs: "{name: bad, member: a-0, console: 'never (printed)'}, \
                  {name: worse, member: a-0, file: /no/such/file}, \
                  {name: t, member: a-0, file: /etc/token, secret: false}",
        ..ValuesGroup::default()
    };
    let briefly = ["--wait", "--timeout", "15s"];
    vsiflow.apply(&both, &briefly).exits(5);
    let read = vsiflow.run(&["output", "group/g", "t"]).exits(0);
    assert_eq!(read.stdout, "token-of-g-a-0\n");
    let refused = vsiflow.run(&["output", "group/g", "bad"]);
    let said = refused.says("VSI0735").stderr.clone();
    assert!(!said.contains("its wave is not up"), "{said}");
    assert!(said.contains("the gate of wave first is closed"), "{said}");
}

#[test]
fn an_output_that_is_added_is_read_while_an_earlier_wave_is_not_settled() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(ValuesGroup::default(), &["--wait"]).exits(0);
    let more = "{name: t, member: a-0, file: /etc/token, secret: false}, \
                {name: late, member: b-0, file: /etc/token, secret: false}";
    vsiflow.change_sim(|state| state["broken"] = serde_json::json!({"start": "Timeout"}));
    let growing = ValuesGroup {
        first: 2,
        outputs: more,
        ..ValuesGroup::default()
    };
    let briefly = ["--wait", "--timeout", "15s"];
    vsiflow.apply(&growing, &briefly).exits(5);
    let read = vsiflow.run(&["output", "group/g", "late"]).exits(0);
    assert_eq!(read.stdout, "token-of-g-b-0\n");
}

#[test]
fn a_new_output_of_a_removed_member_is_refused() {
    let vsiflow = Vsiflow::simulated();
    let removed = |outputs| ValuesGroup {
        remove_after: "removeAfter: second",
        outputs,
        ..ValuesGroup::default()
    };
    vsiflow.apply(removed(TOKEN), &["--wait"]).exits(0);
    assert_eq!(
        shown(&vsiflow)["status"]["waves"][0]["items"][0]["phase"],
        "Removed"
    );
    let more = "{name: t, member: a-0, file: /etc/token, secret: false}, \
                {name: late, member: a-0, file: /etc/token}";
    for options in [&["--dry-run"][..], &[]] {
        let refused = vsiflow.apply(removed(more), options).exits(4);
        refused
            .says("VSI0604")
            .says("a, which was removed from this group");
    }
    vsiflow
        .apply(removed(TOKEN), &[])
        .exits(0)
        .says("unchanged");
}

#[test]
fn a_gate_does_not_wait_for_a_cordoned_member_that_is_gone() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(ValuesGroup::default(), &["--wait"]).exits(0);
    vsiflow.run(&["cordon", "g-a-0"]).exits(0);
    vsiflow.run(&["delete", "g-a-0", "--wait"]).exits(0);
    // The gate is checked again, and the second wave changes after it.
    let changed = ValuesGroup {
        gate: "{probes: [{tcp: 22}]}",
        second: 2,
        ..ValuesGroup::default()
    };
    vsiflow
        .apply(&changed, &["--wait"])
        .exits(0)
        .says("Available");
    vsiflow.vsi("g-b-1");
}
