import { ask, confirmed, send } from "../api.js";
import { html, put } from "../html.js";

const EVERY_MS = 500;

// The button that takes an item out of the catalogue and all lists. Returns how to leave.
export function takedown(place, item, may) {
  put(place, html`<h2>Take down this item</h2>
    <p class="soft">Removes the item from the catalogue and from all lists that are made from then on. Histories keep it.</p>
    ${may ? html`<p><button type="button" class="danger">Take down this item</button></p>`
    : html`<p class="note">No permission: this takes a token with the right <code>items</code>. Create one with <code>segue token NAME --records items</code>.</p>`}
    <p id="taken-down" role="status"></p>`);
  let left = false;
  const said = place.querySelector("#taken-down");
  const say = (text, kind = "") => { said.textContent = text; said.className = kind; };
  const button = place.querySelector("button");
  if (button) button.onclick = async () => {
    if (!(await confirmed("Take down this item?", `The ${item.type} ${JSON.stringify(item.id)}${item.title ? ` (${item.title})` : ""} leaves the catalogue and all lists. To bring it back, write its catalogue record again.`))) return;
    button.disabled = true;
    say("Writing the takedown …");
    try {
      const written = await send("POST", "v1/items", { item_type: item.type, item_id: item.id, deleted: true });
      const at = written.at_least.join(", ");
      say(`The takedown is written (${at}). Waiting until this console has read it …`);
      await follow(at);
    } catch (error) {
      button.disabled = false;
      say(`Failed: ${error.message}`, "bad");
    }
  };
  const follow = async (at) => {
    while (!left) {
      const known = await ask("v1/item", { type: item.type, id: item.id }).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
      if (left) return;
      if (!known || (!known.catalogue && !known.recommendable)) return say(`Taken down (${at}). No list that is made from now on has it; lists that were written before stay until the user’s next one.`, "good");
      await new Promise((done) => setTimeout(done, EVERY_MS));
    }
  };
  return () => { left = true; };
}
