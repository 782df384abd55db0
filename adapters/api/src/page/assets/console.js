"use strict";
// A guest's console: text alone, of bounded length. Nothing that a guest writes is more than text.
const box = document.getElementById("console");
const says = document.getElementById("console-state");
const LINES = 2000, WIDTH = 1000, SHOWN_MS = 50;
// What a guest writes faster than this between two looks is left out: nobody reads it here.
const PENDING = 256 * 1024;

// What a serial console needs of a terminal: lines, going back in one, and leaving out what steers a cursor.
class Lines {
  constructor() { this.lines = [[]]; this.column = 0; this.state = ""; this.many = 0; }

  write(text) { for (const c of text) this.put(c); }

  put(c) {
    if (this.state) { this.escape(c); return; }
    switch (c) {
      case "\x1b": this.state = "escape"; this.many = 0; return;
      case "\n": this.next(); return;
      case "\r": this.column = 0; return;
      case "\b": this.column = Math.max(0, this.column - 1); return;
      case "\t": this.column = Math.min(WIDTH - 1, (this.column >> 3) + 1 << 3); return;
      case "\x07": case "\0": return;
    }
    if (this.column >= WIDTH) this.next();
    const line = this.lines[this.lines.length - 1];
    while (line.length < this.column) line.push(" ");
    line[this.column++] = visible(c);
  }

  next() {
    this.lines.push([]);
    this.column = 0;
    if (this.lines.length > LINES * 1.1) this.lines.splice(0, this.lines.length - LINES);
  }

  escape(c) {
    // A sequence without an end hides no more than this.
    if (++this.many > 256) { this.state = ""; return; }
    switch (this.state) {
      case "escape":
        this.state = c === "[" ? "control" : "]PX^_".includes(c) ? "string" : "()*+#%".includes(c) ? "one" : "";
        this.words = "";
        return;
      case "one": this.state = ""; return;
      case "control":
        if (c >= "@" && c <= "~") { this.state = ""; this.control(c); } else this.words += c;
        return;
      case "string":
        if (c === "\x07" || c === "\x9c") this.state = "";
        else if (c === "\x1b") this.state = "one";
    }
  }

  control(c) {
    const line = this.lines[this.lines.length - 1];
    if (c === "K") line.length = Math.min(line.length, this.words === "2" || this.words === "1" ? 0 : this.column);
    if (c === "C") this.column = Math.min(WIDTH - 1, this.column + (Number(this.words) || 1));
    if (c === "D") this.column = Math.max(0, this.column - (Number(this.words) || 1));
  }

  text() { return this.lines.slice(-LINES).map((line) => line.join("")).join("\n"); }
}

// Control characters are seen, and none turns around what comes after it.
const visible = (c) => {
  const code = c.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  const turns = (code >= 0x80 && code < 0xa0) || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069)
    || code === 0x200e || code === 0x200f;
  return turns ? "\ufffd" : c;
};

let lines = new Lines(), due = 0, pending = "", isCut = false;
const more = (text) => {
  pending += text;
  if (pending.length > 2 * PENDING) { pending = pending.slice(-PENDING); isCut = true; }
  due ||= setTimeout(show, SHOWN_MS);
};
const begin = () => { [lines, pending, isCut] = [new Lines(), "", false]; };
const show = () => {
  due = 0;
  if (isCut) { lines = new Lines(); lines.write("[a part is left out here; `vsiflow logs` has all of it]\n"); isCut = false; }
  lines.write(pending);
  pending = "";
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.textContent = lines.text();
  if (atEnd) box.scrollTop = box.scrollHeight;
};

// Takes an answer to its end, piece by piece: what is not shown yet is not asked for.
const take = async (answer, taken) => {
  const reader = answer.body.getReader(), decoder = new TextDecoder();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    taken(value.length);
    more(decoder.decode(value, { stream: true }));
  }
};

const problem = async (answer) => {
  const told = await answer.json().catch(() => ({}));
  return told.code ? `${told.code}: ${told.detail}. ${told.remedy}` : `The daemon answers ${answer.status}.`;
};

const SILENT = "The daemon does not answer; it is asked again.";
let reading = null;
const read = async (from) => {
  const own = reading = new AbortController();
  begin();
  for (let at = from; reading === own; ) {
    try {
      const answer = await fetch(box.dataset.logs + at, { signal: own.signal });
      if (answer.ok) {
        if (says.textContent === SILENT) says.textContent = "";
        await take(answer, (length) => { at += length; });
      } else says.textContent = await problem(answer);
    } catch (error) {
      if (own.signal.aborted) return;
      says.textContent = SILENT;
    }
    await new Promise((later) => setTimeout(later, 2000));
  }
};

const part = (id) => document.getElementById(id);
const opens = part("console-opens"), keys = part("console-keys"), line = part("console-line");
let name = null, sending = Promise.resolve();

const open = async (force) => {
  reading?.abort();
  const own = reading = new AbortController();
  try {
    const answer = await fetch(opens.dataset.opens + (force ? "?force=true" : ""), { method: "POST", signal: own.signal });
    if (!answer.ok) {
      says.textContent = await problem(answer);
      part("console-force").hidden = answer.status !== 409;
      return read(Number(box.dataset.from));
    }
    name = answer.headers.get("vsiflow-console");
    begin();
    more("");
    [opens.hidden, keys.hidden] = [true, false];
    says.textContent = "The console is open: what is typed goes to the guest.";
    line.focus();
    await take(answer, () => {});
    says.textContent = "The console was closed.";
  } catch {
    says.textContent = own.signal.aborted ? "" : "The console was closed: the daemon does not answer.";
  }
  name = null;
  [opens.hidden, keys.hidden] = [false, true];
  return read(Number(box.dataset.from));
};

// In their order, one after the other.
const type = (text) => {
  sending = sending.then(async () => {
    if (!name) return;
    const answer = await fetch("/consoles/" + name, { method: "POST", body: text });
    if (!answer.ok) says.textContent = await problem(answer);
  }).catch(() => { says.textContent = "The daemon does not answer; what was typed may be lost."; });
};

if (opens) {
  opens.hidden = false;
  part("console-open").addEventListener("click", () => open(false));
  part("console-force").addEventListener("click", () => open(true));
  part("console-close").addEventListener("click", () => reading?.abort());
  part("console-hidden").addEventListener("change", (event) => { line.type = event.target.checked ? "password" : "text"; });
  keys.addEventListener("submit", (event) => { event.preventDefault(); type(line.value + "\r"); line.value = ""; });
  for (const key of keys.querySelectorAll("[data-keys]")) {
    key.addEventListener("click", () => { type(String.fromCharCode(Number(key.dataset.keys))); line.focus(); });
  }
}
read(Number(box.dataset.from));
