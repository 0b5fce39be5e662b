// What the drivers for Node.js share: standard input has the calls, the arguments are endpoint, write key and options.
"use strict";
const { readFileSync } = require("node:fs");

const [endpoint, writeKey, options] = process.argv.slice(2);
const datesUnwrapped = (_, value) => (value && value.$date ? new Date(value.$date) : value);

exports.endpoint = endpoint;
exports.writeKey = writeKey;
exports.options = JSON.parse(options);
exports.calls = JSON.parse(readFileSync(0, "utf8"), datesUnwrapped);
exports.sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// The fields of a call that SDKs for servers take in one object.
exports.fields = (call) => {
  const values = ["identify", "group"].includes(call.type) ? { traits: call.values } : { properties: call.values };
  const named = call.type === "track" ? { event: call.name } : { name: call.name };
  const all = { userId: call.userId, timestamp: call.timestamp };
  if (call.type === "alias") return { previousId: call.previousId, ...given(all) };
  return given({ ...all, anonymousId: call.anonymousId, groupId: call.groupId, ...named, ...values });
};

const given = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));

// Ends the process; in failure if something was not delivered.
exports.end = (failures) => {
  if (failures.length) console.error(`not delivered: ${failures}`);
  process.exit(failures.length ? 1 : 0);
};
