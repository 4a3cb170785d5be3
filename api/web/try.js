// The page /try: upload a file, have it scanned, show the verdict with boxes, people and timeline.
// Nothing here writes HTML: text goes in as text, so what a file or a server says is never run.
"use strict";

const $ = (id) => document.getElementById(id);
const SIGNS = { fake: "▲", uncertain: "◆", real: "●", no_face: "○", failed: "✕" };
const WORDS = { fake: "Fake", uncertain: "Uncertain", real: "Real", no_face: "No face found", failed: "Could not be judged" };
const POLL_MS = 700;
const OVER = ["finished", "cancelled"];

// What is shown now; `run` counts, so that an answer for an older file is dropped.
const state = { run: 0, item: null, medium: null, thresholds: null, blobUrl: null };

// --- the service -----------------------------------------------------------------------------

class Refused extends Error {}

async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${$("key").value.trim()}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said.detail || `The service answered ${answer.status}.`);
  return said;
}

// fetch() tells nothing of how far an upload is; XMLHttpRequest does.
function upload(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/uploads");
    request.setRequestHeader("Authorization", `Bearer ${$("key").value.trim()}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Refused("The upload broke off. Is the file too large, or the service away?"));
    request.onload = () => {
      const said = request.response || {};
      if (request.status === 201) resolve(said);
      else reject(new Refused(said.detail || `The service answered ${request.status}.`));
    };
    request.send(file);
  });
}

async function finished(scanId, run) {
  for (;;) {
    const scan = await ask("GET", `/v1/scans/${scanId}`);
    if (run !== state.run || OVER.includes(scan.state)) return scan;
    const waiting = scan.counts.by_status.queued > 0 || scan.state === "expanding";
    tell(waiting ? "Waiting for a worker…" : "Looking at every face…");
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

// --- one file --------------------------------------------------------------------------------

async function judge(file) {
  const run = ++state.run;
  clear();
  if (!$("key").value.trim()) return complain("An API key is needed; deepsweep keys create makes one.");
  sessionStorage.setItem("deepsweep.key", $("key").value.trim());
  try {
    tell(`Uploading ${file.name}…`, 0);
    const stored = await upload(file, (share) => run === state.run && tell(`Uploading ${file.name}…`, share));
    if (run !== state.run) return;
    tell("Waiting for a worker…");
    const scan = await ask("POST", "/v1/scans", { items: [stored.uri], priority: "interactive" });
    await finished(scan.id, run);
    const page = await ask("GET", `/v1/scans/${scan.id}/items`);
    if (run !== state.run) return;
    if (!page.items.length) throw new Refused("The scan ended without a result.");
    state.blobUrl = URL.createObjectURL(file);
    await show(page.items[0].id, state.blobUrl, run);
  } catch (error) {
    if (run === state.run) complain(error.message);
  }
}

// An item of any scan: /try#item=7. Its bytes come by a signed link.
async function open(itemId) {
  const run = ++state.run;
  clear();
  try {
    const link = await ask("GET", `/v1/items/${itemId}/media`);
    await show(itemId, link.url, run);
  } catch (error) {
    if (run === state.run) complain(error.message);
  }
}

async function show(itemId, url, run) {
  const item = await ask("GET", `/v1/items/${itemId}`);
  const models = await ask("GET", "/v1/models");
  if (run !== state.run) return;
  const model = models.models.find((each) => each.model === item.model);
  state.item = item;
  state.thresholds = item.media && model && model.card.operating ? model.card.operating[item.media.kind] : null;
  tell("");
  $("result").hidden = false;
  showVerdict(item);
  showMedium(item, url);
  showPeople(item);
  showFacts(item);
  showLimits(model);
  showTimeline(item);
  $("report-form").hidden = item.status !== "done";
  $("result").scrollIntoView({ behavior: "smooth", block: "start" });
}

// --- the result ------------------------------------------------------------------------------

function outcome(item) { return item.status === "failed" ? "failed" : item.verdict; }

// The colour of a score: by the model's thresholds where they are known.
function wordOf(score) {
  if (score === null) return "no_face";
  const at = state.thresholds;
  if (!at) return score >= 0.5 ? "fake" : "real";
  return score >= at.fake_from ? "fake" : score < at.real_below ? "real" : "uncertain";
}

function showVerdict(item) {
  const word = outcome(item);
  $("verdict-card").className = `verdict card ${word}`;
  $("sign").textContent = SIGNS[word];
  $("verdict").textContent = WORDS[word];
  $("score").textContent = item.score === null ? "" : `${percent(item.score)} likely to be fake`;
  $("meter").parentElement.hidden = item.score === null;
  $("meter").style.width = percent(item.score ?? 0);
  $("reason").textContent = item.error ? item.error.message : item.reason || "";
}

function showMedium(item, url) {
  const media = item.media;
  const video = media && media.kind === "video" && !["gif", "webp", "png", "avif"].includes(media.format);
  const medium = document.createElement(video ? "video" : "img");
  if (video) Object.assign(medium, { controls: true, muted: true, playsInline: true, preload: "auto" });
  else medium.alt = "The picture that was judged";
  medium.addEventListener(video ? "loadedmetadata" : "load", () => (video ? seek(mostSuspicious(item).pts_s) : drawBoxes()));
  medium.addEventListener("timeupdate", drawBoxes);
  medium.addEventListener("seeked", drawBoxes);
  medium.addEventListener("error", () => {
    const comfort = item.status === "failed" ? "" : " The verdict stands all the same.";
    medium.replaceWith(element("p", { className: "missing" }, `Your browser cannot show this file.${comfort}`));
    state.medium = null;
    drawBoxes();
  });
  state.medium = medium;
  $("view").prepend(medium);
  medium.src = url;
}

function mostSuspicious(item) {
  return item.frames.reduce((best, each) => ((each.score ?? -1) > (best.score ?? -1) ? each : best));
}

function shownFrame() {
  const frames = state.item ? state.item.frames : [];
  if (!frames.length) return null;
  const now = state.medium && state.medium.tagName === "VIDEO" ? state.medium.currentTime : 0;
  return frames.reduce((best, each) => (Math.abs(each.pts_s - now) < Math.abs(best.pts_s - now) ? each : best));
}

function drawBoxes() {
  const svg = $("boxes");
  svg.replaceChildren();
  const frame = shownFrame();
  const media = state.item && state.item.media;
  if (!frame || !media || !state.medium) return;
  const { offsetLeft, offsetTop, clientWidth, clientHeight } = state.medium;
  Object.assign(svg.style, { left: `${offsetLeft}px`, top: `${offsetTop}px`, width: `${clientWidth}px`, height: `${clientHeight}px` });
  svg.setAttribute("viewBox", `0 0 ${media.width} ${media.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const size = Math.max(media.width / 40, 11 * (media.width / Math.max(clientWidth, 1)));
  for (const face of frame.faces) {
    const [x1, y1, x2, y2] = face.box;
    const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rx: (x2 - x1) / 20 };
    const group = vector("g", { class: wordOf(face.score) });
    const label = vector("text", { x: x1, y: Math.max(y1 - size * 0.35, size), "font-size": size });
    label.textContent = `${SIGNS[wordOf(face.score)]} ${percent(face.score)} · track ${face.track}`;
    group.append(vector("rect", { ...place, class: "halo" }), vector("rect", place), label);
    svg.append(group);
  }
  const faces = frame.faces.length === 1 ? "1 face" : `${frame.faces.length} faces`;
  $("caption").textContent = media.kind === "video" ? `Frame at ${frame.pts_s.toFixed(2)} s: ${faces}` : faces;
  markNow(frame);
}

function showPeople(item) {
  $("people-card").hidden = !item.tracks.length;
  const top = Math.max(...item.tracks.map((each) => each.score));
  $("people").replaceChildren(...item.tracks.map((each) =>
    element("tr", { className: each.score === top ? "top" : "" },
      element("td", {}, `${SIGNS[wordOf(each.score)]} track ${each.track}`),
      element("td", {}, percent(each.score)),
      element("td", {}, String(each.frames)))));
}

function showFacts(item) {
  const media = item.media || {};
  const spent = Object.entries(item.timings_ms || {}).map(([stage, ms]) => `${stage} ${Math.round(ms)} ms`);
  const facts = [
    ["Model", item.model],
    ["Item", String(item.id)],
    ["Kind", media.format && `${media.format}, ${media.width} × ${media.height}`],
    ["Duration", media.duration_s && `${media.duration_s.toFixed(1)} s, ${item.frames.length} frames looked at`],
    ["Bytes", media.bytes && media.bytes.toLocaleString("en")],
    ["SHA-256", media.sha256],
    ["Took", spent.join(", ")],
    ["Shared", item.shared && "These bytes were judged before; the verdict is the same one."],
    ["Error", item.error && item.error.code],
  ];
  $("facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value)]));
}

function showLimits(model) {
  const limits = (model && model.card.limits) || [];
  $("limits").hidden = !limits.length;
  $("limits-list").replaceChildren(...limits.map((each) => element("li", {}, String(each))));
}

// --- the timeline ----------------------------------------------------------------------------

const WIDTH = 1000, HEIGHT = 150, EDGE = 8;
const heightOf = (score) => EDGE + (1 - score) * (HEIGHT - 2 * EDGE);

function span() {
  const last = state.item.frames.at(-1).pts_s;
  return Math.max(state.item.media.duration_s || 0, last, 0.001);
}
const placeOf = (seconds) => EDGE + (seconds / span()) * (WIDTH - 2 * EDGE);

function showTimeline(item) {
  const several = item.frames.length > 1;
  $("timeline-card").hidden = !several;
  if (!several) return;
  const svg = $("timeline");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(line(0, "axis"), line(1, "axis"));
  if (state.thresholds) svg.append(line(state.thresholds.fake_from, "threshold"), line(state.thresholds.real_below, "threshold"));
  for (const track of item.tracks) {
    const points = item.frames.flatMap((frame) => frame.faces.filter((face) => face.track === track.track)
      .map((face) => `${placeOf(frame.pts_s)},${heightOf(face.score)}`));
    svg.append(vector("polyline", { points: points.join(" "), class: wordOf(track.score) }));
  }
  svg.append(vector("line", { id: "now", class: "now", y1: 0, y2: HEIGHT }));
  $("frames").replaceChildren(...item.frames.map((frame) => {
    const button = element("button", { type: "button", className: wordOf(frame.score) }, `${frame.pts_s.toFixed(1)} s`);
    button.addEventListener("click", () => seek(frame.pts_s));
    return button;
  }));
  markNow(shownFrame());
}

function line(score, name) {
  return vector("line", { class: name, x1: 0, x2: WIDTH, y1: heightOf(score), y2: heightOf(score) });
}

function markNow(frame) {
  const now = document.getElementById("now");
  if (!now || !frame) return;
  for (const end of ["x1", "x2"]) now.setAttribute(end, placeOf(frame.pts_s));
  [...$("frames").children].forEach((button, place) =>
    button.setAttribute("aria-current", String(state.item.frames[place] === frame)));
}

function seek(seconds) {
  if (state.medium && state.medium.tagName === "VIDEO") state.medium.currentTime = seconds;
}

// --- small things ----------------------------------------------------------------------------

function percent(share) { return `${Math.round(share * 100)}%`; }

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function vector(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function tell(text, share) {
  $("status").textContent = text;
  $("status").hidden = $("progress").hidden = !text;
  if (share === undefined) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function complain(text) {
  tell("");
  $("problem").textContent = text;
  $("problem").hidden = false;
}

function clear() {
  $("problem").hidden = $("result").hidden = true;
  if (state.medium) state.medium.removeAttribute("src");
  $("view").querySelectorAll("img, video, .missing").forEach((each) => each.remove());
  $("boxes").replaceChildren();
  $("caption").textContent = "";
  if (state.blobUrl) URL.revokeObjectURL(state.blobUrl);
  Object.assign(state, { item: null, medium: null, blobUrl: null });
}

async function report(event) {
  event.preventDefault();
  if (!state.item) return;
  try {
    await ask("POST", `/v1/items/${state.item.id}/report`, { says: $("says").value || null, note: $("note").value });
    tell("Thank you. A person will look at it.");
    $("progress").hidden = true;
  } catch (error) {
    complain(error.message);
  }
}

function openFromAddress() {
  const found = /^#item=([1-9][0-9]*)$/.exec(location.hash);
  if (found && $("key").value) open(found[1]);
}

function start() {
  $("key").value = sessionStorage.getItem("deepsweep.key") || "";
  $("key-form").addEventListener("submit", (event) => { event.preventDefault(); openFromAddress(); });
  $("report-form").addEventListener("submit", report);
  $("file").addEventListener("change", () => { if ($("file").files[0]) judge($("file").files[0]); $("file").value = ""; });
  $("drop").addEventListener("keydown", (event) => { if (["Enter", " "].includes(event.key)) { event.preventDefault(); $("file").click(); } });
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) judge(event.dataTransfer.files[0]); });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files[0]) judge(event.clipboardData.files[0]); });
  $("timeline").addEventListener("click", (event) => {
    const share = event.offsetX / $("timeline").clientWidth;
    if (state.item) seek(share * span());
  });
  addEventListener("resize", drawBoxes);
  addEventListener("hashchange", openFromAddress);
  openFromAddress();
}

start();
