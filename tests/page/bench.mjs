// Measures the API and its page. tests/bench/api documents the usage and the figures.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Daemon, until } from "./daemon.mjs";
import { launch, quit, visit } from "./browser.mjs";

const { values: options } = parseArgs({
  options: {
    json: { type: "boolean" }, fleet: { type: "string" }, watched: { type: "string" }, vsis: { type: "string", default: "10000" },
    events: { type: "string", default: "1000000" }, rounds: { type: "string", default: "20" },
    live: { type: "string", default: "200" }, idle: { type: "string", default: "60" },
  },
});
const [rounds, live, idle] = [options.rounds, options.live, options.idle].map(Number);
/** The aims of the figures. */
const AIMS = { first_paint_ms: 300, live_ms_p99: 100, list_10k_ms: null, at_1m_ms: 500, idle_cpu_percent: 0.5, watchers_200_cpu_percent: 10, throughput_effect_percent: 3 };
/** The minimum number of events that the recorder makes for each VSI. */
const EACH = 10;

const endings = [];
const t = { after: (end) => endings.push(end) };
const median = (all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)];
const p99 = (all) => all.toSorted((a, b) => a - b)[Math.min(all.length - 1, Math.ceil(all.length * 0.99) - 1)];
const pause = (ms) => new Promise((later) => setTimeout(later, ms));

/** Starts a daemon on a state directory with that many VSIs, whose hosts do not answer any more. */
const recorded = async (vsis) => {
  const daemon = new Daemon(t);
  daemon.args = (args) => ["--state", daemon.state, ...args];
  const words = ["--stage", "record", "--vsis", String(vsis), "--hosts", String(Math.max(1, Math.floor(vsis / 100))), daemon.folder];
  const made = spawnSync(options.fleet, words, { encoding: "utf8", stdio: ["ignore", "ignore", "inherit"] });
  if (made.status !== 0) throw new Error(`${options.fleet} ends with ${made.status}`);
  await daemon.serve();
  return daemon;
};

const ask = (daemon, path, { method = "GET", body = "" } = {}) => new Promise((answered, failed) => {
  const head = { host: "localhost", "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const request = http.request({ socketPath: join(daemon.state, "vsiflow.sock"), path, method, headers: head, agent: false }, (answer) => {
    const pieces = [];
    answer.on("data", (piece) => pieces.push(piece));
    answer.on("end", () => {
      const text = Buffer.concat(pieces).toString();
      if (answer.statusCode >= 300) failed(new Error(`${path}: ${answer.statusCode} ${text.slice(0, 300)}`)); else answered(text);
    });
    answer.on("error", failed);
  });
  request.on("error", failed);
  request.end(body);
});

const took = async (work) => {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
};

/** Seconds of processor time that the daemon has used. */
const used = (daemon) => {
  const fields = readFileSync(`/proc/${daemon.server.child.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
};

/** The daemon's processor time while `work` runs, in percent of a core. */
const percent = async (daemon, work) => {
  const [begun, before] = [performance.now(), used(daemon)];
  await work();
  return (used(daemon) - before) / ((performance.now() - begun) / 1000) * 100;
};

const firstPaint = async (page) => {
  const all = [];
  for (let round = 0; round < rounds; round++) {
    await page.show("/");
    all.push(await page.evaluate(() => new Promise((painted) => {
      const look = () => {
        const found = performance.getEntriesByName("first-contentful-paint")[0];
        if (found) painted(found.startTime); else requestAnimationFrame(look);
      };
      look();
    })));
  }
  return median(all);
};

const events = async (daemon) => {
  const text = await ask(daemon, "/");
  return Number(text.match(/data-end="(\d+)"/)[1]);
};

/** The 99th percentile of the time, in ms, from an event until the page shows its offset. */
const follows = async (daemon, page) => {
  await page.show("/");
  await page.evaluate(() => {
    window.seen = new Map();
    const look = () => {
      const offset = Number(document.getElementById("shown").textContent.match(/\d+/)[0]);
      if (!window.seen.has(offset)) window.seen.set(offset, Date.now());
    };
    new MutationObserver(look).observe(document.documentElement, { subtree: true, childList: true, characterData: true });
  });
  const late = [];
  for (let round = 0; round < live; round++) {
    const offset = await events(daemon);
    await ask(daemon, round % 2 === 0 ? "/v1/pause" : "/v1/unpause", { method: "POST", body: "{}" });
    const seen = await until(`offset ${offset} on the page`, () => page.evaluate((offset) => {
      const later = [...window.seen].filter(([at]) => at >= offset);
      return later.length ? Math.min(...later.map(([, time]) => time)) : 0;
    }, offset));
    late.push([offset, seen]);
  }
  // The times are read afterwards, so that no other request disturbs the measurement.
  const times = await recordedAt(daemon, late[0][0], late.at(-1)[0]);
  return p99(late.map(([offset, seen]) => seen - times.get(offset)));
};

/** Reads when the events of these offsets were recorded, as a map from offset to time in ms. */
const recordedAt = (daemon, from, to) => new Promise((read, failed) => {
  const times = new Map();
  let rest = "";
  const request = http.get({ socketPath: join(daemon.state, "vsiflow.sock"), path: `/v1/events?from=${from}`, headers: { host: "localhost" }, agent: false }, (answer) => {
    answer.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines.filter((one) => one.startsWith("data: "))) {
        const event = JSON.parse(line.slice(6));
        times.set(event.offset, Date.parse(event.time));
        if (event.offset >= to) { read(times); request.destroy(); }
      }
    });
  });
  request.on("error", failed);
});

/** Sends five commands a second for ten seconds. */
const commands = async (daemon) => {
  for (let round = 0; round < 50; round++) {
    await ask(daemon, round % 2 === 0 ? "/v1/pause" : "/v1/unpause", { method: "POST", body: "{}" });
    await pause(200);
  }
};

/** Measures what commands cost without watchers, and how much more with 200 watchers. */
const watched = async (daemon) => {
  const alone = await percent(daemon, () => commands(daemon));
  const readers = Array.from({ length: 200 }, () => http.get({ socketPath: join(daemon.state, "vsiflow.sock"), path: "/v1/events", headers: { host: "localhost" }, agent: false },
    (answer) => answer.resume()));
  for (const reader of readers) reader.on("error", () => {});
  await pause(1000);
  const together = await percent(daemon, () => commands(daemon));
  for (const reader of readers) reader.destroy();
  return { commands: alone, watchers: Math.max(0, together - alone) };
};

/** Measures, in separate processes, how much a page and 20 readers of all events slow the engine down. */
const effect = () => {
  const ran = spawnSync(options.watched, ["--json", "--readers", "20"], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (ran.status !== 0) throw new Error(`${options.watched} ends with ${ran.status}`);
  const { page_effect_percent, readers_effect_percent } = JSON.parse(ran.stdout);
  return { throughput_effect_percent: page_effect_percent, throughput_effect_20_readers_percent: readers_effect_percent };
};

/** Measures pages of past moments spread over the journal, each requested for the first time. */
const past = async (daemon, end) => {
  const all = [];
  for (let round = 0; round < rounds; round++) {
    const offset = Math.floor((round + 0.5) / rounds * end);
    all.push(await took(() => ask(daemon, `/hosts?at=${offset}`)));
  }
  return { median: median(all), most: Math.max(...all) };
};

const main = async () => {
  const figures = {};
  let daemon = await recorded(Number(options.vsis));
  await launch();
  const page = await visit(t, await daemon.door());
  figures.first_paint_ms = await firstPaint(page);
  await ask(daemon, "/v1/virtualservers");
  const lists = [];
  for (let round = 0; round < rounds; round++) lists.push(await took(() => ask(daemon, "/v1/virtualservers")));
  figures.list_10k_ms = median(lists);
  figures.live_ms_p99 = await follows(daemon, page);
  await pause(3000);
  figures.idle_cpu_percent = await percent(daemon, () => pause(idle * 1000));
  const cost = await watched(daemon);
  figures.commands_cpu_percent = cost.commands;
  figures.watchers_200_cpu_percent = cost.watchers;
  let end = await events(daemon);
  const wanted = Number(options.events);
  if (end < wanted) {
    await daemon.server.stop();
    const each = Math.max(EACH, Math.floor(end / Number(options.vsis)));
    daemon = await recorded(Math.ceil(wanted / each));
    end = await events(daemon);
  }
  const moments = await past(daemon, end);
  figures.at_1m_ms = moments.median;
  figures.at_1m_most_ms = moments.most;
  figures.events = end;
  // The browser and the daemon would disturb the next measurement.
  await quit();
  await daemon.server.stop();
  return { ...figures, ...effect() };
};

try {
  const figures = Object.fromEntries(Object.entries(await main()).map(([key, value]) => [key, Math.round(value * 100) / 100]));
  for (const [key, value] of Object.entries(figures)) {
    const aim = AIMS[key] ? `aim: < ${AIMS[key]}${value < AIMS[key] ? "" : "  MISSED"}` : "";
    console[options.json ? "error" : "log"](`  ${key.padEnd(38)}${String(value).padStart(12)}  ${aim}`);
  }
  if (options.json) console.log(JSON.stringify(figures));
} finally {
  for (const end of endings.reverse()) await end();
  await quit();
}
