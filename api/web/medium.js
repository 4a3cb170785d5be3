// The picture or player with the boxes over it, blurred where the scan says so.
import { $, element, percent, SIGNS, vector } from "/pages/desk.js";
import { preferences } from "/pages/preferences.js";
import * as time from "/pages/time.js";

// A frame's time is its start: a little later is surely within it.
export const WITHIN_S = 0.01;

const shown = { item: null, medium: null, track: 0, frame: null, broken: false, ready: true, onFrame: null, onPick: null };
const made = new Map();
// Films that are begun when the visible one is there: two that decode at once are both late.
let later = [];
let refreshLink = null;

// The colour of a score: by the model's thresholds where they are known.
export function wordOf(score, at) {
  if (score === null || score === undefined) return "no_face";
  if (!at) return score >= 0.5 ? "fake" : "real";
  return score >= at.fake_from ? "fake" : score < at.real_below ? "real" : "uncertain";
}

export function start({ refresh }) {
  refreshLink = refresh;
  addEventListener("resize", () => { fit(); time.draw(); });
}

// Begin to load an item's bytes, so that it is there when it is shown.
export function preload(item) {
  if (made.has(item.review_id) || !item.medium.element) return;
  if (item.medium.element === "video" && !shown.ready) later.push(item);
  else made.set(item.review_id, make(item));
}

function make(item) {
  const video = item.medium.element === "video";
  const medium = document.createElement(video ? "video" : "img");
  // Without the browser's own controls, which lie over mouths.
  if (video) Object.assign(medium, { muted: true, playsInline: true, preload: "auto", loop: true });
  else Object.assign(medium, { alt: "The picture in question", decoding: "async" });
  medium.src = item.medium.url;
  // At the frame that is shown first, before anybody looks; or at the one that was chosen meanwhile.
  if (video) medium.addEventListener("loadedmetadata", () => goTo(medium, shown.medium === medium ? shown.frame : suspicious(item)), { once: true });
  return medium;
}

// A film goes to a frame; it stays where it is if it is there.
function goTo(video, frame) {
  const at = frame ? frame.pts_s + WITHIN_S : 0;
  if (Math.abs(video.currentTime - at) > 0.001) video.currentTime = at;
}

export function show(item, { onFrame, onPick }) {
  $("view").querySelectorAll("img, video, .missing").forEach((each) => { each.pause?.(); each.remove(); });
  later = later.filter((each) => each !== item);
  shown.ready = true;
  preload(item);
  Object.assign(shown, { item, medium: made.get(item.review_id) ?? null, frame: suspicious(item), broken: false, ready: false, onFrame, onPick });
  made.delete(item.review_id);
  blur(item.blur || preferences.blur);
  $("player").hidden = item.medium.element !== "video";
  time.show(item, { seek, wordOf });
  if (shown.medium) adopt(item, shown.medium);
  else missing();
  drawPlayer();
  fit();
}

function adopt(item, medium) {
  const video = medium.tagName === "VIDEO";
  const mine = (work) => () => shown.medium === medium && work();
  const ready = mine(() => { fit(); if (video) seek(shown.frame); else changed(); if (!medium.seeking) isReady(); });
  medium.addEventListener(video ? "loadeddata" : "load", ready, { once: true });
  if (video) {
    for (const name of ["timeupdate", "seeked"]) medium.addEventListener(name, mine(follow));
    medium.addEventListener("seeked", mine(isReady));
    for (const name of ["play", "pause", "timeupdate", "volumechange"]) medium.addEventListener(name, mine(drawPlayer));
    medium.addEventListener("click", playOrPause);
  }
  medium.addEventListener("error", mine(() => failed(item, medium)));
  $("view").prepend(medium);
  if (medium.error) failed(item, medium);
  else if (video ? medium.readyState >= 2 : medium.complete && medium.naturalWidth) queueMicrotask(ready);
}

// The visible medium is there: now others may load.
function isReady() {
  if (shown.ready) return;
  shown.ready = true;
  later.splice(0).forEach(preload);
  time.fill();
}

// As large as there is room above the buttons, and at most twice as large as it is.
function fit() {
  const { item, medium } = shown;
  if (!medium) return draw();
  const below = $("actions").offsetHeight + $("player").offsetHeight + ($("over-time").hidden ? 16 : $("over-time").offsetHeight + 24);
  const top = $("view").getBoundingClientRect().top + scrollY;
  const room = Math.max(innerHeight - top - below, Math.min(260, innerHeight * 0.45));
  const scale = Math.min($("view").clientWidth / item.medium.width, room / item.medium.height, 2);
  Object.assign(medium.style, { width: `${Math.round(item.medium.width * scale)}px`, height: `${Math.round(item.medium.height * scale)}px` });
  draw();
}

// A link lives for minutes: past its time there is a new one, once; then browsers cannot show it.
async function failed(item, medium) {
  if (item.medium.until_s * 1000 < Date.now()) {
    try {
      item.medium.url = await refreshLink(item);
      item.medium.until_s = Date.now() / 1000 + 600;
      if (shown.medium === medium) medium.src = item.medium.url;
      return;
    } catch { /* said below */ }
  }
  if (shown.medium === medium) missing();
}

function missing() {
  shown.medium?.remove();
  $("player").hidden = true;
  Object.assign(shown, { medium: null, broken: true });
  isReady();
  $("view").prepend(element("p", { className: "missing" },
    `Browsers do not show ${shown.item.medium.format} as it is. The faces are beside it: judge by them, or skip.`));
  draw();
  changed();
}

// --- frames ----------------------------------------------------------------------------------

// The frame in which a person, or anyone, is most suspicious.
export function suspicious(item, track) {
  let best = null, top = -1;
  for (const frame of item.frames) {
    for (const face of frame.faces) {
      if ((track === undefined || face.track === track) && face.score > top) [best, top] = [frame, face.score];
    }
  }
  return best ?? item.frames[0] ?? null;
}

export function faceOf(frame, track) {
  return frame?.faces.find((face) => face.track === track) ?? null;
}

function follow() {
  const now = shown.medium.currentTime;
  const frame = shown.item.frames.reduce((best, each) =>
    (!best || Math.abs(each.pts_s - now) < Math.abs(best.pts_s - now) ? each : best), null);
  shown.frame = frame;
  draw();
  changed();
}

function seek(frame) {
  shown.frame = frame;
  if (shown.medium?.tagName === "VIDEO" && frame) {
    shown.medium.pause();
    goTo(shown.medium, frame);
  }
  draw();
  changed();
}

function changed() {
  time.mark(shown.frame);
  shown.onFrame?.(shown.frame);
}

export function stepFrame(by) {
  const frames = shown.item.frames;
  const place = frames.indexOf(shown.frame) + by;
  if (frames[place]) seek(frames[place]);
}

export function playOrPause() {
  const video = shown.medium;
  if (video?.tagName === "VIDEO") video.paused ? video.play() : video.pause();
}

export function toggleSound() {
  const video = shown.medium;
  if (video?.tagName === "VIDEO") video.muted = !video.muted;
}

function drawPlayer() {
  const video = shown.medium;
  if (video?.tagName !== "VIDEO") return;
  const length = shown.item.medium.duration_s ?? video.duration;
  $("play-word").textContent = video.paused ? "▶ Play" : "❚❚ Pause";
  $("play").setAttribute("aria-pressed", String(!video.paused));
  $("sound").setAttribute("aria-pressed", String(!video.muted));
  $("clock").textContent = `${video.currentTime.toFixed(1)} of ${length ? length.toFixed(1) : "?"} s`;
}

export function choose(track) {
  shown.track = track;
  if (!faceOf(shown.frame, track)) seek(suspicious(shown.item, track));
  else draw();
  time.choose(track);
  changed();
}

// What a face can be cut from: the element, where it has pixels, and whether they are of the frame.
export function pixels() {
  const medium = shown.medium;
  if (!medium) return null;
  if (medium.tagName === "IMG") return medium.complete && medium.naturalWidth ? medium : null;
  const near = shown.frame && Math.abs(medium.currentTime - shown.frame.pts_s) < 0.5;
  return medium.readyState >= 2 && !medium.seeking && near ? medium : null;
}

// --- blur ------------------------------------------------------------------------------------

function blur(on) {
  document.body.classList.toggle("blurred", on);
  $("reveal").hidden = !on;
}

export function toggleBlur() {
  blur(!document.body.classList.contains("blurred"));
}

// --- boxes -----------------------------------------------------------------------------------

function draw() {
  const svg = $("boxes");
  svg.replaceChildren();
  const { item, medium, frame } = shown;
  svg.hidden = !medium || !frame;
  if (!medium || !frame || !medium.clientWidth) return;
  const { width, height } = item.medium;
  const place = medium.getBoundingClientRect(), around = $("view").getBoundingClientRect();
  Object.assign(svg.style, { left: `${place.left - around.left}px`, top: `${place.top - around.top}px`, width: `${place.width}px`, height: `${place.height}px` });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const unit = width / medium.clientWidth;
  svg.append(...frame.faces.map((face) => box(face, item, unit)));
}

function box(face, item, unit) {
  const [x1, y1, x2, y2] = face.box;
  const word = wordOf(face.score, item.thresholds);
  const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, rx: (x2 - x1) / 24 };
  const size = 14 * unit;
  const text = vector("text", { x: x1 + 2 * unit, y: Math.max(y1 - 6 * unit, size), "font-size": size, class: "opinion-text" },
    `${SIGNS[word]} ${percent(face.score)}`);
  const name = vector("text", { x: x1 + 2 * unit, y: y2 + 16 * unit, "font-size": size }, item.tracks.length > 1 ? `track ${face.track}` : "");
  const group = vector("g", { class: `${word}${face.track === shown.track ? " chosen" : ""}` },
    vector("rect", { ...place, class: "halo" }), vector("rect", place), text, name);
  group.addEventListener("click", () => shown.onPick(face.track));
  return group;
}

// --- the score among the thresholds ----------------------------------------------------------

export function meter(score, at) {
  const svg = vector("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" });
  const [low, high] = at ? [at.real_below * 100, at.fake_from * 100] : [50, 50];
  for (const [from, to, word] of [[0, low, "real"], [low, high, "uncertain"], [high, 100, "fake"]]) {
    svg.append(vector("rect", { x: from, y: 3.5, width: Math.max(0, to - from), height: 3, class: `band ${word}` }));
  }
  if (score !== null) svg.append(vector("rect", { x: Math.min(99, Math.max(0, score * 100 - 0.5)), y: 0, width: 1, height: 10, class: "needle" }));
  return svg;
}
