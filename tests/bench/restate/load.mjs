// node load.mjs CONCURRENCY SECONDS: runs that many callers; each starts its next run when the last one has
// ended.
const [concurrency, seconds] = process.argv.slice(2).map(Number);
const began = performance.now();
const took = [];

const call = async (name) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch("http://127.0.0.1:8080/bench/provision", {
    method: "POST",
    headers,
    body: JSON.stringify(name),
  });
  if (!answer.ok) throw new Error(await answer.text());
  await answer.text();
};

const caller = async (number) => {
  for (let run = 0; performance.now() - began < seconds * 1000; run++) {
    const start = performance.now();
    await call(`${number}-${run}`);
    took.push(performance.now() - start);
  }
};

await Promise.all(Array.from({ length: concurrency }, (_, number) => caller(number)));
const elapsed = (performance.now() - began) / 1000;
took.sort((a, b) => a - b);
const at = (share) => took[Math.min(took.length - 1, Math.floor(took.length * share))].toFixed(1);
const rate = (took.length / elapsed).toFixed(0);
const steps = ((took.length * 9) / elapsed).toFixed(0);
console.log(
  `restate concurrency=${concurrency} runs/s=${rate} steps/s=${steps} run p50=${at(0.5)}ms p99=${at(0.99)}ms`,
);
