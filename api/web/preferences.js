// How a reviewer likes things shown; kept in this browser.
const KEY = "deepsweep.preferences";
const NAMES = ["blur", "grey", "blind"];

export const preferences = { blur: false, grey: false, blind: false };

function apply() {
  for (const name of ["grey", "blind"]) document.body.classList.toggle(name, preferences[name]);
  for (const name of NAMES) document.querySelector(`#preferences [name=${name}]`).checked = preferences[name];
}

export function change(name, value) {
  preferences[name] = value;
  try { localStorage.setItem(KEY, JSON.stringify(preferences)); } catch { /* private window: it holds for now */ }
  apply();
}

export function start() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY)) || {};
    for (const name of NAMES) preferences[name] = kept[name] === true;
  } catch { /* nothing kept, or not ours */ }
  apply();
  document.getElementById("preferences").addEventListener("change", (event) => change(event.target.name, event.target.checked));
}
