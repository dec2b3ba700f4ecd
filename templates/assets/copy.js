// Copy buttons. They are hidden until this runs, because without it they do nothing.
"use strict";

// A secret is shown once: people who leave before they copied it, or said that they stored it, are asked first.
let stored = !document.querySelector("[data-leave]");
window.addEventListener("beforeunload", (event) => {
  if (!stored) event.preventDefault();
});
document.querySelector("[data-stored]")?.addEventListener("click", () => { stored = true; });
document.addEventListener("copy", () => { stored = true; });

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  const label = button.querySelector("[data-label]");
  const copy = label.textContent;
  // In English pages the element has no words.
  const status = document.getElementById("copy-status");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    let said = status.dataset.copied || "Copied";
    try {
      await navigator.clipboard.writeText(text);
      stored = true;
    } catch {
      said = status.dataset.failed || "Not copied";
    }
    label.textContent = said;
    status.textContent = said;
    setTimeout(() => {
      label.textContent = copy;
      status.textContent = "";
    }, 2000);
  });
}
