// The desk: shows an item, takes its labels by key or button, and has the next one ready.
import { $, ask, element, percent, Refused, SIGNS, WORDS } from "/pages/desk.js";
import * as faces from "/pages/faces.js";
import * as medium from "/pages/medium.js";
import * as outbox from "/pages/outbox.js";
import * as preferences from "/pages/preferences.js";

const LABELS = { f: "fake", r: "real", u: "unsure", n: "no_face" };
// Items loaded ahead of the one that is shown.
const AHEAD = 2;
const LOOK_AGAIN_MS = 20_000;
// The lease is told that somebody is here, as long as somebody is.
const KEEP_MS = 120_000;
const IDLE_MS = 300_000;

const state = { item: null, ahead: [], labels: new Map(), track: 0, busy: false, claiming: null, standing: null, touched: Date.now() };

// --- items -----------------------------------------------------------------------------------

const tracksOf = (item) => (item.tracks.length ? item.tracks.map((each) => each.track) : [0]);

// Claims one item; whoever asks meanwhile waits for the same one.
function claim() {
  state.claiming ??= ask("POST", "/review/next").then(({ item }) => {
    if (item) {
      medium.preload(item);
      state.ahead.push(item);
    }
    return item;
  }).finally(() => { state.claiming = null; });
  return state.claiming;
}

// So many are made ready behind the one that is shown.
async function fill() {
  while (state.ahead.length < AHEAD && await claim());
}

async function next() {
  state.item = null;
  if (!state.ahead.length) await loading(claim());
  show(state.ahead.shift() ?? null);
  if (state.item) fill().catch(complain);
}

// What was decided stays in sight, dimmed, until there is something else to see.
async function loading(work) {
  document.body.classList.add("loading");
  try {
    return await work;
  } finally {
    document.body.classList.remove("loading");
  }
}

function show(item) {
  const draft = item && outbox.draftOf(item.review_id);
  state.item = item;
  state.labels = new Map(draft?.labels);
  state.track = item ? worst(item) : 0;
  $("work").hidden = !item;
  $("actions").hidden = !item && !state.decided;
  $("empty").hidden = Boolean(item);
  document.body.classList.toggle("decided", false);
  $("remark").value = draft?.remark ?? "";
  if (!item) $("name").textContent = $("kind").textContent = "";
  if (!item) return;
  describe(item);
  medium.show(item, { onFrame: (frame) => faces.showFrame(frame), onPick: choose });
  faces.show(item);
  drawPeople();
  choose(state.track);
  scrollTo({ top: 0 });
}

// The person to begin with: the most suspicious one.
function worst(item) {
  return item.tracks.reduce((top, each) => (each.score > (top?.score ?? -1) ? each : top), null)?.track ?? 0;
}

// --- judging ---------------------------------------------------------------------------------

function say(label, everyone = false) {
  if (!state.item || state.busy) return;
  const open = tracksOf(state.item).filter((track) => !state.labels.has(track));
  for (const track of everyone ? open : [state.track]) state.labels.set(track, label);
  const left = tracksOf(state.item).filter((track) => !state.labels.has(track));
  drawPeople();
  if (left.length) {
    keepDraft();
    choose(left.find((track) => track > state.track) ?? left[0]);
  } else judge();
}

function keepDraft() {
  if (state.item) outbox.keepDraft({ review_id: state.item.review_id, labels: [...state.labels], remark: $("remark").value });
}

function judge() {
  const labels = Object.fromEntries(state.labels);
  const words = [...new Set(state.labels.values())].map((label) => WORDS[label]).join(" and ");
  decide("judgement", words, { labels, remark: $("remark").value.trim() || null });
}

function skip() {
  if (state.item && !state.busy) decide("skip", "skipped");
}

// The word goes out behind the next item, for which nobody waits.
function decide(kind, words, body) {
  const { review_id, name } = state.item;
  state.decided = true;
  $("problem").hidden = true;
  tell(`${words[0].toUpperCase()}${words.slice(1)}. `, `${name} · saving…`);
  outbox.put({ kind, review_id, name, words, body });
  next().catch(complain);
}

const SAID = {
  saved: ({ kind, name, words }) => {
    count(kind);
    if (!outbox.count()) tell(kind === "skip" ? "Skipped. " : `Saved: ${words}. `, `${name} · z ${kind === "skip" ? "brings it back" : "takes it back"}`);
  },
  refused: ({ name }, error) => complain(new Refused(`${name} was not saved. ${error.message}`, error.status)),
  late: (count, error) => tell("Not saved yet: ", `${count} of your decisions. ${error.message} Trying again…`),
  ended: (count) => sessionEnded(count),
};

async function undo() {
  if (state.item && state.labels.size) {
    const last = [...state.labels.keys()].at(-1);
    state.labels.delete(last);
    keepDraft();
    drawPeople();
    return choose(last);
  }
  return busily(async () => {
    await Promise.allSettled([outbox.flush(), state.claiming]);
    const { item } = await ask("POST", "/review/undo");
    medium.preload(item);
    if (state.item) state.ahead.unshift(state.item);
    show(item);
    tell("Taken back. ", "Judge it again.");
    tellStanding().catch(() => {});
  });
}

// One thing at a time. A refusal is said.
async function busily(work) {
  if (state.busy) return;
  state.busy = true;
  $("problem").hidden = true;
  try {
    await loading(work());
  } catch (error) {
    complain(error);
  } finally {
    state.busy = false;
  }
}

function choose(track) {
  state.track = track;
  medium.choose(track);
  faces.choose(track);
  for (const row of $("people").children) row.firstChild.setAttribute("aria-pressed", String(Number(row.dataset.track) === track));
  const several = tracksOf(state.item).length > 1;
  $("about").textContent = several ? `Track ${track} · ${state.labels.size} of ${tracksOf(state.item).length} judged` : "";
}

function step(by) {
  const tracks = tracksOf(state.item);
  choose(tracks[(tracks.indexOf(state.track) + by + tracks.length) % tracks.length]);
}

// --- what is said of an item -----------------------------------------------------------------

function describe(item) {
  document.title = `${item.name} · Review · deepsweep`;
  $("name").textContent = item.name;
  $("name").title = item.uri;
  const { kind, format, width, height, duration_s } = item.medium;
  $("kind").textContent = [format, `${width} × ${height}`, kind === "video" && `${item.frames.length} frames looked at`,
    duration_s && `${duration_s.toFixed(1)} s`].filter(Boolean).join(" · ");
  $("source").className = `chip ${item.source}`;
  $("source").textContent = item.source;
  const chance = item.probability && item.probability < 1 && item.source === "audit" ? ` With probability ${percent(item.probability)}.` : "";
  const round = item.round === 2 ? " A second look: somebody judged it before, and agreement is measured." : "";
  $("why").textContent = item.why + chance + round;
  $("place").textContent = item.place;
  $("report").hidden = !item.report;
  $("report").textContent = item.report ?? "";
  describeVerdict(item);
  describeFacts(item);
}

function describeVerdict(item) {
  $("verdict").className = `word ${item.verdict}`;
  $("verdict").textContent = `${SIGNS[item.verdict]} ${WORDS[item.verdict]}`;
  $("score").textContent = item.score === null ? "" : percent(item.score);
  $("meter").replaceChildren(medium.meter(item.score, item.thresholds));
  const at = item.thresholds;
  $("thresholds").textContent = at
    ? `Real below ${percent(at.real_below)}, fake from ${percent(at.fake_from)} · ${item.model}`
    : item.model;
  $("mistakes").textContent = at ? mistakes(at, item) : "";
  $("reason").textContent = item.reason;
}

// What the thresholds cost where they were set.
function mistakes(at, { model, medium: { kind } }) {
  const [rate, most] = [at.false_positive_rate, at.false_positive_rate_upper].map((share) => `${(share * 100).toFixed(1)}%`);
  return `Of ${at.real_media} real ${kind}s on which its thresholds were set, ${model} called ${rate} fake (at most ${most}, 95%).`;
}

function describeFacts(item) {
  const facts = [["Where", item.uri], ["Item", String(item.item_id)], ["Scan", item.scan_id], ["Model", item.model],
    ["Frames", item.plan], ["Bytes", item.medium.bytes.toLocaleString("en")], ["Asked", item.asked_at.slice(0, 16).replace("T", " ")]];
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  $("limits").replaceChildren(...item.limits.map((each) => element("li", {}, each)));
}

function drawPeople() {
  const item = state.item;
  if (!item) return;
  const found = item.tracks.length ? item.tracks : [{ track: 0, score: null, frames: 0 }];
  $("people").replaceChildren(...found.map((each) => {
    const label = state.labels.get(each.track);
    const word = medium.wordOf(each.score, item.thresholds);
    const button = element("button", { type: "button", className: "person", "aria-pressed": String(each.track === state.track) },
      faces.thumbnail(each.track),
      element("span", { className: "who-is" }, item.tracks.length ? `Track ${each.track}` : "The whole item"),
      element("span", { className: `model-says word ${word}` }, item.tracks.length ? `${SIGNS[word]} ${percent(each.score)}` : "no face found"),
      element("span", { className: label ? `label ${label}` : "label none" }, label ? `${SIGNS[label]} ${WORDS[label]}` : "?"));
    button.addEventListener("click", () => choose(each.track));
    const row = element("li", {}, button);
    row.dataset.track = each.track;
    return row;
  }));
}

// --- saying things ---------------------------------------------------------------------------

function tell(what, rest) {
  $("notice").replaceChildren(element("strong", {}, what), rest);
}

function complain(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.ended) return void sessionEnded(outbox.count());
  $("problem").hidden = false;
  $("problem").textContent = error.message;
}

function sessionEnded(count) {
  keepDraft();
  $("unsaved").textContent = count
    ? `${count === 1 ? "One decision is" : `${count} decisions are`} not saved yet. Sign in again, and what you said is sent.`
    : "Sign in again, and you go on where you were.";
  if (!$("ended").open) $("ended").showModal();
}

// --- keys, buttons, time ---------------------------------------------------------------------

const KEYS = {
  s: skip, z: undo, x: () => faces.explain(state.item), b: () => medium.toggleBlur(), c: () => faces.enlarge(),
  h: () => preferences.change("blind", !preferences.preferences.blind), "?": () => $("help").showModal(),
  "/": () => $("remark").focus(), " ": () => medium.playOrPause(), m: () => medium.toggleSound(),
  ArrowUp: () => step(-1), ArrowDown: () => step(1), ArrowLeft: () => medium.stepFrame(-1), ArrowRight: () => medium.stepFrame(1),
};

function onKey(event) {
  state.touched = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Space and arrows belong to what has the focus, where it knows them.
  if (key === " " && event.target.matches("button, summary, a, input, video")) return;
  const act = LABELS[key] ? () => say(LABELS[key], event.shiftKey) : KEYS[key];
  if (!act || event.repeat && (LABELS[key] || key === "s" || key === "z")) return;
  if (!state.item && !["z", "?"].includes(key)) return;
  event.preventDefault();
  act();
}

async function keepLeases() {
  if (document.hidden || Date.now() - state.touched > IDLE_MS) return;
  for (const item of [state.item, ...state.ahead].filter(Boolean)) {
    try {
      await ask("POST", `/review/${item.review_id}/keep`);
    } catch (error) {
      complain(error);
      return;
    }
  }
}

// How far the work is; nobody waits for it.
async function tellStanding() {
  if (document.hidden) return;
  const { waiting, held, today } = await ask("GET", "/review/standing");
  showStanding({ today, left: waiting + held });
}

function showStanding(standing) {
  state.standing = standing;
  $("standing").textContent = `${standing.today} judged today, ${standing.left} to go`;
}

// What was just done counts at once; others' work does when the service is asked again.
function count(kind) {
  if (!state.standing) return;
  const { today, left } = state.standing;
  showStanding({ today: today + (kind === "judgement"), left: Math.max(0, left - 1) });
}

async function lookAgain() {
  if (!state.item && !state.busy && !state.claiming && !document.hidden && !$("empty").hidden) await next().catch(complain);
}

async function start() {
  preferences.start();
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", () => { state.touched = Date.now(); });
  for (const button of document.querySelectorAll("[data-label]")) button.addEventListener("click", () => say(button.dataset.label));
  $("skip").addEventListener("click", skip);
  $("undo").addEventListener("click", undo);
  $("ask-help").addEventListener("click", () => $("help").showModal());
  $("explain").addEventListener("click", () => faces.explain(state.item));
  $("enlarge").addEventListener("click", () => faces.enlarge());
  $("reveal").addEventListener("click", () => medium.toggleBlur());
  $("play").addEventListener("click", () => medium.playOrPause());
  $("sound").addEventListener("click", () => medium.toggleSound());
  setInterval(keepLeases, KEEP_MS);
  setInterval(lookAgain, LOOK_AGAIN_MS);
  setInterval(() => tellStanding().catch(() => {}), LOOK_AGAIN_MS);
  medium.start({ refresh: async (item) => (await ask("GET", `/review/${item.review_id}/sheet`)).item.medium.url });
  faces.start({ complain });
  outbox.start(SAID);
  $("remark").addEventListener("input", keepDraft);
  await outbox.flush();
  const { items } = await ask("GET", "/review/held");
  // What was begun comes first.
  state.ahead = items.sort((one, other) => Boolean(outbox.draftOf(other.review_id)) - Boolean(outbox.draftOf(one.review_id)));
  if (items.length > 1) items.slice(0, AHEAD).forEach(medium.preload);
  await next();
  tellStanding().catch(() => {});
}

start().catch(complain);
