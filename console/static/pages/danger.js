import { confirmed } from "../api.js";
import { html, put } from "../html.js";

// A button for a change that removes data, with a confirmation, and what became of the change.
// texts: title, does, missing (shown without the right), question, writing. act(say, left) writes the change and follows it;
// left() says whether the page was left. Returns how to leave.
export function danger(place, texts, may, act) {
  put(place, html`<h2>${texts.title}</h2>
    <p class="soft">${texts.does}</p>
    ${may ? html`<p><button type="button" class="danger">${texts.title}</button></p>` : html`<p class="note">${texts.missing}</p>`}
    <p id="outcome" role="status"></p>`);
  let gone = false;
  const said = place.querySelector("#outcome");
  const say = (text, kind = "") => { said.textContent = text; said.className = kind; };
  const button = place.querySelector("button");
  if (button) button.onclick = async () => {
    if (!(await confirmed(`${texts.title}?`, texts.question))) return;
    button.disabled = true;
    say(texts.writing);
    try {
      await act(say, () => gone);
    } catch (error) {
      button.disabled = false;
      say(`Failed: ${error.message}`, "bad");
    }
  };
  return () => { gone = true; };
}
