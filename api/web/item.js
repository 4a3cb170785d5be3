// The desk: shows an item, takes its labels by key or button, and has the next one ready.
import { $, ask, element, percent, Refused, SIGNS, WORDS } from "/pages/desk.js";
import * as faces from "/pages/faces.js";
import * as medium from "/pages/medium.js";
import * as preferences from "/pages/preferences.js";

const LABELS = { f: "fake", r: "real", u: "unsure", n: "no_face" };
// Items loaded ahead of the one that is shown.
const AHEAD = 2;
const LOOK_AGAIN_MS = 20_000;
// The lease is told that somebody is here, as long as somebody is.
const KEEP_MS = 120_000;
const IDLE_MS = 300_000;

const state = { item: null, ahead: [], labels: new Map(), track: 0, busy: false, filling: null, touched: Date.now() };

// --- items -----------------------------------------------------------------------------------

const tracksOf = (item) => (item.tracks.length ? item.tracks.map((each) => each.track) : [0]);

// Claims until enough is ready; one request at a time.
function fill() {
  state.filling ??= claim().finally(() => { state.filling = null; });
  return state.filling;
}

async function claim() {
  while (state.ahead.length < AHEAD) {
    const { item } = await ask("POST", "/review/next");
    if (!item) return;
    medium.preload(item);
    state.ahead.push(item);
  }
}

async function next() {
  if (!state.ahead.length) await fill();
  show(state.ahead.shift() ?? null);
  if (state.item) fill().catch(complain);
}

function show(item) {
  state.item = item;
  state.labels = new Map();
  state.track = item ? worst(item) : 0;
  $("work").hidden = !item;
  $("actions").hidden = !item && !state.decided;
  $("empty").hidden = Boolean(item);
  document.body.classList.toggle("decided", false);
  $("remark").value = "";
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
  if (left.length) choose(left.find((track) => track > state.track) ?? left[0]);
  else save();
}

async function save() {
  const item = state.item;
  const labels = Object.fromEntries(state.labels);
  const remark = $("remark").value.trim() || null;
  await busily(async () => {
    await ask("POST", `/review/${item.review_id}/judgement`, { labels, remark });
    state.decided = true;
    const words = [...new Set(state.labels.values())].map((label) => WORDS[label]).join(" and ");
    tell(`Saved: ${words}. `, `${item.name} · z takes it back`);
    await next();
  });
}

async function skip() {
  const item = state.item;
  if (!item) return;
  await busily(async () => {
    await ask("POST", `/review/${item.review_id}/skip`);
    state.decided = true;
    tell("Skipped. ", `${item.name} · z brings it back`);
    await next();
  });
}

async function undo() {
  if (state.item && state.labels.size) {
    const last = [...state.labels.keys()].at(-1);
    state.labels.delete(last);
    drawPeople();
    return choose(last);
  }
  return busily(async () => {
    const { item } = await ask("POST", "/review/undo");
    medium.preload(item);
    if (state.item) state.ahead.unshift(state.item);
    show(item);
    tell("Taken back. ", "Judge it again.");
  });
}

// One thing at a time. A refusal is said; an item that is no longer ours is left.
async function busily(work) {
  if (state.busy) return;
  state.busy = true;
  document.body.classList.add("busy");
  $("problem").hidden = true;
  try {
    await work();
  } catch (error) {
    complain(error);
    if (error.status === 422) state.labels.clear();
    if (error.status === 409 && state.item && !(await isStillOurs(state.item))) await next().catch(complain);
    drawPeople();
  } finally {
    state.busy = false;
    document.body.classList.remove("busy");
  }
}

async function isStillOurs(item) {
  try {
    return (await ask("POST", `/review/${item.review_id}/keep`)).kept;
  } catch {
    return true;
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
    ? `${item.model} says fake from ${percent(at.fake_from)}, real below ${percent(at.real_below)}, uncertain between. ${mistakes(at, item.medium.kind)}`
    : item.model;
  $("reason").textContent = item.reason;
}

// What the thresholds cost where they were set.
function mistakes(at, kind) {
  const [rate, most] = [at.false_positive_rate, at.false_positive_rate_upper].map((share) => `${(share * 100).toFixed(1)}%`);
  return `Of ${at.real_media} real ${kind}s it called ${rate} fake (at most ${most}, 95%).`;
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
  if (error.status === 401) return void ($("ended").open || $("ended").showModal());
  $("problem").hidden = false;
  $("problem").textContent = error.message;
}

// --- keys, buttons, time ---------------------------------------------------------------------

const KEYS = {
  s: skip, z: undo, x: () => faces.explain(state.item), b: () => medium.toggleBlur(), c: () => faces.enlarge(),
  h: () => preferences.change("blind", !preferences.preferences.blind), "?": () => $("help").showModal(),
  "/": () => $("remark").focus(), " ": () => medium.playOrPause(),
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

async function lookAgain() {
  if (!state.item && !state.busy && !document.hidden && !$("empty").hidden) await next().catch(complain);
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
  setInterval(keepLeases, KEEP_MS);
  setInterval(lookAgain, LOOK_AGAIN_MS);
  medium.start({ refresh: async (item) => (await ask("GET", `/review/${item.review_id}/sheet`)).item.medium.url });
  faces.start({ complain });
  const { items } = await ask("GET", "/review/held");
  state.ahead = items;
  if (items.length > 1) items.slice(0, 2).forEach(medium.preload);
  await next();
}

start().catch(complain);
