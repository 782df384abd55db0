//! Several processes that share a set of journals in a database.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_tests::{Ran, Running, SIMULATED_IMAGE, Vsiflow, until_lasting};

use super::database::Server;

pub(super) const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
/// After the death of a process, hosts get no calls for a minute.
const AFTER_A_DEATH: &str = "180s";

/// A database, and a folder that all processes use.
pub(super) struct ShardsSite {
    pub(super) server: Server,
    pub(super) vsiflow: Vsiflow,
    key: String,
}

pub(super) fn documents(names: &[&str]) -> String {
    let host = |name: &&str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{config: {name}}}}}\n\
             data: {{HOSTNAME: 'sim:{name}'}}\n---\n"
        )
    };
    let vsi = |name: &&str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: vm-{name}}}\nspec:\n  \
             imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: 512Mi}}\n  \
             targetSelector: {{matchLabels: {{config: {name}}}}}\n---\n"
        )
    };
    names
        .iter()
        .map(host)
        .chain(names.iter().map(vsi))
        .collect()
}

impl ShardsSite {
    pub(super) fn new() -> Self {
        Self::with(Vsiflow::of_documents())
    }

    /// With this vsiflow's folder.
    pub(super) fn with(vsiflow: Vsiflow) -> Self {
        use age::secrecy::ExposeSecret as _;
        let vsiflow = vsiflow.patient(240);
        let key = age::x25519::Identity::generate().to_string();
        let key = vsiflow.write("journal.key", key.expose_secret());
        Self {
            server: Server::start(),
            vsiflow,
            key: key.display().to_string(),
        }
    }

    /// The key that encrypts its secrets and requests.
    pub(super) fn key(&self) -> String {
        std::fs::read_to_string(&self.key).unwrap()
    }

    pub(super) fn named<'a>(&'a self, url: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--journal", url, "--journal-key", &self.key]].concat()
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        let url = self.server.url("fleet");
        self.vsiflow.run(&self.named(&url, arguments))
    }

    pub(super) fn apply(&self, documents: &str, more: &[&str]) -> Ran {
        let url = self.server.url("fleet");
        let arguments = [&["apply", "-f", "-"], more].concat();
        self.vsiflow.feed(&self.named(&url, &arguments), documents)
    }

    /// Calls `start` with the arguments and the name of the set.
    pub(super) fn start(&self, start: &dyn Fn(&[&str]) -> Running, arguments: &[&str]) -> Running {
        let url = self.server.url("fleet");
        start(&self.named(&url, arguments))
    }

    /// The process ID of the holder of a journal.
    pub(super) fn holder_of(&self, journal: u16) -> u32 {
        let select = format!("SELECT holder FROM vsiflow.journals WHERE name = 'fleet.{journal}'");
        let holder = self.server.sql(&select);
        let pid = holder.trim().strip_prefix("process ").unwrap();
        pid.split(' ').next().unwrap().parse().unwrap()
    }

    /// Releases the leases of a killed process. No call of it can be in progress, so the test need
    /// not wait for them to expire.
    pub(super) fn release_leases(&self, pid: u32) {
        self.server.sql(&format!(
            "UPDATE vsiflow.journals SET holder = '', lease_until = '-infinity' \
             WHERE holder LIKE 'process {pid} on %'"
        ));
    }

    /// A process whose leases do not expire even on a busy machine.
    pub(super) fn process(&self) -> Running {
        self.process_with("120s")
    }

    /// The same, once it serves all journals.
    pub(super) fn serves_all(&self) -> Running {
        let mut process = self.process();
        let serves = process.reaches("serving journal 3", 120);
        assert!(serves, "{}", process.error_output());
        process
    }

    fn process_with(&self, lease: &str) -> Running {
        self.process_that(&["--lease", lease])
    }

    /// A process of the set, with further options.
    pub(super) fn process_that(&self, more: &[&str]) -> Running {
        let url = self.server.url("fleet");
        let serve = [&["serve", "--shards", "auto", "--journals", "4"], more].concat();
        self.vsiflow.start(&self.named(&url, &serve))
    }

    /// How many journals are held, and by how many processes.
    fn held(&self) -> (usize, usize) {
        let holders = self.server.sql(
            "SELECT holder FROM vsiflow.journals WHERE name LIKE 'fleet.%' AND lease_until > clock_timestamp()",
        );
        let all: Vec<_> = holders.lines().collect();
        let processes = all.iter().filter_map(|name| name.split(" on ").next());
        (all.len(), processes.collect::<BTreeSet<_>>().len())
    }

    #[track_caller]
    pub(super) fn until_held(&self, held: usize, processes: usize) {
        let what = format!("{processes} processes hold {held} journals");
        until_lasting(&what, 120, || self.held() == (held, processes));
    }

    /// Names, phases and hosts of all VSIs.
    pub(super) fn vsis(&self) -> Vec<(String, String, String)> {
        let listed = self.run(&["get", "-o", "json"]).exits(0);
        let list: Value = serde_json::from_str(&listed.stdout).unwrap();
        let text =
            |value: &Value, at: &str| value.pointer(at).unwrap().as_str().unwrap().to_owned();
        let all = list["items"].as_array().unwrap().iter();
        all.map(|vsi| {
            let [name, phase, host] =
                ["/metadata/name", "/status/phase", "/status/host"].map(|at| text(vsi, at));
            (name, phase, host)
        })
        .collect()
    }
}

fn all_running() -> Vec<(String, String, String)> {
    let of = |name| {
        (
            format!("vm-{name}"),
            "Running".to_owned(),
            format!("sim:{name}"),
        )
    };
    HOSTS.into_iter().map(of).collect()
}

#[test]
fn two_processes_share_the_journals_and_one_takes_over_from_the_other() {
    let site = ShardsSite::new();
    let lease = "15s";
    let mut first = site.process_with(lease);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    site.until_held(4, 1);
    let mut second = site.process_with(lease);
    assert!(
        second.reaches("serving journal", 120),
        "{}",
        second.error_output()
    );
    site.until_held(4, 2);

    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    assert_eq!(site.vsis(), all_running());
    // Each host has its own journal here, and each journal has its own offsets.
    let mut journals = BTreeSet::new();
    for host in HOSTS {
        let name = format!("vm-{host}");
        let events = site.run(&["history", &name, "-o", "json"]).exits(0);
        let lines = events.stdout.lines();
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of: BTreeSet<_> = lines
            .map(|line| line["journal"].as_u64().unwrap())
            .collect();
        assert_eq!(of.len(), 1, "{events:?}");
        journals.extend(of);
    }
    assert_eq!(journals, BTreeSet::from([0, 1, 2, 3]));
    let events = site.run(&["events", "--tail", "0", "-o", "wide"]).exits(0);
    for journal in journals {
        let first_offset = format!("\n{journal}:1 ");
        assert!(events.stdout.contains(&first_offset), "{events:?}");
    }
    let from = [
        "events",
        "--from-offset",
        "2:2",
        "--tail",
        "0",
        "-o",
        "json",
    ];
    let of_one = site.run(&from).exits(0).stdout;
    let lines = of_one
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines[0]["offset"], 2, "{of_one}");
    assert!(lines.iter().all(|line| line["journal"] == 2), "{of_one}");
    let follow = |words: &[&str]| site.vsiflow.start(words);
    let mut following = site.start(&follow, &["events", "-w", "--tail", "4", "-o", "json"]);
    for host in HOSTS {
        let (name, reason) = (format!("vm-{host}"), format!("{host} is looked at"));
        site.run(&["stop", &name, "--wait"]).exits(0);
        let start = ["start", &name, "--wait", "--reason", &reason];
        site.run(&start).exits(0);
        assert!(following.prints(&reason, 30), "{reason}");
    }
    drop(following);

    first.kill();
    // The leases expire, and the other process takes all journals.
    site.until_held(4, 1);
    assert_eq!(site.vsis(), all_running());
    for host in HOSTS {
        site.run(&[
            "stop",
            &format!("vm-{host}"),
            "--wait",
            "--wait-timeout",
            AFTER_A_DEATH,
        ])
        .exits(0);
    }
    assert!(site.vsis().iter().all(|(_, phase, _)| phase == "Stopped"));
    for journal in 0..4 {
        let url = site.server.url(&format!("fleet.{journal}"));
        let verify = site.named(&url, &["audit", "verify"]);
        site.vsiflow.run(&verify).exits(0);
    }
    // After an orderly end, no lease has to expire first.
    second.terminate();
    site.until_held(0, 0);
}

#[test]
fn what_is_not_for_a_set_is_refused_with_what_is() {
    let site = ShardsSite::new();
    site.run(&["serve", "--shards", "auto"])
        .exits(2)
        .says("VSI0760");
    let _process = site.serves_all();
    let serve = ["serve", "--shards", "auto", "--journals", "5"];
    site.run(&serve).exits(2).says("VSI0761");
    site.run(&["serve"]).exits(2).says("VSI0760");
    let url = site.server.url("fleet");
    let keyless = ["get", "--journal", &url];
    site.vsiflow.run(&keyless).exits(0);
    let keyless_delete = ["delete", "x", "--journal", &url];
    site.vsiflow.run(&keyless_delete).exits(2).says("VSI0835");

    for refused in [
        &["get", "--at", "4"][..],
        &["events", "--from-offset", "2"],
        &["events", "--from-offset", "4:0"],
        &["audit", "export", "a.jsonl"],
        &["backup", "b.tar"],
        &["resume"],
    ] {
        site.run(refused).exits(2).says("VSI0764");
    }
    // A command that does not name the set gets an error about that, not about damage.
    site.vsiflow.run(&["get"]).exits(1).says("VSI0836");
    let member = site.server.url("fleet.1");
    let stop = site.named(&member, &["stop", "vm-a"]);
    site.vsiflow.run(&stop).exits(2).says("VSI0762");
    let serve_named = site.named(&member, &["serve"]);
    site.vsiflow.run(&serve_named).exits(2).says("VSI0762");

    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    site.run(&["describe", "nobody"]).exits(3).says("VSI0703");
    site.run(&["delete", "disk", "nothing"])
        .exits(3)
        .says("disk/nothing");
    let host = documents(&["a"]);
    let host = host.split("---").next().unwrap();
    site.apply(host, &[]).exits(0).says("nothing is recorded");
}

#[test]
fn documents_for_several_journals_have_one_answer() {
    let site = ShardsSite::new();
    let _process = site.serves_all();
    let file = site.vsiflow.write("all.yaml", &documents(&HOSTS));
    let file = file.to_str().unwrap();
    let names = |ran: Ran| -> BTreeSet<String> {
        let listed = ran.json();
        let items = listed["items"].as_array().unwrap().iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    let all: BTreeSet<_> = HOSTS.iter().map(|host| format!("vm-{host}")).collect();
    let planned = site.run(&["plan", "-f", file, "-o", "json"]).exits(1);
    assert_eq!(names(planned), all);
    let foretold = site.run(&["apply", "-f", file, "--dry-run", "-o", "json"]);
    assert_eq!(names(foretold.exits(0)), all);
    let applied = site.run(&["apply", "-f", file, "--wait", "-o", "json"]);
    assert_eq!(names(applied.exits(0)), all);
    assert_eq!(site.vsis(), all_running());
    let again = site.run(&["plan", "-f", file]).exits(0);
    again.says("No changes.");
    site.run(&["apply", "-f", file, "--prune"])
        .exits(2)
        .says("VSI0764");
    let mistaken = documents(&HOSTS).replace("cpus: 1", "cpus: one");
    let refused = site.apply(&mistaken, &[]).exits(2);
    assert_eq!(
        refused.stderr.matches("VSI0604").count(),
        HOSTS.len(),
        "{refused:?}"
    );
    assert_eq!(site.vsis(), all_running());
}

#[test]
fn a_vsi_of_a_command_line_is_made_in_the_journal_of_its_host_and_reached_there() {
    let site = ShardsSite::new();
    let _process = site.serves_all();
    let create = |more: &[&str]| {
        let image = [
            "create",
            "web",
            "--image",
            SIMULATED_IMAGE,
            "--disk",
            "100Gi",
        ];
        site.run(&[&image, more].concat())
    };
    create(&["--on", "sim:c"]).exits(3).says("VSI0703");
    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    create(&[]).exits(2).says("VSI0607").says("sim:a");
    create(&["--on", "sim:z"]).exits(3).says("sim:z");
    create(&["--dry-run"]).exits(0).says("kind: VirtualServer");
    create(&["--target", "config=c", "--wait"]).exits(0);
    let mut expected = all_running();
    expected.push(("web".to_owned(), "Running".to_owned(), "sim:c".to_owned()));
    assert_eq!(site.vsis(), expected);
    // A host that only the command describes.
    let host = documents(&["e"]);
    let host = site
        .vsiflow
        .write("e.yaml", host.split("---").next().unwrap());
    let described = [
        "create",
        "zone",
        "--image",
        SIMULATED_IMAGE,
        "--disk",
        "100Gi",
        "--target",
        "config=e",
        "-f",
        host.to_str().unwrap(),
        "--wait",
    ];
    site.run(&described).exits(0);
    expected.push(("zone".to_owned(), "Running".to_owned(), "sim:e".to_owned()));
    assert_eq!(site.vsis(), expected);
    create(&["--on", "sim:c"]).exits(4).says("VSI0812");
    create(&["--on", "sim:d"]).exits(4).says("VSI0765");

    site.run(&["ssh-config"])
        .exits(0)
        .says("Written by vsiflow");
    site.run(&["ssh", "nobody"]).exits(3).says("VSI0703");
    let simulated = site.run(&["ssh", "web"]);
    simulated.exits(4).says("VSI0813");
}

#[test]
fn a_journal_acts_on_no_host_that_the_database_says_is_anothers() {
    let site = ShardsSite::new();
    let process = site.serves_all();
    site.apply(&documents(&["a"]), &["--wait"]).exits(0);
    process.terminate();
    site.until_held(0, 0);
    // As if an administrator had restored only a part of the database.
    site.server
        .sql("UPDATE vsiflow.shard_hosts SET journal = 2 WHERE host = 'sim:a'");
    let _second_process = site.serves_all();
    let stopped = site.run(&["stop", "vm-a", "--wait", "--wait-timeout", "20s"]);
    assert_ne!(stopped.code, Some(0), "{stopped:?}");
    let described = site.run(&["describe", "vm-a"]).exits(0);
    described.says("belongs to journal 2 of the set");
    site.server
        .sql("UPDATE vsiflow.shard_hosts SET journal = 0 WHERE host = 'sim:a'");
    site.run(&["retry", "vm-a"]).exits(0);
    site.run(&["stop", "vm-a", "--wait"]).exits(0);
}

#[test]
fn a_name_belongs_to_one_journal_until_what_has_it_is_gone() {
    let site = ShardsSite::new();
    let _process = site.serves_all();
    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    let elsewhere = documents(&["a"]).replace("sim:a", "sim:b");
    let refused = site.apply(&elsewhere, &["--wait"]).exits(4);
    refused.says("VSI0765").says("journal 0");
    assert_eq!(site.vsis(), all_running());
    site.run(&["delete", "vm-a", "--wait"]).exits(0);
    site.apply(&elsewhere, &["--wait"]).exits(0);
    let mut expected = all_running();
    expected[0].2 = "sim:b".to_owned();
    assert_eq!(site.vsis(), expected);
    site.run(&["history", "vm-a"])
        .exits(0)
        .says("define_domain");
    site.run(&["delete", "vm-a", "--wait"]).exits(0);
}

/// `tests/bench/run shards` runs the same with 100,000 VSIs.
#[test]
fn an_event_costs_no_more_and_all_are_ready_among_more_vsis() {
    let server = Server::start();
    let url = server.url("any");
    let (url, _) = url.split_once('?').unwrap();
    let program = vsiflow_tests::benchmark("set");
    let mut command = std::process::Command::new(program);
    command.args([url, "--json", "--vsis", "80,320", "--journals", "8"]);
    let measured = command.output().unwrap();
    assert!(measured.status.success(), "{measured:?}");
    let text = String::from_utf8(measured.stdout).unwrap();
    let figures: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for vsis in ["80", "320"] {
        assert_eq!(figures["sizes"][vsis]["all_ready"], true, "{figures}");
    }
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{figures}"));
    let events = |vsis: &str| number(&figures["sizes"][vsis]["events"]);
    assert!(events("320") / events("80") < 4.4, "{figures}");
    assert!(number(&figures["bytes_ratio"]) < 1.1, "{figures}");
    // Processor time: the machine may be busy with other work as well.
    assert!(number(&figures["ratio"]) < 2.0, "{figures}");
}

#[test]
fn a_command_reaches_its_objects_in_whichever_journals_they_are() {
    let site = ShardsSite::new();
    let _process = site.serves_all();
    let phases = || -> Vec<String> {
        let vsis = site.vsis().into_iter();
        vsis.map(|(_, phase, _)| phase).collect()
    };
    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    site.run(&["stop", "vm-a", "vm-c", "--wait"]).exits(0);
    assert_eq!(phases(), ["Stopped", "Running", "Stopped", "Running"]);
    // If one VSI does not exist, the command does not touch the others.
    let mistyped = site.run(&["stop", "vm-b", "vm-x"]).exits(3);
    mistyped.says("VSI0703").says("vm-x");
    let stopped = "status.phase=Stopped";
    site.run(&["start", "--field-selector", stopped, "--wait"])
        .exits(0);
    assert_eq!(site.vsis(), all_running());

    let described = site.run(&["describe", "vm-b", "vm-d"]).exits(0);
    described.says("sim:b").says("sim:d");
    let data = site.run(&["describe", "vm-b", "vm-d", "-o", "json"]);
    data.exits(2).says("VSI0764");
    let paused = site.run(&["pause", "--all"]).exits(0);
    let line = "the global pause is on";
    assert_eq!(paused.stdout.matches(line).count(), 1, "{paused:?}");
    let listed = site.run(&["get"]).exits(0);
    listed.says("unpause --all");
    site.run(&["unpause", "--all"]).exits(0);
    site.run(&["retry", "--all"]).exits(0);

    // More than the limit, then without the user's consent.
    let many = ["delete", "--all", "--limit", "3", "--yes"];
    site.run(&many).exits(4).says("VSI0811");
    let deleted = site.run(&["delete", "--all"]).exits(4);
    deleted.says("VSI0811").says("vsi/vm-d");
    assert_eq!(site.vsis(), all_running());
    let two = "metadata.name!=vm-a,metadata.name!=vm-b";
    let selected = ["delete", "--field-selector", two, "--yes", "--wait"];
    site.run(&selected).exits(0);
    assert_eq!(site.vsis(), all_running()[..2]);
    let file = site.vsiflow.write("two.yaml", &documents(&["a", "d"]));
    let file = file.display().to_string();
    site.run(&["delete", "-f", &file]).exits(3).says("vm-d");
    let lenient = ["delete", "-f", &file, "--ignore-not-found", "--wait"];
    site.run(&lenient).exits(0);
    assert_eq!(site.vsis(), all_running()[1..2]);
}

#[test]
fn a_set_is_shown_as_it_was_and_each_of_its_chains_is_proven() {
    let site = ShardsSite::new();
    let _process = site.serves_all();
    let names = |arguments: &[&str]| {
        let listed = site.run(&[&["get", "-o", "name"], arguments].concat());
        listed.exits(0).stdout
    };
    let now = || {
        let time = site.server.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')");
        time.trim().to_owned()
    };
    let before = now();
    site.apply(&documents(&["a", "b"]), &["--wait"]).exits(0);
    let between = now();
    let more = documents(&["a", "b", "c"]).replace("cpus: 1", "cpus: 2");
    site.apply(&more, &["--wait"]).exits(0);
    assert_eq!(names(&[]), "vsi/vm-a\nvsi/vm-b\nvsi/vm-c\n");
    // The journals of c and d were empty then.
    assert_eq!(names(&["--at", &between]), "vsi/vm-a\nvsi/vm-b\n");
    site.run(&["get", "--at", &before]).exits(3).says("VSI0026");
    site.run(&["get", "--at", "4"]).exits(2).says("VSI0764");

    let differences = site.run(&["diff", "vm-b", "--at", &between]).exits(0);
    differences.says("cpus");
    let changed = site
        .vsiflow
        .write("more.yaml", &more.replace("cpus: 2", "cpus: 3"));
    let changed = changed.display().to_string();
    let planned = site.run(&["diff", "-f", &changed]).exits(1);
    planned.says("vm-a").says("vm-b").says("vm-c").says("cpus");
    let back = site.run(&["rollback", "vm-b", "--dry-run"]).exits(0);
    back.says("vsi/vm-b would go back to generation 1");
    site.run(&["rollback", "vm-b", "--wait"]).exits(0);
    let described = site.run(&["describe", "vm-b", "-o", "json"]).exits(0);
    let described: Value = serde_json::from_str(&described.stdout).unwrap();
    assert_eq!(described["metadata"]["generation"], 3, "{described}");
    let same = site.run(&["diff", "vm-b", "--at", &between]).exits(0);
    assert!(!same.stdout.contains("cpus"), "{same:?}");

    let mut verified = site.run(&["audit", "verify"]).exits(0);
    let mut replayed = site.run(&["replay", "--verify"]).exits(0);
    for journal in 0..4 {
        let above = format!("journal {journal}:");
        verified = verified.says(&above);
        replayed = replayed.says(&above);
    }
    // A broken chain is found, and the others are still verified.
    site.server.sql(
        "UPDATE vsiflow.events SET bytes = set_byte(bytes, length(bytes) - 1, 255 - get_byte(bytes, length(bytes) - 1)) \
         WHERE journal = (SELECT journal FROM vsiflow.journals WHERE name = 'fleet.1') AND \"offset\" = 1",
    );
    let broken = site.run(&["audit", "verify"]).exits(1);
    broken.says("journal 3:");
}
