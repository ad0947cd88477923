import { ask, confirmed, send } from "../api.js";
import { bytes, count, date, decimals, html, percent, put, table, whole } from "../html.js";

const PATIENCE_S = 20;

// What each channel serves, all bundles there are, and the ways to another one. Returns how to leave.
export function bundles(main, channels, found) {
  const [now, all, said] = ["#channels", "#bundles", "#said"].map((name) => main.querySelector(name));
  let left = false;

  const draw = () => {
    const several = channels.length > 1;
    const chosen = all.querySelector("select")?.value ?? channels[0].channel;
    const heads = several ? ["channel", "users"] : [];
    put(now, table("Served bundles", [...heads, "bundle", "trainer’s newest"], channels.map((c) => [
      ...(several ? [c.channel, c.arms.map((a) => `${a.name}: ${percent(a.share)}`).join(", ") || "none"] : []), html`${served(c)}${ways(c)}`, whole(c.newest ?? "none yet"),
    ]), "No channels."));
    put(all, html`${several && html`<form class="search"><label>Channel to pin a bundle on <select name="channel">${channels.map((c) => html`<option ${c.channel === chosen && "selected"}>${c.channel}</option>`)}</select></label></form>`}
      ${table("Generations", columns, found.map((b) => row(b, chosen)), "None yet.")}`);
    all.querySelector("select")?.addEventListener("change", draw);
    all.querySelector("form")?.addEventListener("submit", (event) => event.preventDefault());
  };
  const say = (text, kind) => { said.textContent = text; said.className = kind; };

  // Workers and consoles follow a topic: what was said there is so a moment later.
  const follow = async (was, channel) => {
    for (let second = 0; second < PATIENCE_S && !left; second++) {
      await new Promise((done) => setTimeout(done, 1000));
      const known = await ask("v1/channels");
      const is = known.find((c) => c.channel === channel);
      // A bundle is pinned before it is loaded.
      const wanted = is.pinned ?? is.newest;
      if ((is.served === was.served && is.pinned === was.pinned) || (wanted && is.served !== wanted)) continue;
      [channels, found] = [known, await ask("v1/generations")];
      if (left) return;
      draw();
      say(`${is.served} is now served${on(channel)}.`, "good");
      return;
    }
  };
  const on = (channel) => (channels.length > 1 ? ` on channel ${channel}` : "");

  main.onclick = async (event) => {
    const button = event.target.closest("[data-pin], [data-unpin]");
    if (!button) return;
    const { pin: name, channel } = button.dataset;
    const is = channels.find((c) => c.channel === channel);
    const users = channels.length > 1 ? ` for ${is.arms.length ? `the users of ${is.arms.map((a) => a.name).join(", ")}` : "users of no arm"}` : "";
    const sure = name
      ? await confirmed(`Serve ${name}${on(channel)}?`, `All workers and consoles will load this bundle${users} and keep it until you remove the pin, even if the trainer publishes newer bundles.`)
      : await confirmed(`Remove the pin${on(channel)}?`, `All workers and consoles will load the trainer’s newest bundle${users}${is.newest ? `: ${is.newest}` : ""}.`);
    if (!sure) return;
    try {
      await (name ? send("PUT", "v1/pin", { name }, { channel }) : send("DELETE", "v1/pin", undefined, { channel }));
      say("Sent to the models topic; it takes effect in a few seconds.", "good");
      await follow(is, channel);
    } catch (error) {
      say(`Failed: ${error.message}`, "bad");
    }
  };
  draw();
  return () => { left = true; main.onclick = null; };
}

const served = (c) => html`${whole(c.served ?? "none yet")} ${c.pinned && html`<span class="tag">pinned</span>`}
  ${c.lacks_bundle && c.served && html`<span class="soft">of the default channel: this one has none yet</span>`}`;

const ways = (c) => html`<span class="ways">${c.before && html`<button type="button" data-pin="${c.before}" data-channel="${c.channel}">Roll back to ${c.before}</button>`}
  ${c.pinned && html`<button type="button" data-unpin data-channel="${c.channel}">Serve the trainer’s newest again</button>`}</span>`;

const columns = ["bundle", "made (UTC)", { name: "held-out HR@10", number: true }, { name: "held-out NDCG", number: true }, { name: "examples", number: true }, "graph", { name: "size", number: true }, ""];

const row = (b, channel) => b.problem ? [b.name, html`<span class="bad">${b.problem}</span>`, "", "", "", "", "", ""] : [
  html`${b.name} ${marks("served", b.served_on)} ${marks("pinned", b.pinned_on)}`,
  date(b.created_at), decimals(b.metrics.held_out_hr_at_10), decimals(b.metrics.held_out_ndcg), count(b.metrics.examples), b.static ?? "–", bytes(b.bytes),
  b.pinned_on.includes(channel) ? "" : html`<button type="button" data-pin="${b.name}" data-channel="${channel}">Pin</button>`,
];

// One channel needs no name.
const marks = (what, channels) => channels.length > 0 && html`<span class="tag">${what}${channels.join() !== "default" && `: ${channels.join(", ")}`}</span>`;
