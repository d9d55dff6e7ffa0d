// The models that the caller may use, and what they can do.

import { get } from "./api.js";

let known = null;

/** Returns `[{name, embeds, sees}]`, by name. What a model can do is known only where the server tells. */
export async function usable(signal) {
  if (known && Date.now() - known.at < 10_000) return known.models;
  const [listed, tags] = await Promise.all([get("/v1/models", {}, { signal }), get("/api/tags", {}, { signal }).catch(() => ({ models: [] }))]);
  // Servers with OpenAI's API tell nothing of their models: what stands there of theirs is assumed, and the name says more.
  const told = new Map(tags.models.filter((model) => model.details?.format).map((model) => [model.name, model.capabilities ?? []]));
  const models = listed.data.map(({ id }) => {
    const can = told.get(id) ?? told.get(`${id}:latest`) ?? [];
    const embeds = can.length > 0 ? can.includes("embedding") : /embed|bge|minilm|e5-|gte-/i.test(id);
    return { name: id, embeds, sees: can.length > 0 ? can.includes("vision") : null };
  });
  models.sort((one, other) => one.name.localeCompare(other.name));
  known = { at: Date.now(), models };
  return models;
}
