// Copy buttons. They are hidden until this runs, because without it they do nothing.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) break;
  const label = button.querySelector("[data-label]");
  const status = document.getElementById("copy-status");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      said = "Not copied";
    }
    label.textContent = said;
    status.textContent = said;
    setTimeout(() => {
      label.textContent = "Copy";
      status.textContent = "";
    }, 2000);
  });
}
