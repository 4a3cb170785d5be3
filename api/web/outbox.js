// What a reviewer has said and what is not saved yet. Nobody waits for the service: the next item is
// shown at once, and words go out behind it, one after the other, in their order. They outlive a
// service that is away, a reload, and the end of a session; nobody else's session ever sends them.
import { ask, pause, Refused } from "/pages/desk.js";

const KEY = "deepsweep.outbox", DRAFT = "deepsweep.draft";
// Before the next try where the service is away; the last one again and again.
const PAUSES_MS = [500, 2_000, 5_000, 10_000];

const reviewer = document.querySelector("meta[name=reviewer]")?.content;
const state = { waiting: [], sending: null, late: false, tell: null };

// `tell` has saved(said), refused(said, error), late(count, error) and ended(count).
export function start(tell) {
  state.tell = tell;
  state.waiting = read(KEY)?.waiting ?? [];
  addEventListener("beforeunload", (event) => { if (state.late) event.preventDefault(); });
}

// `said` has the kind of word (a route's name), review_id, name and body.
export function put(said) {
  state.waiting.push(said);
  write(KEY, { waiting: state.waiting });
  flush();
}

export const count = () => state.waiting.length;

// Resolves once nothing waits, or the session has ended.
export function flush() {
  state.sending ??= send().finally(() => { state.sending = null; });
  return state.sending;
}

async function send() {
  for (let tries = 0; state.waiting.length;) {
    const said = state.waiting[0];
    try {
      await ask("POST", `/review/${said.review_id}/${said.kind}`, said.body);
      done();
      tries = 0;
      state.tell.saved(said);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.ended) return void state.tell.ended(state.waiting.length);
      if (error.passes) {
        state.late = true;
        state.tell.late(state.waiting.length, error);
        await pause(PAUSES_MS[Math.min(tries++, PAUSES_MS.length - 1)]);
      } else {
        done();
        state.tell.refused(said, error);
      }
    }
  }
}

function done() {
  state.late = false;
  state.waiting.shift();
  write(KEY, { waiting: state.waiting });
}

// --- what is being typed ---------------------------------------------------------------------

// Labels of some persons, and a remark, of an item that is not decided yet.
export function keepDraft(draft) {
  write(DRAFT, draft);
}

export function draftOf(reviewId) {
  const draft = read(DRAFT);
  return draft?.review_id === reviewId ? draft : null;
}

// --- this tab's memory -----------------------------------------------------------------------

function read(key) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(key));
    return kept?.reviewer === reviewer ? kept : null;
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    sessionStorage.setItem(key, JSON.stringify({ ...value, reviewer }));
  } catch { /* no room, or not allowed: it holds until the page is left */ }
}
