// What the pages share: asking the service, and making elements. Nothing here writes HTML: text
// goes in as text, so what a file's name or a report says is never run.

export const SIGNS = { fake: "▲", uncertain: "◆", unsure: "◆", real: "●", no_face: "○" };
export const WORDS = { fake: "fake", uncertain: "uncertain", unsure: "unsure", real: "real", no_face: "no face" };

export const $ = (id) => document.getElementById(id);

export class Refused extends Error {
  constructor(message, status, code = "") {
    super(message);
    Object.assign(this, { status, code });
  }

  // The session is over, or another one has begun in this browser: this page's token is old.
  get ended() {
    return this.status === 401 || this.code === "cross_site";
  }

  // The service is away or busy: the same may work in a moment.
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

// The answer to a request of this session; a refusal is thrown with its sentence.
export async function ask(method, path, body) {
  const headers = { "X-CSRF-Token": document.querySelector("meta[name=csrf]").content };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    // What was sent arrives, also when the page is left.
    answer = await fetch(path, { method, headers, keepalive: method === "POST", body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused("The service cannot be reached.", 0);
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said.detail || `The service answered ${answer.status}.`, answer.status, said.code);
  return said;
}

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role" || key === "for") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export function vector(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(share * 100)}%`);
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
