// The chosen face at full size, beside where the model looked; and small portraits of all persons.
import { $, ask, element, pause, percent } from "/pages/desk.js";
import { faceOf, pixels, suspicious } from "/pages/medium.js";

const PORTRAIT_PX = 56;
const POLL_MS = 400;
// So long nothing is said of what is waited for; and then the message is sent again.
const WONDER_S = 4, PATIENCE_S = 12;
// And then nobody is asked any more.
const GIVE_UP_S = 90;

const shown = { item: null, track: 0, frame: null, run: 0, portraits: new Map(), explained: new Map() };
let complain = null;

export function start(given) {
  complain = given.complain;
  $("large").addEventListener("click", (event) => { if (event.target === $("large")) $("large").close(); });
}

export function show(item) {
  Object.assign(shown, { item, frame: suspicious(item), run: shown.run + 1, portraits: new Map(), explained: new Map() });
  for (const each of item.tracks) {
    const kept = bestCrop(each.track);
    if (kept) shown.portraits.set(each.track, element("img", { src: kept.url, alt: "", className: "portrait" }));
  }
}

export function choose(track) {
  shown.track = track;
  draw();
}

export function showFrame(frame) {
  shown.frame = frame;
  draw();
}

// --- the crop --------------------------------------------------------------------------------

const bestCrop = (track) => shown.item.crops.filter((crop) => crop.track === track).reduce((best, each) => (each.score > (best?.score ?? -1) ? each : best), null);

function face() {
  const frame = faceOf(shown.frame, shown.track) ? shown.frame : suspicious(shown.item, shown.track);
  return { frame, face: faceOf(frame, shown.track) };
}

// What is shown of a face is the first of the views that the model scores; its score is of them all.
const firstOf = () => (shown.item.views > 1 ? `the first of ${shown.item.views} views` : "");
const asOne = () => (firstOf() ? `: ${firstOf()} that the model scores` : "");

// The square that the network was shown: the box, widened by the margin of the first view.
function square({ box: [x1, y1, x2, y2] }) {
  const side = Math.max(x2 - x1, y2 - y1) * (1 + 2 * shown.item.crop_margin);
  return { left: (x1 + x2) / 2 - side / 2, top: (y1 + y2) / 2 - side / 2, side };
}

function cut(source, one, sidePx) {
  const canvas = element("canvas", { width: sidePx, height: sidePx });
  const { left, top, side } = square(one);
  canvas.getContext("2d").drawImage(source, left, top, side, side, 0, 0, sidePx, sidePx);
  return canvas;
}

function draw() {
  const found = shown.item && face();
  if (!found) return;
  const done = found.face && shown.explained.get(key(found));
  drawCrop(found, done);
  drawHeat(found, done);
}

function drawCrop({ frame, face: one }, done) {
  const source = pixels();
  const kept = bestCrop(shown.track);
  $("enlarge").disabled = false;
  if (one && source && shown.frame === frame) {
    const side = Math.round(square(one).side);
    $("crop").replaceChildren(cut(source, one, Math.min(side, 1024)));
    $("crop-caption").textContent = `${side} px, as it is${asOne()}`;
    if (!shown.portraits.has(shown.track)) portray(shown.track, source, one);
  } else if (done?.crop || kept) {
    const url = done?.crop ?? kept.url;
    if ($("crop").firstChild?.getAttribute?.("src") !== url) $("crop").replaceChildren(element("img", { src: url, alt: "The face" }));
    $("crop-caption").textContent = done?.crop ? `as the model saw it${asOne()}` : `${kept.width} px, as it was kept`;
  } else if (!one) {
    $("crop").replaceChildren();
    $("crop-caption").textContent = "No face was found.";
    $("enlarge").disabled = true;
  }
}

export function enlarge() {
  const first = $("crop").firstChild;
  if (!first) return;
  const copies = [first, $("heat").querySelector("img")].filter(Boolean).map(copy);
  $("large-view").replaceChildren(...copies);
  $("large").showModal();
}

function copy(source) {
  if (source.tagName === "IMG") return element("img", { src: source.src, alt: source.alt });
  const made = element("canvas", { width: source.width, height: source.height, role: "img", "aria-label": "The face" });
  made.getContext("2d").drawImage(source, 0, 0);
  return made;
}

// --- portraits -------------------------------------------------------------------------------

export function thumbnail(track) {
  return shown.portraits.get(track) ?? element("span", { className: "portrait" });
}

// A person's portrait, once there are pixels for it.
export function portray(track, source, one) {
  if (!one || shown.portraits.has(track)) return;
  const canvas = cut(source, one, PORTRAIT_PX);
  canvas.className = "portrait";
  shown.portraits.set(track, canvas);
  const row = [...$("people").children].find((each) => Number(each.dataset.track) === track);
  row?.querySelector(".portrait")?.replaceWith(canvas);
}

// --- where the model looked ------------------------------------------------------------------

const key = ({ frame, face: one }) => `${frame.index}.${frame.faces.indexOf(one)}`;

function drawHeat({ face: one }, done) {
  const button = $("explain");
  button.hidden = Boolean(done);
  button.disabled = !one;
  $("heat").querySelector("img")?.remove();
  $("heat-caption").textContent = done?.said ?? (one ? "" : "There is nothing to explain.");
  if (!done?.heat) return;
  $("heat").append(element("img", { src: done.heat, alt: "Grad-CAM: bright is what spoke for fake" }));
}

export async function explain(item) {
  const found = item && face();
  if (!found?.face || shown.explained.has(key(found))) return;
  const run = shown.run, place = key(found);
  const say = (values) => { if (run === shown.run) { shown.explained.set(place, values); draw(); } };
  const forget = (said) => { if (run === shown.run) { shown.explained.delete(place); draw(); $("heat-caption").textContent = said; } };
  say({ said: "A worker is looking…" });
  try {
    const answer = await awaited(item, found, () => run === shown.run, (said) => say({ said }));
    if (answer?.done) say({ heat: answer.heat, crop: answer.crop, said: spoke(found.face.score) });
    else if (answer) forget(answer.error);
  } catch (error) {
    forget("");
    complain(error);
  }
}

function spoke(score) {
  const of = firstOf() ? ` in ${firstOf()}; ${percent(score)} is the score of all` : ` (${percent(score)})`;
  return `Bright spoke for fake${of}: where it looked, not whether it is right.`;
}

// What is waited for, in words.
function awaits({ told, before, workers }, waited) {
  if (workers === 0) return "No worker runs, so nobody looks: deepsweep worker starts one.";
  const why = !told ? "The queue does not answer; a worker finds it all the same. " : workers ? "Workers are busy. " : "";
  const others = before ? `${before} ${before === 1 ? "other comes" : "others come"} first. ` : "";
  return `${why}${others}Waiting for ${Math.round(waited)} of ${GIVE_UP_S} s; judge without it if you like.`;
}

// The last answer: done, or with an error; null once nobody looks at the item any more.
async function awaited(item, { frame, face: one }, wanted, say) {
  const asked = { frame: frame.index, face: frame.faces.indexOf(one) };
  const begin = () => ask("POST", `/review/${item.review_id}/explanations`, asked);
  const started = Date.now();
  let answer = await begin(), told = Date.now();
  while (!answer.done && !answer.error) {
    const waited = (Date.now() - started) / 1000;
    if (waited > WONDER_S || !answer.told) say(awaits(answer, waited));
    if (waited > GIVE_UP_S) return { error: `Nobody looked within ${GIVE_UP_S} s. Ask again, or judge without it.` };
    await pause(POLL_MS);
    if (!wanted()) return null;
    if (Date.now() - told > PATIENCE_S * 1000) [answer, told] = [await begin(), Date.now()];
    else answer = { ...(await ask("GET", `/review/${item.review_id}/explanations/${answer.id}`)), told: answer.told };
  }
  return answer;
}
