// A section of the runbook: a link where the settings name a documentation site.
import { html } from "./html.js";

export const runbook = (section, docs) =>
  section && (docs
    ? html`<a href="${docs.replace(/\/$/, "")}/runbook.html#${section.toLowerCase()}" target="_blank" rel="noopener">Runbook: ${section}</a>`
    : html`<span class="soft">Runbook (docs/runbook.md): <strong>${section}</strong></span>`);
