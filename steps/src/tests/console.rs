//! Hostile consoles, and the failures of boots that fail or stop making progress.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use vsiflow_engine::journal::RECORD_MAX;

use super::*;
use crate::{
    ports::{ConsoleChunk, ConsolePort, ConsolePosition, Hosts, PortResult},
    sim::Content,
    vsi::{await_ready, keep_evidence},
};

/// The simulated host, with a console that the test defines.
struct ScriptedConsole {
    sim: Arc<SimHosts>,
    text: Arc<ConsoleText>,
}

/// A console with this head, then `filler` repeated, then this tail.
struct ConsoleText {
    head: Vec<u8>,
    filler: Vec<u8>,
    times: u64,
    tail: Vec<u8>,
}

impl ConsoleText {
    fn of(text: &str) -> Self {
        Self {
            head: text.as_bytes().to_vec(),
            filler: Vec::new(),
            times: 0,
            tail: Vec::new(),
        }
    }

    fn len(&self) -> u64 {
        let filler = self.filler.len() as u64 * self.times;
        self.head.len() as u64 + filler + self.tail.len() as u64
    }

    fn at(&self, at: u64) -> u8 {
        let (head, end) = (self.head.len() as u64, self.len() - self.tail.len() as u64);
        match at {
            _ if at < head => self.head[at as usize],
            _ if at < end => self.filler[((at - head) % self.filler.len() as u64) as usize],
            _ => self.tail[(at - end) as usize],
        }
    }
}

#[async_trait]
impl ConsolePort for ConsoleText {
    async fn read(
        &self,
        _: &VolumeKey,
        from: ConsolePosition,
        max: u64,
    ) -> PortResult<ConsoleChunk> {
        let end = self.len().min(from.offset.saturating_add(max));
        let bytes: Bytes = (from.offset..end).map(|at| self.at(at)).collect();
        let next = ConsolePosition { offset: end };
        Ok(ConsoleChunk { bytes, next })
    }

    async fn end(&self, _: &VolumeKey) -> PortResult<ConsolePosition> {
        Ok(ConsolePosition { offset: self.len() })
    }
}

#[async_trait]
impl Hosts for ScriptedConsole {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let ports = self.sim.host(id).await?;
        let console = self.text.clone();
        Ok(HostPorts { console, ..ports })
    }
}

/// Watches a guest that hangs and has this console.
async fn watch(text: ConsoleText) -> (World, Result<await_ready::Output, Failure>) {
    let world = World::with_contract("workload: w\nenv: lab-hang\n").await;
    world.define().await.unwrap();
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    world.record(
        "start_domain",
        &vsi::start_domain::Output {
            boot_id: None,
            console: ConsolePosition::default(),
            taken_up: false,
            booted_because: None,
        },
    );
    let hosts = ScriptedConsole {
        sim: world.hosts.clone(),
        text: Arc::new(text),
    };
    let monitor = vsi::AwaitReady::new(Arc::new(hosts));
    let watched = world.attempt(&monitor, &world.monitor_console()).await;
    (world, watched.map(|done| done.output))
}

async fn failed(text: ConsoleText) -> Failure {
    watch(text).await.1.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_hostile_console_does_no_harm() {
    let filler =
        b"\x1b[2J\x1b]0;x\x07\xff\xfe\0 HPL99999E \xe2\x80\xae\"\\\" gnihtyna \r".repeat(40);
    let text = ConsoleText {
        head: vec![b'x'; 300_000],
        filler: [filler, b"\n".to_vec()].concat(),
        times: 400,
        tail: b"\x1b[32mHPL10001I\x1b[0m: up\n".to_vec(),
    };
    let (world, watched) = watch(text).await;
    let output = watched.unwrap();
    assert_eq!(output.ready_line, "HPL10001I: up");
    assert_eq!(output.warnings.len(), 1, "{:?}", output.warnings);
    let shown = [
        output.warnings.concat(),
        output.console_tail.replace('\n', ""),
    ]
    .concat();
    assert!(
        !shown.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{shown:?}"
    );
    assert!(output.console_tail.len() <= 16 * 1024);
    let saved = world
        .cx("monitor_console", true)
        .saved::<serde_json::Value>()
        .await
        .unwrap();
    assert!(serde_json::to_vec(&saved.unwrap()).unwrap().len() < RECORD_MAX);
}

#[tokio::test(start_paused = true)]
async fn many_warnings_stay_within_the_checkpoint() {
    let lines: String = (0..500)
        .map(|n| format!("HPL{:05}E {}\n", 20_000 + n, "\"\\".repeat(600)))
        .collect();
    let failure = failed(ConsoleText::of(&format!("{lines}{}", "\"".repeat(2000)))).await;
    assert_eq!(failure.code.as_str(), "VSI0502");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_without_a_line_end_counts_once_nothing_follows() {
    let (_, watched) = watch(ConsoleText::of(
        "# HPL11 build\r\nHPL10001I: Services succeeded",
    ))
    .await;
    assert_eq!(watched.unwrap().ready_line, "HPL10001I: Services succeeded");
    let failure = failed(ConsoleText::of("HPL10000E: One or more service failed")).await;
    assert_eq!(failure.code.as_str(), "VSI0501");
}

#[tokio::test(start_paused = true)]
async fn the_warning_before_the_end_says_why_and_what_to_do() {
    let console = "hpcr-contract[1]: HPL05001E: Unable to validate\n\
        hpcr-catch-failure[2]: VSI has failed to start!\n\
        hpcr-catch-failure[2]: HPL10000E: One or more service failed\n";
    let failure = failed(ConsoleText::of(console)).await;
    assert_eq!(failure.code.as_str(), "VSI0501");
    let text = failure.message.as_str();
    for words in [
        "HPL10000E",
        "services of the guest failed",
        "before that: hpcr-contract[1]: HPL05001E",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(
        failure.remedy.as_str().contains("contract check"),
        "{}",
        failure.remedy
    );
    let short_of_memory = failed(ConsoleText::of("HPL05001E: x\nHPL11003E: 100 MiB\n")).await;
    assert!(
        short_of_memory.remedy.as_str().contains("4 GiB"),
        "{}",
        short_of_memory.remedy
    );
}

#[tokio::test(start_paused = true)]
async fn a_contract_for_another_image_is_recognised() {
    let console =
        "# decrypt user-data...\n1 token decrypted, 1 encrypted token ignored\nHPL10000E: x\n";
    let failure = failed(ConsoleText::of(console)).await;
    assert!(
        failure.remedy.as_str().contains("contract encrypt"),
        "{}",
        failure.remedy
    );
    let fine = "2 token decrypted, 0 encrypted token ignored\nHPL10001I: up\n";
    assert_eq!(
        watch(ConsoleText::of(fine)).await.1.unwrap().warnings,
        Vec::<String>::new()
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_code_is_a_warning_with_its_line() {
    let (_, watched) = watch(ConsoleText::of(
        "x: HPL77777E: never heard of\nHPL10001I: up\n",
    ))
    .await;
    assert_eq!(watched.unwrap().warnings, ["x: HPL77777E: never heard of"]);
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_stands_still_says_where() {
    let failure = failed(ConsoleText::of(
        "# encrypt root partition...\nanything else\n",
    ))
    .await;
    assert_eq!(failure.code.as_str(), "VSI0502");
    let text = failure.message.as_str();
    assert!(
        text.contains("it was at: root disk encryption; its last line: anything else"),
        "{text}"
    );
    let silent = failed(ConsoleText::of("")).await;
    assert!(
        silent.message.as_str().contains("its console is empty"),
        "{silent}"
    );
    assert!(
        silent.remedy.as_str().contains("virtlogd"),
        "{}",
        silent.remedy
    );
    let panicked = failed(ConsoleText::of("Kernel panic - not syncing: x\n")).await;
    assert_eq!(panicked.code.as_str(), "VSI0501");
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_boot_are_progress() {
    let world = World::new().await;
    world.define().await.unwrap();
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut cx = world.cx("monitor_console", false);
    let into = lines.clone();
    cx.progress = Arc::new(move |progress| into.lock().unwrap().push(progress.what));
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    monitor.run(&cx, &world.monitor_console()).await.unwrap();
    let lines: Vec<String> = std::mem::take(&mut *lines.lock().unwrap());
    let expected = [
        "root disk",
        "root disk encryption",
        "contract decryption",
        "boot loader",
        "network",
        "logging",
        "services",
    ];
    assert_eq!(lines, expected.map(|phase| format!("booting: {phase}")));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_rotated_during_the_boot_is_read_on() {
    let world = World::new().await;
    world.define().await.unwrap();
    let sim = world.sim().await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    world.attempt(&start, &world.start_domain()).await.unwrap();
    let log = world.console();
    // Shortly before its last lines the guest has filled the log almost up to the rotation.
    let fill = async {
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let flood = move |state: &mut crate::sim::SimHostState| {
            let volume = state
                .pools
                .get_mut(POOL)
                .unwrap()
                .volumes
                .get_mut(&log.name)
                .unwrap();
            let Content::Inline(bytes) = &mut volume.content else {
                panic!()
            };
            bytes.extend(vec![b'.'; 2_097_152 - 40 - bytes.len()]);
            bytes.extend(b"\r\n");
        };
        sim.with(flood).await;
    };
    let monitor = vsi::AwaitReady::new(world.hosts.clone());
    let params = world.monitor_console();
    let (watched, ()) = tokio::join!(world.attempt(&monitor, &params), fill);
    assert!(
        watched
            .unwrap()
            .output
            .ready_line
            .contains("VSI has started")
    );
    let keep = vsi::KeepEvidence::new(world.hosts.clone());
    let evidence = keep_evidence::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        console: world.console(),
    };
    let done = world.attempt(&keep, &evidence).await.unwrap().output;
    assert!(done.console_tail.contains("VSI has started") && done.console_tail.len() <= 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn evidence_that_is_gone_holds_nothing_up() {
    let world = World::new().await;
    let keep = vsi::KeepEvidence::new(world.hosts.clone());
    let mut params = keep_evidence::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        console: world.console(),
    };
    for pool in [POOL, "no-such-pool"] {
        params.console.pool = pool.to_owned();
        let done = world.attempt(&keep, &params).await.unwrap().output;
        assert_eq!(
            (done.console_tail.as_str(), done.domain_xml.as_str()),
            ("", "")
        );
    }
}
