import { ask, send } from "../api.js";
import { clock, counted, html } from "../html.js";
import { danger } from "./danger.js";

const EVERY_MS = 1000;

// The button that erases a user, and what came of it. Returns how to leave.
export const erasure = (place, user, may) => danger(place, {
  title: "Erase this user",
  does: "Removes the history, the attributes, the pair counts and the lists of this user from all states. It cannot be undone.",
  missing: html`No permission: the token lacks the right <code>write</code>. Create one with <code>segue token NAME --write</code>, or run <code>segue erase USER</code>.`,
  question: `All data of the user ${JSON.stringify(user)} is removed from all states. This cannot be undone. Events that arrive later begin a new history.`,
  writing: "Writing the erasure …",
}, may, async (say, left) => {
  const { events, receipt } = await send("DELETE", "v1/user", undefined, { user });
  const at = `${events.topic}/${events.partition}/${events.offset}`;
  say(`The erasure is written (${at}). Waiting for a worker’s receipt …`);
  while (!left()) {
    const found = await ask(receipt.replace(/^\//, ""));
    if (left()) return;
    if (found.done) return say(`Erased (${at}). A worker wrote the receipt. ${leftovers(found)}`, "good");
    say(`The erasure is written (${at})${found.applied_here ? ", and this console’s copy of the state is erased" : ""}. Waiting for a worker’s receipt …`);
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
});

// What may still hold the user for a while; docs/erasure.md says what each place is.
const leftovers = (found) => {
  const until = found.checkpoints.map((c) => c.pruned_by);
  const copies = found.copies.map((c) => (c.days === undefined || c.days === null ? c.place : `${c.place} (${counted(c.days, "day")} at most)`));
  return `${until.length ? `Older checkpoints are removed by ${clock(Math.max(...until))} UTC. ` : ""}${copies.length ? `Copies that remain for a while: ${copies.join(", ")}.` : ""}`;
};
