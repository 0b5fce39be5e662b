// Segment's SDK for Node.js.
"use strict";
const { Analytics } = require("@segment/analytics-node");
const { calls, end, endpoint, fields, options, sleep, writeKey } = require("./calls.cjs");

(async () => {
  const analytics = new Analytics({ writeKey, host: endpoint });
  const failures = [];
  analytics.on("error", (error) => failures.push(error.reason ?? error.code));
  for (const call of calls) {
    analytics[call.type](fields(call));
    await sleep(options.pause_s);
  }
  await analytics.closeAndFlush();
  end(failures);
})();
