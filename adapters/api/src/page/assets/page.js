"use strict";
// Without this script a page shows the same: its buttons and links do what is done here in place.
const range = document.getElementById("at");
// A console is not asked for again: it reads by itself.
const still = document.getElementById("console") !== null;
let live = "live" in document.body.dataset && !still;

const byId = (page, id) => page.getElementById(id);

// What of the page was chosen or is in use stays so.
const keep = (own, next) => {
  for (const open of own.querySelectorAll("details[open][id]")) byId(document, open.id) && next.querySelector("#" + CSS.escape(open.id))?.setAttribute("open", "");
  const used = document.activeElement;
  if (!own.contains(used)) return () => {};
  const label = used.getAttribute("aria-label"), href = used.getAttribute("href");
  return () => {
    const same = (used.id && document.getElementById(used.id))
      || (href && next.querySelector(`[href="${CSS.escape(href)}"]`))
      || (label && next.querySelector(`[aria-label="${CSS.escape(label)}"]`));
    (same || next).focus({ preventScroll: true });
  };
};

// Whoever types or chooses is not interrupted.
const isTyped = () => document.activeElement?.closest("#main")?.contains(document.activeElement)
  && document.activeElement.matches("input, select, textarea");

const put = (text) => {
  const page = new DOMParser().parseFromString(text, "text/html");
  const own = byId(document, "main"), next = byId(page, "main");
  if (!next) return;
  const focus = keep(own, next);
  own.replaceWith(document.adoptNode(next));
  focus();
  for (const id of ["pages", "when"]) {
    const now = byId(document, id), then = byId(page, id);
    if (now && then && !now.contains(document.activeElement)) now.replaceWith(document.adoptNode(then));
  }
  document.title = page.title;
  const newest = byId(page, "at");
  if (newest) {
    range.max = newest.max;
    if (document.activeElement !== range || live) range.value = newest.value;
  }
};

// One request at a time; what comes meanwhile leads to one more.
const single = (work, pause) => {
  let busy = false, again = null;
  const run = async (...asked) => {
    if (busy) { again = asked; return; }
    busy = true;
    const begun = performance.now();
    try { await work(...asked); } catch { /* The daemon may be starting again. */ }
    const took = performance.now() - begun;
    setTimeout(() => {
      busy = false;
      if (again) { const next = again; again = null; run(...next); }
    }, pause(took));
  };
  return run;
};

const get = async (url) => {
  const answer = await fetch(url, { headers: { accept: "text/html" } });
  return answer.ok ? answer.text() : null;
};

// A page of now follows the journal. A large one is asked for less often, and so is one of which more changes
// between two looks: what looks cost, the engine has not.
const REST_MS = [10, 500];
let end = Number(document.body.dataset.end), shown = end, rest = 0;
const renew = single(async () => {
  if (!live || isTyped()) return;
  rest = Math.min((end - shown) * REST_MS[0], REST_MS[1]);
  shown = end;
  const text = await get(location.href);
  if (text !== null && live) put(text);
}, (took) => Math.min(Math.max(took, rest), 1000));

// The slider travels as it is moved; the address says where to.
const travel = single(async (at) => {
  const url = new URL(location.href);
  url.searchParams.delete("at");
  url.searchParams.set(range.name, at);
  url.searchParams.delete("page");
  const text = await get(url);
  if (text === null) return;
  live = false;
  history.replaceState(null, "", url);
  put(text);
  document.body.removeAttribute("data-live");
}, () => 0);

range?.addEventListener("input", () => still ? undefined : travel(range.value));
range?.addEventListener("change", () => still ? range.form.requestSubmit() : travel(range.value));

// EventSource knows events by their names, and the kinds of events are many: the stream is read as it is.
const follow = async () => {
  try {
    const answer = await fetch("/live?from=" + end, { headers: { accept: "text/event-stream" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      const ids = lines.filter((line) => line.startsWith("id: "));
      if (ids.length) { end = Number(ids.pop().slice(4)) + 1; renew(); }
    }
  } catch { /* The daemon may be starting again. */ }
  if (live) setTimeout(follow, 2000);
};
// How far an upload or a step is, is no event.
if (live) setInterval(() => { if (!document.hidden && document.querySelector("#main progress, #main .moves")) renew(); }, 1000);
if (live) follow();
