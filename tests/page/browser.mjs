// Drives Debian's Chromium, and checks what must hold for every page: no faults, accessibility, small
// pictures.
import { readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pictures = resolve(here, "../../docs/pictures");
/** The maximum size of a picture in the documents, in bytes. */
const LARGEST = 60 * 1024;

let browser;
export const launch = async () => {
  browser ??= await chromium.launch({ executablePath: join(here, "chromium"), chromiumSandbox: true });
  return browser;
};
export const quit = async () => browser?.close();

/** Opens a link in a new browser context. A fault on the page (see `faults`) fails the test. */
export const visit = async (t, link, options = {}) => {
  const context = await (await launch()).newContext({ viewport: { width: 1200, height: 800 }, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("dialog", (dialog) => { page.faults.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("console", (line) => { if (/Content Security Policy/.test(line.text())) page.faults.push(line.text()); });
  page.on("request", (request) => {
    const elsewhere = new URL(request.url()).origin !== new URL(link).origin;
    if (elsewhere) page.faults.push(`a request elsewhere: ${request.url()}`);
  });
  t.after(() => assert.deepEqual(page.faults, []));
  page.address = (path) => new URL(path, link).href;
  page.show = (path) => page.goto(page.address(path));
  await page.goto(link);
  return page;
};

/** Checks axe's rules. The driver injects axe, because the page's own policy permits no foreign script. */
export const accessible = async (page, what) => {
  const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
  const told = found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], what);
};

/** Takes a picture for the documents, in light and dark. Writes it only if VSIFLOW_DRAW is set. */
export const picture = async (page, name) => {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    const devtools = await page.context().newCDPSession(page);
    const { data } = await devtools.send("Page.captureScreenshot", { format: "webp", quality: 80 });
    const bytes = Buffer.from(data, "base64");
    assert.ok(bytes.length < LARGEST, `${name} ${scheme}: ${bytes.length} bytes`);
    if (process.env.VSIFLOW_DRAW) {
      mkdirSync(pictures, { recursive: true });
      writeFileSync(join(pictures, `page-${name}-${scheme}.webp`), bytes);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
};
