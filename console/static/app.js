// The router: one page at a time, each a function that draws into `main` and returns how to leave.
import { Missing, askForToken, takeTokenFromAddress } from "./api.js";
import { html, loading, put } from "./html.js";
import { hintScrolling } from "./scrolling.js";
import { now } from "./pages/now.js";
import { quality } from "./pages/quality.js";
import { user } from "./pages/user.js";
import { item } from "./pages/item.js";
import { space } from "./pages/space.js";
import { policies } from "./pages/policies.js";
import { letters } from "./pages/letters.js";
import { checkpoints } from "./pages/checkpoints.js";

const pages = { now, quality, user, item, policies, space, letters, checkpoints };
const main = document.querySelector("#main");
let leave = () => {};
let visits = 0;

async function show() {
  const visit = ++visits;
  const [name, query] = location.hash.replace(/^#\//, "").split("?");
  const page = pages[name] ? name : "now";
  for (const link of document.querySelectorAll("nav a"))
    link.getAttribute("href") === `#/${page}` ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  document.querySelector("nav [aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  leave();
  leave = () => {};
  // A separate element per visit, so that a slow page cannot draw over the next one.
  const element = document.createElement("div");
  main.replaceChildren(element);
  put(element, loading);
  try {
    const left = await pages[page](element, new URLSearchParams(query));
    if (visit !== visits) left?.();
    else leave = left ?? (() => {});
  } catch (error) {
    put(element, problem(error));
  }
  if (visit === visits && visit > 1) {
    // Without it the browser scrolls the header out of sight.
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  document.title = `${document.querySelector("nav [aria-current]").textContent} · Segue console`;
}

function problem(error) {
  if (error instanceof Missing && (error.status === 401 || error.status === 403))
    return html`<h1>${error.status === 401 ? "Enter token" : "No permission"}</h1>
      <div class="note"><p>This page needs a right: ${error.message}.</p>
      <p><button class="main" data-token type="button">Enter token</button></p></div>`;
  return html`<h1>Couldn't load</h1>
    <div class="problem" role="alert"><p>${error.message}</p>
    <p><button data-again type="button">Try again</button></p></div>`;
}

document.addEventListener("click", async (event) => {
  if (event.target.closest("[data-again]")) show();
  if (event.target.closest("[data-token], #token") && (await askForToken())) show();
});
addEventListener("hashchange", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
takeTokenFromAddress();
hintScrolling(main);
show();
