// Tests the page in a real browser, from the daemon's first event to the output of a hostile guest.
import { after, test } from "node:test";
import assert from "node:assert/strict";
import { Daemon, slowImage, until, vsi } from "./daemon.mjs";
import { accessible, launch, picture, quit, visit } from "./browser.mjs";

after(quit);
await launch();

const row = (page, name) => page.locator("main tr", { has: page.getByRole("link", { name, exact: true }) });
const shows = async (page, words, ms = 60_000) => page.getByText(words).first().waitFor({ timeout: ms });

/** A VSI whose changes wait for approval. */
const manual = (memory) => vsi("web", { updatePolicy: "Manual", machine: { arch: "x86_64", cpus: 1, memory } });

/** Starts a daemon with a running VSI. */
const withWeb = async (t, ...more) => {
  const daemon = await Daemon.serving(t, ...more);
  daemon.apply(vsi("web"), "--wait");
  return daemon;
};

test("a page follows a VSI to Ready without being loaded again", async (t) => {
  const daemon = await Daemon.serving(t);
  const page = await visit(t, await daemon.door());
  await shows(page, "0 of 0 VSIs");
  await page.evaluate(() => { window.loaded = "once"; });
  daemon.apply(vsi("web"));
  await row(page, "web").getByText("Running").waitFor({ timeout: 60_000 });
  assert.equal(await page.evaluate(() => window.loaded), "once");
  await row(page, "web").getByRole("link", { name: "web" }).click();
  await page.getByRole("heading", { level: 1, name: /web.*Running/ }).waitFor();
  const steps = await page.locator("svg.graph g").count();
  assert.ok(steps > 5, `${steps} steps`);
  assert.equal(await page.locator("svg.graph g.succeeded").count(), steps);
  assert.equal(await page.locator("svg.bars rect").count() > 5, true);
  await picture(page, "vsi");
  // Later events appear without loading the page again.
  await page.evaluate(() => { window.loaded = "once"; });
  daemon.must("stop", "web", "--reason", "night");
  await page.getByRole("heading", { level: 1, name: /web.*Stopped/ }).waitFor({ timeout: 60_000 });
  assert.equal(await page.evaluate(() => window.loaded), "once");
  // A link shows an earlier run, and the address retains it.
  await page.getByRole("link", { name: "provision_vsi of generation 1" }).click();
  await shows(page, "Steps of provision_vsi");
  assert.match(page.url(), /\?run=/);
});

test("what is approved is the plan that was shown, in the name of who approved it", async (t) => {
  const daemon = await Daemon.serving(t);
  daemon.apply(manual("512Mi"), "--wait");
  daemon.propose(manual("768Mi"));
  const page = await visit(t, await daemon.door());
  await page.getByRole("link", { name: "1 waiting for approval" }).click();
  await shows(page, "This change waits for approval.");
  assert.match(await page.locator(".proposal tbody").innerText(), /memory\s+512Mi\s+768Mi\s+on restart/);
  await accessible(page, "approvals");
  await picture(page, "approval");
  // The VSI changes while the user reads the plan: the page is not updated, like that of a slow reader.
  await page.route("**/approvals", (route) => route.abort());
  daemon.propose(manual("1Gi"));
  await page.getByRole("button", { name: "Approve the change of web" }).click();
  await shows(page, "VSI0840");
  assert.equal(daemon.get("vsi", "web").spec.machine.memory, "512Mi");
  await page.unroute("**/approvals");
  await page.show("/approvals");
  assert.match(await page.locator(".proposal tbody").innerText(), /512Mi\s+1Gi/);
  await page.getByRole("button", { name: "Approve the change of web" }).click();
  await page.waitForURL("**/vsi/default/web");
  await until("the change was made", () => {
    const web = daemon.get("vsi", "web");
    return web.spec.machine.memory === "1024Mi" && web.status.phase === "Running";
  });
  const approved = daemon.history("web").filter((event) => event.reason === "approved on the page");
  assert.ok(approved.length > 0);
  assert.match(approved[0].actor, /^unix:/);
  // Any two generations can be compared.
  await page.getByRole("link", { name: /Generations and/ }).click();
  await shows(page, /From generation \d+ to \d+/);
  const oldest = await page.locator("select[name=from] option").last().getAttribute("value");
  await page.locator("select[name=from]").selectOption(oldest);
  await page.getByRole("button", { name: "Compare" }).click();
  assert.match(await page.getByRole("region", { name: "Differences" }).innerText(), /machine\.memory.*512Mi.*1024Mi/s);
  await accessible(page, "generations");
});

test("a pool's template is approved once, and its page shows its members", async (t) => {
  const daemon = await Daemon.serving(t);
  const pool = (memory) => JSON.stringify({
    apiVersion: "vsiflow.io/v1", kind: "VirtualServerPool", metadata: { name: "shop" },
    spec: { replicas: 2, updatePolicy: "Manual", template: { spec: { imageURL: "http://images.lab.test:8080/debian-12.qcow2",
      guest: { type: "cloudInit" }, machine: { cpus: 1, memory } } } },
  });
  daemon.apply(pool("512Mi"), "--wait");
  daemon.propose(pool("768Mi"));
  const page = await visit(t, await daemon.door());
  await page.getByRole("link", { name: "Pools" }).click();
  await page.getByRole("link", { name: "default/shop" }).click();
  await page.getByRole("link", { name: "shop-1" }).waitFor();
  await accessible(page, "pool");
  await page.getByRole("button", { name: "Approve the change of pool shop" }).click();
  await page.waitForURL("**/pool/default/shop");
  await until("the members were updated", () => daemon.get("vsi", "shop-1").spec.machine.memory === "768Mi");
  const again = await page.evaluate(() => fetch("/pool/default/shop/approve?proposal=a.b.c", { method: "POST" }).then((answer) => answer.status));
  assert.equal(again, 409);
  // The fleet can be grouped by pool.
  await page.show("/?group=pool");
  await shows(page, "shop (2)");
});

test("a group's waves and gates are a tree", async (t) => {
  const daemon = await Daemon.serving(t);
  const template = { spec: { imageURL: "http://images.lab.test:8080/debian-12.qcow2", guest: { type: "cloudInit" }, machine: { cpus: 1, memory: "512Mi" } } };
  daemon.apply(JSON.stringify({
    apiVersion: "vsiflow.io/v1", kind: "VirtualServerGroup", metadata: { name: "ocp" },
    spec: { waves: [{ name: "first", members: [{ name: "one", template }] }, { name: "second", pools: [{ name: "two", replicas: 2, template }] }] },
  }), "--wait");
  const page = await visit(t, await daemon.door());
  await page.getByRole("link", { name: "Groups" }).click();
  await page.getByRole("link", { name: "default/ocp" }).click();
  const tree = await page.locator("main ol.tree").innerText();
  assert.match(tree, /Wave first.*gate is open.*one.*Available.*Wave second.*two.*2 of 2 ready/s);
  await accessible(page, "group");
  await picture(page, "group");
});

test("time travel leads to the middle of an upload and back, and the address says so", async (t) => {
  const daemon = await Daemon.serving(t);
  const page = await visit(t, await daemon.door());
  await page.show("/images");
  daemon.start("image", "upload", await slowImage(t));
  await page.locator("progress[aria-label='bytes uploaded']").waitFor({ timeout: 60_000 });
  await accessible(page, "images with an upload");
  await page.locator("main tr").getByText("Ready").waitFor({ timeout: 120_000 });
  const events = daemon.must("events", "-o", "json").trim().split("\n").map((line) => JSON.parse(line));
  const told = events.find((event) => event.type === "noted" && /^upload_progress: uploading: /.test(event.detail));
  const [, bytes, total] = told.detail.match(/(\d+) of (\d+) bytes/).map(Number);
  assert.ok(bytes > 0 && bytes < total && total === 3 << 20, told.detail);
  const middle = told.offset;
  const slider = page.getByRole("slider", { name: "Offset" });
  await slider.focus();
  const newest = Number(await slider.inputValue());
  for (let at = newest; at > middle; at--) await page.keyboard.press("ArrowLeft");
  await page.waitForURL(`**/images?at=${middle}`);
  await shows(page, `As of offset ${middle}`);
  await shows(page, "Uploading");
  assert.equal(await page.evaluate(() => document.activeElement.id), "at", "the slider is still in use");
  const bar = page.locator("progress[aria-label='bytes uploaded']");
  assert.deepEqual([await bar.getAttribute("value"), await bar.getAttribute("max")], [bytes, total].map(String));
  // The address shows the same content again, and every link stays at that moment.
  await page.reload();
  await shows(page, "Uploading");
  assert.equal(await bar.getAttribute("value"), String(bytes));
  await page.getByRole("link", { name: "Hosts" }).click();
  await page.waitForURL(`**/hosts?at=${middle}`);
  await page.getByRole("link", { name: "Now" }).click();
  await page.getByRole("link", { name: "Images" }).click();
  await page.locator("main tr").getByText("Ready").waitFor();
});

test("a guest's console is text, whatever it writes", async (t) => {
  const daemon = await withWeb(t);
  await daemon.server.stop();
  const hostile = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>\u001b]0;title\u0007\u001b[2J\u001b[31mred\u001b[0m \u202etxet";
  daemon.changeHost((state) => {
    const live = Object.values(state.domains)[0].live;
    live.lines.push([live.started + 1, hostile]);
    live.lines.push([live.started + 1, "x".repeat(100_000)]);
    for (let line = 0; line < 5_000; line++) live.lines.push([live.started + 2, `line ${line} of a guest that talks a lot`]);
    live.lines.push([live.started + 3, `${hostile} the end`]);
  });
  await daemon.serve();
  const page = await visit(t, await daemon.door());
  await page.show("/vsi/default/web/console");
  const box = page.locator("#console");
  await until("the end of the log", async () => /the end/.test(await box.textContent()));
  assert.match(await box.textContent(), /<script>window\.pwned = 1<\/script>/);
  assert.equal(await box.locator("*").count(), 0, "nothing of it is an element");
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  await until("what steers a terminal is left out", async () => !/\u001b|\u202e|\[31m/.test(await box.textContent()));
  await accessible(page, "console");
  await page.show("/vsi/default/web");
  assert.equal(await page.evaluate(() => window.pwned), undefined);
});

test("a guest that writes 1 GB and bytes that are no text costs the page a bounded room", async (t) => {
  const daemon = await withWeb(t);
  const page = await visit(t, await daemon.door());
  await page.addInitScript(() => {
    const real = window.fetch;
    window.fetch = (url, ...rest) => {
      if (!String(url).includes("/logs")) return real(url, ...rest);
      let left = 1 << 30;
      const piece = new Uint8Array(64 * 1024).map((_, at) => at % 97 === 0 ? 10 : at % 89 === 0 ? 0xff : 32 + at % 90);
      const body = new ReadableStream({
        pull: (to) => {
          if (left <= 0) { window.flooded = true; to.enqueue(new TextEncoder().encode("\nthe end\n")); to.close(); return; }
          left -= piece.length;
          to.enqueue(piece);
        },
      });
      return Promise.resolve(new Response(body));
    };
  });
  await page.show("/vsi/default/web/console");
  await page.waitForFunction(() => window.flooded && document.getElementById("console").textContent.includes("the end"), null, { timeout: 120_000 });
  const length = await page.evaluate(() => document.getElementById("console").textContent.length);
  assert.ok(length < 3_000_000, `${length} characters`);
});

test("an operator types at the console, one at a time, and leaving is recorded", async (t) => {
  const daemon = await withWeb(t);
  const page = await visit(t, await daemon.door());
  await page.show("/vsi/default/web/console");
  await page.getByRole("button", { name: "Type at the console" }).click();
  const line = page.getByLabel("Line");
  assert.equal(await line.isVisible() && await page.getByRole("button", { name: "Type at the console" }).isVisible(), false, "either, or");
  await line.waitFor();
  const box = page.locator("#console");
  const writes = async (words) => {
    const told = async () => `${await page.locator("#console-state").textContent()} ${await box.textContent()}`;
    await until(`the guest writes ${words}`, async () => words.test(await box.textContent()), 30_000).catch(async (error) => {
      throw new Error(`${error.message}: ${await told()}`);
    });
  };
  const types = async (words) => { await line.fill(words); await line.press("Enter"); };
  await types("");
  await writes(/login: /);
  await types("lab");
  await writes(/Welcome, lab/);
  await types("<b>secret-words</b>");
  await writes(/<b>secret-words<\/b>[^]*<b>secret-words<\/b>/);
  assert.equal(await box.locator("*").count(), 0);
  await accessible(page, "open console");
  await picture(page, "console");
  // No other user can use the console at the same time, except by taking it over.
  const other = await visit(t, await daemon.door());
  await other.show("/vsi/default/web/console");
  await other.getByRole("button", { name: "Type at the console" }).click();
  await shows(other, "VSI0711");
  const foreign = await other.evaluate(() => fetch("/consoles/00", { method: "POST", body: "x" }).then((answer) => answer.json()));
  assert.equal(foreign.code, "VSI0842");
  await other.getByRole("button", { name: "Take the console over" }).click();
  await other.getByLabel("Line").waitFor();
  await until("the first one lost it", () => page.getByRole("button", { name: "Type at the console" }).isVisible());
  await other.getByRole("button", { name: "Leave the console" }).click();
  const noted = await until("both ends are recorded", () => {
    const all = daemon.history("web").filter((event) => event.type === "noted").map((event) => event.detail);
    return all.filter((what) => what.startsWith("console_closed")).length >= 2 && all;
  });
  assert.ok(noted.some((what) => what.includes("by force")), noted.join());
  assert.ok(!JSON.stringify(daemon.history("web")).includes("secret-words"));
});

test("a VSI named <script> is refused, and its address is shown as text", async (t) => {
  const daemon = await withWeb(t);
  const path = daemon.write("script.yaml", vsi("<script>alert(1)</script>"));
  assert.equal(daemon.run("apply", "-f", path).code === 0, false);
  daemon.must("stop", "web", "--reason", "<script>alert(1)</script><img src=x onerror=alert(1)>");
  const page = await visit(t, await daemon.door());
  for (const path of ["/vsi/default/web", "/events", "/vsi/default/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/host/%3Cscript%3E", "/?q=%3Cscript%3E"]) {
    await page.show(path);
    assert.match(await page.locator("main").innerText() + await page.locator("main input").evaluateAll((all) => all.map((one) => one.value).join()), /<script>/, path);
    assert.equal(await page.locator("main script, main img").count(), 0, path);
  }
});

test("a token without the right sees everything and changes nothing", async (t) => {
  const daemon = await Daemon.serving(t, "--listen", "127.0.0.1:0");
  const [, address] = await daemon.server.says(/answering for tokens at (\S+)/);
  daemon.apply(manual("512Mi"), "--wait");
  daemon.propose(manual("768Mi"));
  const token = (role) => daemon.write(role, daemon.must("token", "create", "--role", role, "--ttl", "1h"));
  const door = async (role) => daemon.door("--server", `https://${address}`, "--token-file", token(role));
  const page = await visit(t, await door("viewer"));
  await page.show("/approvals");
  await shows(page, "To approve it needs the role operator.");
  assert.equal(await page.getByRole("button", { name: /Approve/ }).count(), 0);
  await page.show("/vsi/default/web/console");
  await shows(page, "To type at it needs the role operator.");
  await until("the console is read", async () => /HPL10001I/.test(await page.locator("#console").textContent()));
  const before = daemon.history("web").length;
  for (const path of ["/vsi/default/web/approve?proposal=x", "/vsi/default/web/console", "/consoles/00", "/v1/namespaces/default/virtualservers/web/stop"]) {
    const answer = await page.evaluate((path) => fetch(path, { method: "POST" }).then(async (answer) => [answer.status, await answer.text()]), path);
    assert.equal(answer[0], 403, `${path}: ${answer[1]}`);
    assert.match(answer[1], /VSI0029/, path);
  }
  assert.equal(daemon.history("web").length, before);
  // A token with the right `operator` can approve, and the history names the token.
  const operator = await visit(t, await door("operator"));
  await operator.show("/approvals");
  await operator.getByRole("button", { name: /Approve/ }).click();
  await operator.waitForURL("**/vsi/default/web");
  const approved = daemon.history("web").find((event) => event.reason === "approved on the page");
  assert.match(approved.actor, /^token:/);
});

test("a form of another site approves nothing", async (t) => {
  const daemon = await Daemon.serving(t);
  daemon.apply(manual("512Mi"), "--wait");
  daemon.propose(manual("768Mi"));
  const proposal = daemon.get("vsi", "web").status.proposal.id;
  const page = await visit(t, await daemon.door());
  const target = page.address(`/vsi/default/web/approve?proposal=${proposal}`);
  const evil = await page.context().newPage();
  await evil.route("http://evil.test/", (route) => route.fulfill({ contentType: "text/html", body: `<form method=post action="${target}"><button>win</button></form>` }));
  await evil.goto("http://evil.test/");
  const [answer] = await Promise.all([evil.waitForResponse(target), evil.getByRole("button").click()]);
  assert.ok([401, 403].includes(answer.status()), String(answer.status()));
  assert.equal(daemon.history("web").some((event) => event.reason === "approved on the page"), false);
});

test("every kind of page is accessible, in light and dark, by keyboard and on a phone", async (t) => {
  const daemon = await withWeb(t);
  daemon.must("host", "cordon", "sim", "--reason", "maintenance");
  const page = await visit(t, await daemon.door());
  const paths = ["/", "/?group=host", "/vsi/default/web", "/vsi/default/web/changes", "/vsi/default/web/console", "/pools", "/groups", "/images",
    "/hosts", "/host/sim", "/events", "/approvals", "/audit", "/vsi/default/nobody"];
  for (const path of paths) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.show(path);
      await accessible(page, `${path} in ${colorScheme}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${path} is ${wide} pixels too wide for a phone`);
    await page.setViewportSize({ width: 1200, height: 800 });
  }
  await page.emulateMedia({ colorScheme: "light" });
  // With the keyboard only: to the content, along the pages, and to a VSI.
  await page.show("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const reached = await until("the VSI by Tab", async () => {
    await page.keyboard.press("Tab");
    return page.evaluate(() => document.activeElement.textContent === "web");
  });
  assert.ok(reached);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: /web/ }).waitFor();
  await page.show("/hosts");
  await picture(page, "hosts");
});

test("the audit is verified on the page", async (t) => {
  const daemon = await withWeb(t);
  const page = await visit(t, await daemon.door());
  await page.getByRole("link", { name: "Audit" }).click();
  await page.getByRole("button", { name: "Verify the journal" }).click();
  await shows(page, "The journal is sound");
  assert.match(await page.getByRole("region", { name: "Report" }).innerText(), /nothing was changed, removed, reordered or inserted/);
  await accessible(page, "audit");
});

test("10,000 VSIs are shown, filtered and followed", { timeout: 900_000 }, async (t) => {
  const many = Number(process.env.VSIFLOW_PAGE_VSIS ?? 10_000); // more than one page holds;
  const daemon = await Daemon.serving(t);
  daemon.must("pause", "--all");
  for (let from = 0; from < many; from += 1000) {
    daemon.apply(Array.from({ length: Math.min(1000, many - from) }, (_, at) => vsi(`v-${from + at}`)));
  }
  const page = await visit(t, await daemon.door());
  await shows(page, `${many} of ${many} VSIs`);
  assert.equal(await page.locator("main tbody tr").count(), 250, "the rest is on further pages");
  await page.getByRole("link", { name: "Next" }).click();
  await page.waitForURL(/page=1/);
  await page.getByRole("searchbox", { name: "Filter" }).fill(`v-${many - 1}`);
  await page.getByRole("button", { name: "Apply" }).click();
  await shows(page, `1 of ${many} VSIs`);
  await accessible(page, "the fleet of many");
  await page.show("/");
  daemon.apply(vsi("a-new-one"));
  await row(page, "a-new-one").waitFor({ timeout: 60_000 });
});
