// API client of the pages; the token is kept until the tab is closed.
export class Missing extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

const TOKEN = "segue-token";

export function takeTokenFromAddress() {
  const found = location.hash.match(/^#token=([\w-]+)$/);
  if (!found) return;
  sessionStorage.setItem(TOKEN, found[1]);
  // Keep the token out of the browser history.
  history.replaceState(null, "", "#/now");
}

export async function ask(path, parameters = {}, options = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    for (const one of [value].flat()) if (one !== undefined && one !== "") query.append(name, one);
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...options.headers };
  let answer;
  try {
    answer = await fetch(query.size ? `${path}?${query}` : path, { ...options, headers });
  } catch {
    throw new Missing(0, "The console does not answer. Check that `segue console` is running.");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Missing(answer.status, problem.detail ?? `Status ${answer.status}`);
  }
  return answer.json();
}

export const send = (method, path, body, parameters) =>
  ask(path, parameters, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
  });

function opened(dialog) {
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "ok"), { once: true }));
}

export async function askForToken() {
  const dialog = document.querySelector("#token-dialog");
  const field = dialog.querySelector("input");
  field.value = "";
  const given = (await opened(dialog)) && field.value.trim();
  if (given) sessionStorage.setItem(TOKEN, given);
  return Boolean(given);
}

export function confirmed(title, text) {
  const dialog = document.querySelector("#confirm-dialog");
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("#confirm-text").textContent = text;
  return opened(dialog);
}
