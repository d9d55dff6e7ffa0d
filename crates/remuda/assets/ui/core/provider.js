// Signing in by a provider (OpenID Connect): the browser goes there with a challenge and comes back with a ticket, which is worth something only to
// who has the challenge's verifier: this tab.

import { get } from "./api.js";

const STORE = "remuda.verifier";

/** Returns the providers that people may sign in by, `{name, label}`. */
export const providers = async (signal) => (await get("/api/v1/auth/oidc", {}, { anonymous: true, signal })).items;

/** Sends the browser to a provider; it comes back to `path`. */
export async function leave(name, path) {
  if (!crypto.subtle) throw new Error("This browser takes part in sign-in by providers only over HTTPS: open the dashboard by its https:// address.");
  const verifier = text(crypto.getRandomValues(new Uint8Array(32)));
  const challenge = text(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
  sessionStorage.setItem(STORE, verifier);
  location.assign(`/api/v1/auth/oidc/${encodeURIComponent(name)}/start?${new URLSearchParams({ challenge, return_to: path })}`);
}

/** Returns what the browser came back with, once: `{ticket, verifier}` or `{error}`; nothing when it comes from elsewhere. */
export function arrived() {
  const outcome = new URLSearchParams(location.hash.slice(1));
  const verifier = sessionStorage.getItem(STORE);
  if (!verifier || (!outcome.has("ticket") && !outcome.has("error"))) return null;
  sessionStorage.removeItem(STORE);
  history.replaceState(null, "", location.pathname + location.search);
  if (outcome.has("error")) return { error: WORDS[outcome.get("error")] ?? `The provider's answer cannot be used (${outcome.get("error")}).` };
  return { ticket: outcome.get("ticket"), verifier };
}

/** What happened at the provider. What happens here afterwards the server says in its own words. */
const WORDS = {
  refused_by_provider: "The provider did not let you in, or you said no there.",
  provider_failed: "The provider does not answer as it should. Try again in a moment.",
  too_many: "Too many people are signing in right now. Try again in a moment.",
};

const text = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
