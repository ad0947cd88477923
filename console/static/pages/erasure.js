import { ask, confirmed, send } from "../api.js";
import { clock, counted, html, put } from "../html.js";

const EVERY_MS = 1000;

// The button that erases a user, and what came of it. Returns how to leave.
export function erasure(place, user, may) {
  put(place, html`<h2>Erase this user</h2>
    <p class="soft">Removes the history, the attributes, the pair counts and the lists of this user from all states. It cannot be undone.</p>
    ${may ? html`<p><button type="button" class="danger">Erase this user</button></p>`
    : html`<p class="note">No permission: the token lacks the right <code>write</code>. Create one with <code>segue token NAME --write</code>, or run <code>segue erase USER</code>.</p>`}
    <p id="erased" role="status"></p>`);
  let left = false;
  const said = place.querySelector("#erased");
  const say = (text, kind = "") => { said.textContent = text; said.className = kind; };
  const button = place.querySelector("button");
  if (button) button.onclick = async () => {
    if (!(await confirmed("Erase this user?", `All data of the user ${JSON.stringify(user)} is removed from all states. This cannot be undone. Events that arrive later begin a new history.`))) return;
    button.disabled = true;
    say("Writing the erasure …");
    try {
      const { events, receipt } = await send("DELETE", "v1/user", undefined, { user });
      const at = `${events.topic}/${events.partition}/${events.offset}`;
      say(`The erasure is written (${at}). Waiting for a worker’s receipt …`);
      await follow(receipt, at);
    } catch (error) {
      button.disabled = false;
      say(`Failed: ${error.message}`, "bad");
    }
  };
  const follow = async (receipt, at) => {
    while (!left) {
      const found = await ask(receipt.replace(/^\//, ""));
      if (left) return;
      if (found.done) return say(`Erased (${at}). A worker wrote the receipt. ${leftovers(found)}`, "good");
      say(`The erasure is written (${at})${found.applied_here ? ", and this console’s copy of the state is erased" : ""}. Waiting for a worker’s receipt …`);
      await new Promise((done) => setTimeout(done, EVERY_MS));
    }
  };
  return () => { left = true; };
}

// What may still hold the user for a while; docs/erasure.md says what each place is.
const leftovers = (found) => {
  const until = found.checkpoints.map((c) => c.pruned_by);
  const copies = found.copies.map((c) => (c.days === undefined || c.days === null ? c.place : `${c.place} (${counted(c.days, "day")} at most)`));
  return `${until.length ? `Older checkpoints are removed by ${clock(Math.max(...until))} UTC. ` : ""}${copies.length ? `Copies that remain for a while: ${copies.join(", ")}.` : ""}`;
};
