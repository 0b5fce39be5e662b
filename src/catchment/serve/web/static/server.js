// Asking the server: what it answers, or an Error that says what is wrong in words for whoever looks at the page.

/** An answer that is well: its body may be JSON, lines or a file. Aborting throws as `fetch` does. */
export async function request(path, { method = "POST", body, ...options } = {}) {
  const headers = { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it running?");
  }
  if (answer.ok) return answer;
  const told = (await answer.json().catch(() => null)) ?? {};
  const words = (told.error ?? "That did not work.").replace(/^That did not work\. /, "");
  throw Object.assign(new Error(words), { status: answer.status, told });
}

const brokenOff = () => new Error("The server's answer broke off. Try again."); // it ended while it answered

/** The JSON of an answer. */
export async function json(answer) {
  const told = await answer.json().catch(() => null);
  if (told === null) throw brokenOff();
  return told;
}

/** The lines of an answer's body as they come, each whole. */
export async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => { throw error.name === "AbortError" ? error : brokenOff(); });
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    yield* parts.filter(Boolean);
    if (done && rest) throw brokenOff();
    if (done) return;
  }
}
