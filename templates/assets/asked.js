// The page that waits for an email asks every few seconds whether the link was opened, and goes on or says so.
"use strict";

const waiting = document.querySelector("[data-waiting]");
const ask = async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (answer.redirected) location.assign(answer.url);
    else if (answer.ok && !(await answer.text()).includes("data-waiting")) location.reload();
  } catch {
    // The next time may succeed.
  }
};
if (waiting) setInterval(ask, 2500);
