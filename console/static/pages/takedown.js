import { ask, send } from "../api.js";
import { html } from "../html.js";
import { danger } from "./danger.js";

const EVERY_MS = 500;

// The button that takes an item out of the catalogue and all lists. Returns how to leave.
export const takedown = (place, item, may) => danger(place, {
  title: "Take down this item",
  does: "Removes the item from the catalogue and from all lists that are made from then on. Histories keep it.",
  missing: html`No permission: this takes a token with the right <code>items</code>. Create one with <code>segue token NAME --records items</code>.`,
  question: `The ${item.type} ${JSON.stringify(item.id)}${item.title ? ` (${item.title})` : ""} leaves the catalogue and all lists. To bring it back, write its catalogue record again.`,
  writing: "Writing the takedown …",
}, may, async (say, left) => {
  const written = await send("POST", "v1/items", { item_type: item.type, item_id: item.id, deleted: true });
  const at = written.at_least.join(", ");
  say(`The takedown is written (${at}). Waiting until this console has read it …`);
  while (!left()) {
    const known = await ask("v1/item", { type: item.type, id: item.id }).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
    if (left()) return;
    if (!known || (!known.catalogue && !known.recommendable)) return say(`Taken down (${at}). No list that is made from now on has it; lists that were written before stay until the user’s next one.`, "good");
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
});
