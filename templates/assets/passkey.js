// Passkeys (Web Authentication). A form with data-passkey asks the browser to use a passkey ("get") or to create one
// ("create"), and then sends its answer. The buttons are hidden until this runs, because without it they do nothing.
"use strict";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  buffer && btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

// The options as the browser takes them, and its answer as the server does.
const decode = (options) => {
  const listed = (list) => (list || []).map((c) => ({ ...c, id: toBytes(c.id) }));
  const decoded = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) decoded.user = { ...options.user, id: toBytes(options.user.id) };
  if (options.allowCredentials) decoded.allowCredentials = listed(options.allowCredentials);
  if (options.excludeCredentials) decoded.excludeCredentials = listed(options.excludeCredentials);
  return decoded;
};
const encode = (credential) => {
  const answer = credential.response;
  const response = { clientDataJSON: toText(answer.clientDataJSON) };
  if (answer.attestationObject) {
    response.attestationObject = toText(answer.attestationObject);
    response.transports = answer.getTransports ? answer.getTransports() : [];
  } else {
    response.authenticatorData = toText(answer.authenticatorData);
    response.signature = toText(answer.signature);
    response.userHandle = toText(answer.userHandle);
  }
  return JSON.stringify({
    id: credential.id, rawId: toText(credential.rawId), type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
    clientExtensionResults: {}, response,
  });
};

// A challenge works for five minutes, so one that waits in the address field is renewed before that.
const renewal = 4 * 60 * 1000;
let waiting; // aborts the request that waits in the address field

const request = async (form) => {
  if (!form.dataset.optionsUrl) return JSON.parse(form.dataset.options);
  const answer = await fetch(form.dataset.optionsUrl, { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = await answer.json();
  form.querySelector("[data-challenge]").value = fresh.challenge;
  return fresh.options;
};

const send = (form, credential) => {
  form.querySelector("[data-credential]").value = encode(credential);
  form.submit();
};

const failed = (form, error) => {
  const kind = error.name === "InvalidStateError" ? "exists" : "failed";
  for (const text of form.querySelectorAll("[data-passkey-error]")) {
    text.hidden = text.dataset.passkeyError !== kind;
  }
};

const start = async (form) => {
  // A password is not needed with a passkey; what else the form asks for is.
  for (const field of form.elements) {
    if (field.type !== "password" && !field.reportValidity()) return;
  }
  waiting?.abort();
  try {
    const publicKey = decode(await request(form));
    send(form, form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey })
      : await navigator.credentials.get({ publicKey }));
  } catch (error) {
    failed(form, error);
  }
};

// The browser lists passkeys in the address field, if it can.
const listen = async (form) => {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  for (;;) {
    const mine = new AbortController();
    let old = false;
    waiting = mine;
    const timer = setTimeout(() => { old = true; mine.abort(); }, renewal);
    try {
      const publicKey = decode(await request(form));
      if (mine.signal.aborted && !old) return;
      send(form, await navigator.credentials.get({ publicKey, mediation: "conditional", signal: mine.signal }));
      return;
    } catch {
      if (!old) return;
    } finally {
      clearTimeout(timer);
    }
  }
};

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    for (const hidden of form.querySelectorAll("[data-passkey-show]")) hidden.hidden = false;
    form.querySelector("[data-passkey-button]").addEventListener("click", () => start(form));
    if (form.hasAttribute("data-conditional")) listen(form);
  }
  for (const hidden of document.querySelectorAll("[data-passkey-or]")) hidden.hidden = false;
} else {
  for (const text of document.querySelectorAll("[data-passkey-missing]")) text.hidden = false;
}

// A code works once, so a form with one is sent once.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => { delete form.dataset.sent; });
}
