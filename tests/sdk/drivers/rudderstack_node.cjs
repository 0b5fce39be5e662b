// RudderStack's SDK for Node.js.
"use strict";
const Analytics = require("@rudderstack/rudder-sdk-node");
const { calls, end, endpoint, fields, options, sleep, writeKey } = require("./calls.cjs");

(async () => {
  const failures = [];
  // By default it gives an event up after three retries, 1.4 s; and without a handler an error ends the process.
  const client = new Analytics(writeKey, {
    dataPlaneUrl: endpoint, gzip: options.gzip, retryCount: 10, logLevel: "silly", errorHandler: () => {},
  });
  let open = 0;
  for (const call of calls) {
    open += 1;
    client[call.type](fields(call), (error) => {
      open -= 1;
      if (error) failures.push(error.message);
    });
    await sleep(options.pause_s);
  }
  // A flush takes at most twenty events.
  while (open) {
    await client.flush();
    await sleep(0.01);
  }
  end(failures);
})();
