// While a scan goes on, the page is loaded anew every few seconds, as long as somebody looks at it
// and has no button in hand.
const EVERY_MS = 5_000;

if (document.querySelector("[data-open]")) {
  document.getElementById("live").textContent = "Kept up to date while scans go on.";
  setInterval(() => {
    const quiet = !document.hidden && !document.activeElement?.matches("button, summary");
    if (quiet) location.reload();
  }, EVERY_MS);
}
