"use strict";
// The slider shows its moment when it is let go of; without this script its button does.
const moment = document.getElementById("moment");
const range = document.getElementById("at");
range?.addEventListener("input", () => {
  document.getElementById("shown").textContent = "Offset " + range.value;
});
range?.addEventListener("change", () => moment.requestSubmit());

// A page of now follows the journal: after an event it is asked for again, one request at a time.
if ("live" in document.body.dataset) {
  let busy = false, again = false;
  const renew = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const own = document.getElementById("main"), next = page.getElementById("main");
        // Whoever types or follows a link with the keyboard is not interrupted.
        if (next && !own.contains(document.activeElement)) own.replaceWith(document.adoptNode(next));
        const newest = page.getElementById("at");
        if (newest && document.activeElement !== range) { range.max = newest.max; range.value = newest.value; }
        const shown = page.getElementById("shown");
        if (shown) document.getElementById("shown").textContent = shown.textContent;
      }
    } finally {
      busy = false;
      if (again) { again = false; setTimeout(renew, 250); }
    }
  };
  // EventSource knows events by their names, and the kinds of events are many: the stream is read as it is.
  const follow = async (from) => {
    try {
      const answer = await fetch("/v1/events?from=" + from, { headers: { accept: "text/event-stream" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        const ids = lines.filter((line) => line.startsWith("id: "));
        if (ids.length) { from = Number(ids.pop().slice(4)) + 1; renew(); }
      }
    } catch { /* The daemon may be starting again. */ }
    setTimeout(follow, 2000, from);
  };
  follow(Number(document.body.dataset.end));
}
