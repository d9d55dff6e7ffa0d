// Calls of the server. Answers are JSON; what goes wrong is an `ApiError` that says what happened and what to do.

import * as session from "./session.js";

const UNREACHABLE = "The server does not answer. Check that it runs and that this machine reaches it; the page goes on by itself when it is back.";

/** Why a call failed. `message` is for people. */
export class ApiError extends Error {
  constructor(message, { status = 0, title = "", reason = null, requestId = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", status, title, reason, requestId, retryAfter });
  }

  /** Whether the server could not be reached at all. */
  get offline() {
    return this.status === 0;
  }
}

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, body, options) => call("POST", path, { body: body ?? {}, ...options });
export const put = (path, body, options) => call("PUT", path, { body, ...options });
export const patch = (path, body, options) => call("PATCH", path, { body, ...options });
export const remove = (path, options) => call("DELETE", path, options);

/** Sends a request that makes something, once however often it is tried. */
export const create = (path, body) => post(path, body, { headers: { "idempotency-key": randomKey() } });

/** Changes something only if it is still what the page shows. */
export const changed = (etag) => (etag ? { headers: { "if-match": etag } } : {});

/** Returns the items of all pages, up to `most`. */
export async function all(path, query = {}, most = 5_000, signal) {
  const items = [];
  let cursor;
  do {
    const page = await get(path, { ...query, limit: 500, cursor }, { signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return items;
}

/** Sends a request and returns the answer's JSON, with its `etag` beside it where there is one. */
export async function call(method, path, options = {}) {
  const response = await open(method, path, options);
  if (response.status === 204) return null;
  const answer = await response.json();
  const etag = response.headers.get("etag");
  if (etag && answer && typeof answer === "object") Object.defineProperty(answer, "etag", { value: etag });
  return answer;
}

/** Sends a request and returns the response itself, which is a success. Who is signed out gets 401. */
export async function open(method, path, { query, body, headers, signal, anonymous } = {}) {
  const send = async (token) => {
    const head = new Headers(headers);
    if (token) head.set("authorization", `Bearer ${token}`);
    if (body !== undefined) head.set("content-type", "application/json");
    try {
      return await fetch(address(path, query), { method, headers: head, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(UNREACHABLE);
    }
  };
  const token = anonymous ? null : await present(() => session.token());
  let response = await send(token);
  if (response.status === 401 && token) {
    const next = await present(() => session.renew(token));
    if (next && next !== token) response = await send(next);
    if (response.status === 401) session.forget();
  }
  if (!response.ok) throw await problem(response);
  return response;
}

/** Gets a token; without one although somebody is signed in, the server could not renew it just now. */
async function present(get) {
  let token = null;
  try { token = await get(); } catch { throw new ApiError(UNREACHABLE); }
  if (!token && session.read()) throw new ApiError(UNREACHABLE);
  return token;
}

function address(path, query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}

/** Reads an error answer of any dialect. */
async function problem(response) {
  const text = await response.text();
  let body = {};
  try { body = JSON.parse(text); } catch { /* Not JSON: shown as it came. */ }
  const message = body.detail ?? body.error?.message ?? (typeof body.error === "string" ? body.error : null) ?? (text.slice(0, 300) || response.statusText);
  return new ApiError(message, {
    status: response.status,
    title: body.title ?? "",
    reason: body.reason ?? null,
    requestId: body.request_id ?? response.headers.get("x-request-id"),
    retryAfter: Number(response.headers.get("retry-after")) || null,
  });
}

function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
