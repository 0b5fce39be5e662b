// What the pages share: where to send to, the calls, what has been delivered, and how to tell the test.
const datesUnwrapped = (_, value) => (value && value.$date ? new Date(value.$date) : value);
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const delivered = new Set();
const failures = [];
let attempts = 0;

// SDKs in browsers don't say when all is delivered, so their requests are watched, and left as they are.
const originalFetch = window.fetch;
window.fetch = async (url, init) => {
  const response = await originalFetch(url, init);
  if (init && init.body) attempts += 1;
  if (response.ok && init && init.body) {
    const body = JSON.parse(init.body);
    for (const event of body.batch ?? [body]) delivered.add(event.messageId);
  }
  return response;
};

// Runs the page: `make` makes the calls and returns how many events they are.
async function run(make) {
  let told;
  try {
    const task = JSON.parse(await (await originalFetch("/task.json")).text(), datesUnwrapped);
    const expected = await make(task);
    while (delivered.size + failures.length < expected) await sleep(0.02);
    told = failures;
  } catch (error) {
    told = [String(error && error.stack || error)];
  }
  await originalFetch("/done", { method: "POST", body: JSON.stringify(told.map(String)) });
}
