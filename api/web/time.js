// Scores over time, a line for each person, and the sampled frames as a strip.
import { $, element, percent, vector } from "/pages/desk.js";
import { WITHIN_S, faceOf, suspicious } from "/pages/medium.js";
import * as faces from "/pages/faces.js";

const HEIGHT = 120, LEFT = 40, RIGHT = 10, TOP = 8, BOTTOM = 20;
const THUMB_PX = 72;

const shown = { item: null, seek: null, wordOf: null, track: 0, frame: null, run: 0 };

export function show(item, { seek, wordOf }) {
  Object.assign(shown, { item, seek, wordOf, frame: null, run: shown.run + 1 });
  const several = item.frames.length > 1;
  $("over-time").hidden = !several;
  $("strip").replaceChildren();
  if (!several) return;
  drawStrip();
  draw();
}

export function choose(track) {
  shown.track = track;
  draw();
}

export function mark(frame) {
  shown.frame = frame;
  const now = $("timeline").querySelector(".now");
  if (now && frame) for (const end of ["x1", "x2"]) now.setAttribute(end, placeOf(frame.pts_s));
  [...$("strip").children].forEach((button, place) => {
    const is = shown.item.frames[place] === frame;
    if (is && button.getAttribute("aria-current") !== "true") reveal(button);
    button.setAttribute("aria-current", String(is));
  });
}

// Within the strip alone: the page itself is not to jump.
function reveal(button) {
  const strip = $("strip");
  strip.scrollLeft = button.offsetLeft - strip.offsetLeft - (strip.clientWidth - button.clientWidth) / 2;
}

// --- the plot --------------------------------------------------------------------------------

const plotWidth = () => Math.max(240, $("timeline").clientWidth || 600);
const end = () => Math.max(shown.item.medium.duration_s || 0, shown.item.frames.at(-1).pts_s, 0.001);
const placeOf = (seconds) => LEFT + (seconds / end()) * (plotWidth() - LEFT - RIGHT);
const heightOf = (score) => TOP + (1 - score) * (HEIGHT - TOP - BOTTOM);

export function draw() {
  if (!shown.item || shown.item.frames.length < 2) return;
  const svg = $("timeline");
  svg.setAttribute("viewBox", `0 0 ${plotWidth()} ${HEIGHT}`);
  svg.replaceChildren(...bands(), ...axis(), ...shown.item.tracks.map(line), vector("line", { class: "now", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 }));
  svg.setAttribute("aria-label", `Scores over time. ${shown.item.tracks.map(spoken).join(" ")}`);
  mark(shown.frame);
}

function spoken(each) {
  const scores = points(each.track).map(([, face]) => face.score);
  return scores.length ? `Track ${each.track}: ${percent(Math.min(...scores))} to ${percent(Math.max(...scores))}.` : "";
}

const points = (track) => shown.item.frames.map((frame) => [frame, faceOf(frame, track)]).filter(([, face]) => face);

function bands() {
  const at = shown.item.thresholds;
  if (!at) return [];
  return [["real", 0, at.real_below], ["uncertain", at.real_below, at.fake_from], ["fake", at.fake_from, 1]].map(([word, low, high]) =>
    vector("rect", { class: `band ${word}`, x: LEFT, width: plotWidth() - LEFT - RIGHT, y: heightOf(high), height: Math.max(0, heightOf(low) - heightOf(high)) }));
}

function axis() {
  const text = (x, y, anchor, words) => vector("text", { x, y, "text-anchor": anchor, class: "tick" }, words);
  return [...[0, 0.5, 1].map((score) => text(LEFT - 6, heightOf(score) + 4, "end", percent(score))),
    text(LEFT, HEIGHT - 4, "start", "0 s"), text(plotWidth() - RIGHT, HEIGHT - 4, "end", `${end().toFixed(1)} s`)];
}

function line(each) {
  const word = shown.wordOf(each.score, shown.item.thresholds);
  const group = vector("g", { class: `line ${word}${each.track === shown.track ? " chosen" : ""}` });
  const found = points(each.track);
  group.append(vector("polyline", { points: found.map(([frame, face]) => `${placeOf(frame.pts_s)},${heightOf(face.score)}`).join(" ") }));
  for (const [frame, face] of found) {
    const dot = vector("circle", { cx: placeOf(frame.pts_s), cy: heightOf(face.score), r: 3.5, class: shown.wordOf(face.score, shown.item.thresholds) },
      vector("title", {}, `${frame.pts_s.toFixed(2)} s: track ${each.track}, ${percent(face.score)}`));
    dot.addEventListener("click", () => shown.seek(frame));
    group.append(dot);
  }
  return group;
}

// --- the strip -------------------------------------------------------------------------------

function drawStrip() {
  const { item } = shown;
  $("strip").replaceChildren(...item.frames.map((frame) => {
    const word = shown.wordOf(frame.score, item.thresholds);
    const canvas = element("canvas", { height: THUMB_PX, width: Math.round(THUMB_PX * Math.min(2.2, item.medium.width / item.medium.height)) });
    const button = element("button", { type: "button", className: `thumb ${word}` }, canvas,
      element("span", {}, `${frame.pts_s.toFixed(1)} s`), element("span", { className: "opinion-text" }, frame.score === null ? "no face" : percent(frame.score)));
    button.addEventListener("click", () => shown.seek(frame));
    return button;
  }));
}

// Draws the frames of a film, once the film itself is there.
export function fill() {
  if (shown.item?.medium.element === "video" && shown.item.frames.length > 1) filmThumbs(shown.item, shown.run);
}

// A player of its own goes through the frames, so that the visible one stays where it is.
async function filmThumbs(item, run) {
  const film = Object.assign(document.createElement("video"), { muted: true, preload: "auto", src: item.medium.url });
  const over = () => run !== shown.run;
  try {
    await happened(film, "loadeddata");
    for (const [place, frame] of item.frames.entries()) {
      if (over()) break;
      film.currentTime = frame.pts_s + WITHIN_S;
      await happened(film, "seeked");
      if (!over()) drawThumb($("strip").children[place].querySelector("canvas"), film, item, frame);
    }
  } catch { /* what cannot be drawn keeps its time and score */ } finally {
    film.removeAttribute("src");
    film.load();
  }
}

function drawThumb(canvas, film, item, frame) {
  const brush = canvas.getContext("2d");
  const scale = Math.max(canvas.width / film.videoWidth, canvas.height / film.videoHeight);
  const left = (canvas.width - film.videoWidth * scale) / 2, top = (canvas.height - film.videoHeight * scale) / 2;
  brush.drawImage(film, left, top, film.videoWidth * scale, film.videoHeight * scale);
  for (const each of item.tracks) if (suspicious(item, each.track) === frame) faces.portray(each.track, film, faceOf(frame, each.track));
}

function happened(target, name) {
  return new Promise((done, refuse) => {
    target.addEventListener(name, done, { once: true });
    target.addEventListener("error", () => refuse(target.error), { once: true });
  });
}
