// Jitsu's SDK in Node.js, from server to server. It has neither screens nor aliases, takes no timestamps, and never
// tries again.
"use strict";
const { jitsuAnalytics } = require("@jitsu/js");
const { calls, end, endpoint, options, sleep, writeKey } = require("./calls.cjs");

(async () => {
  const failures = [];
  const jitsu = jitsuAnalytics({ host: endpoint, writeKey, s2s: true, errorPolicy: (message) => failures.push(message) });
  jitsu.setAnonymousId(calls[0].anonymousId);
  for (const call of calls) {
    if (call.type === "track") await jitsu.track(call.name, call.values);
    if (call.type === "identify") await jitsu.identify(call.userId, call.values);
    if (call.type === "page") await jitsu.page(call.name, call.values);
    if (call.type === "group") await jitsu.group(call.groupId, call.values);
    await sleep(options.pause_s);
  }
  end(failures);
})();
