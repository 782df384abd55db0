// Runs a daemon on simulated hosts and opens its page with `vsiflow ui`. All of it is removed at the end of a
// test.
import { createServer } from "node:http";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const binary = process.env.VSIFLOW_BINARY ?? join(root, "target/debug/vsiflow");
const PATIENCE_MS = 120_000;

/** Polls until `ready` returns a true value, and returns that. Fails after `ms` milliseconds. */
export const until = async (what, ready, ms = PATIENCE_MS) => {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await ready();
    if (found) return found;
    assert.ok(Date.now() < deadline, `not within ${ms} ms: ${what}`);
    await new Promise((later) => setTimeout(later, 20));
  }
};

export const CONTRACT = "env: |\n  type: env\nworkload: |\n  type: workload\n";

/** The document of a VSI that becomes ready on a simulated host. */
export const vsi = (name, more = {}, meta = {}) => JSON.stringify({
  apiVersion: "hpse.ibm.com/v1",
  kind: "HyperProtectContainerRuntimeOnPrem",
  metadata: { name, ...meta },
  spec: {
    contract: CONTRACT,
    imageURL: "http://images.lab.test:8080/hpcr-guest.qcow2",
    storagePool: "images",
    machine: { arch: "x86_64", cpus: 1, memory: "512Mi" },
    targetSelector: { matchLabels: { config: "lab" } },
    ...more,
  },
});

/** A running process and its output so far. */
class Running {
  constructor(args, env) {
    this.said = "";
    this.child = spawn(binary, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => { this.said = (this.said + text).slice(-200_000); });
    }
    this.ended = new Promise((end) => this.child.on("exit", end));
    this.child.on("exit", () => { this.isOver = true; });
  }

  async says(pattern) {
    return until(`${pattern} of ${this.child.spawnargs.join(" ")}: ${this.said}`, () => {
      const found = this.said.match(pattern);
      assert.ok(found || !this.isOver, `it ended: ${this.said}`);
      return found;
    });
  }

  async stop(signal = "SIGTERM") {
    if (!this.isOver) this.child.kill(signal);
    await this.ended;
  }
}

/** Serves an image of `bytes` bytes in slow pieces, so that an upload takes a while. Returns its URL. */
export const slowImage = async (t, { bytes = 3 << 20, pieces = 24, each = 250 } = {}) => {
  const image = Buffer.alloc(bytes, 7);
  image.fill(0, 0, 112);
  image.write("QFI\xfb", 0, "latin1");
  image[7] = 3; // version
  image[23] = 16; // cluster bits
  image.writeBigUInt64BE(1n << 30n, 24); // virtual size
  image[99] = 4; // refcount order
  image[103] = 104; // header length
  const server = createServer(async (request, answer) => {
    const [, from, to] = request.headers.range?.match(/bytes=(\d+)-(\d*)/) ?? [];
    const [begin, end] = [Number(from ?? 0), to ? Number(to) + 1 : bytes];
    const head = { "accept-ranges": "bytes", "content-length": end - begin, etag: '"1"' };
    if (from !== undefined) head["content-range"] = `bytes ${begin}-${end - 1}/${bytes}`;
    answer.writeHead(from === undefined ? 200 : 206, head);
    if (request.method === "HEAD") { answer.end(); return; }
    const piece = Math.ceil(bytes / pieces);
    for (let at = begin; at < end && !answer.destroyed; at += piece) {
      answer.write(image.subarray(at, Math.min(at + piece, end)));
      if (end - begin > piece) await new Promise((later) => setTimeout(later, each));
    }
    answer.end();
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/guest.qcow2`;
};

export class Daemon {
  constructor(t) {
    this.folder = mkdtempSync(join(tmpdir(), "vsiflow-page-"));
    this.state = join(this.folder, "state");
    this.running = [];
    this.number = 0;
    this.env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^VSIFLOW_|_proxy$/i.test(key)));
    t.after(() => this.end());
  }

  static async serving(t, ...more) {
    const daemon = new Daemon(t);
    await daemon.serve(...more);
    return daemon;
  }

  async end() {
    for (const one of this.running.reverse()) await one.stop("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  args(args) { return ["--state", this.state, "--host", "sim:", ...args]; }

  start(...args) {
    const one = new Running(this.args(args), this.env);
    this.running.push(one);
    return one;
  }

  async serve(...more) {
    this.server = this.start("serve", ...more);
    await this.server.says(/serving/);
  }

  run(...args) {
    const ran = spawnSync(binary, this.args(args), { env: this.env, encoding: "utf8", maxBuffer: 1 << 28, timeout: PATIENCE_MS });
    return { code: ran.status, out: ran.stdout, err: ran.stderr };
  }

  must(...args) {
    const ran = this.run(...args);
    assert.equal(ran.code, 0, `${args.join(" ")}: ${ran.out}${ran.err}`);
    return ran.out;
  }

  write(name, text) {
    const path = join(this.folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  /** Applies documents. Waits only until they are recorded, unless `more` has --wait. */
  apply(documents, ...more) {
    const path = this.write(`documents-${this.number++}.yaml`, [documents].flat().join("\n---\n"));
    return this.must("apply", "-f", path, ...more);
  }

  /** Applies a change that then waits for approval, and checks exit code 4. */
  propose(documents) {
    const path = this.write(`documents-${this.number++}.yaml`, documents);
    const ran = this.run("apply", "-f", path);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.match(ran.out + ran.err, /waits for approval/);
  }

  get(...what) { return JSON.parse(this.must("get", ...what, "-o", "json")); }

  history(name) {
    return this.must("history", name, "-o", "json").trim().split("\n").map((line) => JSON.parse(line));
  }

  /** Changes the state of the simulated host. No daemon may run at that time. */
  changeHost(change) {
    const path = join(this.state, "sim/host-sim/state.json");
    const state = JSON.parse(readFileSync(path, "utf8"));
    change(state);
    writeFileSync(path, JSON.stringify(state));
  }

  /** Runs `vsiflow ui` and returns the link that it prints. */
  async door(...more) {
    const door = this.start("ui", ...more);
    return (await door.says(/http:\/\/[^\s]+\/open\?link=\w+/))[0];
  }
}
