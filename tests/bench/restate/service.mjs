// A durable run of nine steps that do nothing.
import * as restate from "@restatedev/restate-sdk";

// The SDK needs it; Node has it since version 22.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

const provision = async (ctx, name) => {
  for (let step = 0; step < 9; step++) {
    await ctx.run(`step${step}`, async () => ({ done: step }));
  }
  return name;
};

restate.serve({ services: [restate.service({ name: "bench", handlers: { provision } })], port: 9080 });
