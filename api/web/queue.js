// The queue: Enter starts, and items in hands can be handed back.
import { ask } from "/pages/desk.js";

const start = document.getElementById("start");
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target === document.body) start.click();
});

const release = document.getElementById("release");
release?.addEventListener("submit", async (event) => {
  event.preventDefault();
  await ask("POST", "/review/release");
  location.reload();
});
