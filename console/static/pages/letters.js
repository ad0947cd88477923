import { ask } from "../api.js";
import { age, bytes, clock, count, counted, html, put, table, whole } from "../html.js";
import { runbook } from "../runbook.js";

const NAMES = {
  empty: "No value", too_large: "Too large", malformed: "Invalid JSON or Avro", wrong_type: "Wrong type of a field", missing_field: "Missing field",
  unknown_kind: "Unknown kind of event", unknown_type: "Unknown item type", unknown_list: "Unknown list", bad_id: "Bad id", missing_key: "No key",
  key_mismatch: "Wrong key", future: "Time ahead of the log", before_epoch: "Time before 1970", too_old: "Older than the window", failed: "No list could be made",
};

// Records that could not be applied, by reason: how many, what to do, and the newest as samples.
export async function letters(main) {
  const found = await ask("console/letters");
  put(main, html`<h1>Dead letters</h1>
    ${found.reasons.length
    ? html`<p class="soft">${found.kept < found.most ? `All ${counted(found.kept, "record")} that could not be applied` : `The newest ${count(found.kept)} records that could not be applied; there can be more on the topic`}, by reason.</p>
      ${found.reasons.map((group) => section(group, found))}`
    : html`<p class="empty">None: all records are applied.</p>`}`);
}

const section = (group, found) => html`<section class="letters"><h2>${NAMES[group.reason] ?? group.reason} <span class="soft">(${group.reason})</span>: ${counted(group.count, "letter")}</h2>
  <p><strong>How to fix:</strong> ${coded(group.fix)} ${runbook("SegueManyDeadLetters", found.docs_url)}</p>
  <p class="soft">Newest ${age(group.newest, found.now)} ago${group.count > 1 && `, oldest ${age(group.oldest, found.now)} ago`}. From ${Object.entries(group.topics).map(([topic, n]) => `${topic}: ${count(n)}`).join(", ")}.</p>
  <div class="long">${table(`Newest letters: ${group.reason}`, ["logged", { name: "error", wide: true }, { name: "record", wide: true }, "place"],
    group.letters.map((l) => [html`<span title="${clock(l.logged_at)} UTC">${whole(`${age(l.logged_at, found.now)} ago`)}</span>`, dated(l.detail),
      html`<details><summary>${bytes(l.payload_bytes)}${l.encoding === "base64" && ", base64"}</summary><pre>${readable(l)}</pre></details>`,
      `${l.source.topic}/${l.source.partition}/${l.source.offset}`]), "")}</div>
  ${group.letters.length < group.count && html`<p class="soft">The newest ${count(group.letters.length)} are shown.</p>`}</section>`;

// Text in backquotes is code.
const coded = (text) => text.split("`").map((part, n) => (n % 2 ? html`<code>${part}</code>` : part));

// Times in ms of 2001 to 2033, and spans of a minute and more in ms, with what they mean.
const dated = (text) => text
  .replace(/(?<![\w.])1\d{12}(?![\w.])/g, (ms) => `${ms} (${clock(Number(ms))} UTC)`)
  .replace(/(?<![\w.])(\d{5,12}) ms\b/g, (found, ms) => `${found} (${age(1, 1 + Number(ms))})`);

// JSON with a line for each field; what is cut or no JSON stays as it is.
function readable(letter) {
  try {
    // Digits beyond what a number holds would come out as others.
    return /\d{16}/.test(letter.payload) ? letter.payload : JSON.stringify(JSON.parse(letter.payload), null, 2);
  } catch {
    return letter.payload;
  }
}
