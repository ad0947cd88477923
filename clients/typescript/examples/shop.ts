import { segue } from "../src/index.js";

const shop = segue(process.env.SEGUE_URL!, process.env.SEGUE_TOKEN);

async function bought(user: string, item: string, order: string): Promise<string[]> {
  const written = await shop.POST("/v1/events", {
    params: { header: { "Idempotency-Key": order } },
    body: { user_id: user, item_id: item, item_type: "podcast", kind: "stream", timestamp: Date.now() },
  });
  if (written.error) throw new Error(written.error.detail);
  const made = await shop.GET("/v1/recommendations", {
    params: { query: { user, at_least: written.data.at_least } },
  });
  if (made.error) throw new Error(made.error.detail);
  return made.data.items.map((place) => place.item_id);
}

console.log(JSON.stringify(await bought("user-2", "i1", "order-2")));
