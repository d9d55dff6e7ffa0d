// What every walk has: a browser that reports each error of the page and each request that leaves this server, a way in, and
// a line to the test that runs the walk, which starts, stops, kills and revives what is around the page.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { createHmac } from "node:crypto";

/** What npm installed for the walks. */
export const packages = createRequire(`${process.env.TEST_UI_PACKAGES}/`);
const { chromium } = packages("playwright-core");

export const BASE = process.env.REMUDA_URL;
export const PASSWORD = "correct horse battery";
export const SETUP_TOKEN = process.env.REMUDA_SETUP_TOKEN;
const PATIENCE_MS = 60_000;

/** Says what is done; the test shows these lines when the walk fails. */
export const step = (words) => process.stdout.write(`ok ${words}\n`);

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something (`kill NODE`, `revive NODE`, `stop`, `start`), and waits until it is done. */
export async function order(words) {
  process.stdout.write(`do ${words}\n`);
  const { value } = await answers.next();
  if (value !== "done") throw new Error(`${words}: ${value}`);
}

export function check(condition, words) {
  if (!condition) throw new Error(words);
}

/** Starts the browser, has `walk(page, guard, context)` go through the pages, and fails on whatever the page complained of. */
export async function run(walk, options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.TEST_BROWSER,
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  try {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light", ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    const guard = watch(context);
    const page = await context.newPage();
    try {
      await walk(page, guard, context);
    } catch (error) {
      process.stderr.write(`at ${page.url()}\n${await page.locator("body").innerText().catch(() => "")}\n`);
      throw error;
    }
    check(guard.complaints.length === 0, `the page complained:\n${guard.complaints.join("\n")}`);
  } finally {
    await browser.close();
    process.stdin.destroy();
  }
}

/** Gathers errors of the console, of scripts, and requests to anywhere else. `allow(pattern)` names what a walk provokes. */
function watch(context) {
  const guard = { complaints: [], allowed: [], allow: (pattern) => guard.allowed.push(pattern) };
  const complain = (words) => { if (!guard.allowed.some((pattern) => pattern.test(words))) guard.complaints.push(words); };
  const home = new URL(BASE).host;
  context.on("page", (page) => {
    page.on("console", (message) => { if (["error", "warning"].includes(message.type())) complain(`console: ${message.text()} (${message.location().url})`); });
    page.on("pageerror", (error) => complain(`script: ${error.stack}`));
    page.on("websocket", (socket) => { if (new URL(socket.url()).host !== home) complain(`left for ${socket.url()}`); });
  });
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (!["data:", "blob:"].includes(url.protocol) && url.host !== home) complain(`left for ${request.url()}`);
  });
  return guard;
}

export async function signIn(page, name = "admin", password = PASSWORD) {
  await page.goto(`${BASE}/ui/`);
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.locator("#main h1").waitFor();
}

/** Opens a page by its address and waits for its heading. */
export async function visit(page, path, heading) {
  await page.goto(`${BASE}/ui${path}`);
  await page.locator("#main h1", heading ? { hasText: heading } : {}).first().waitFor();
}

/** Presents the page's own session, for what a walk looks up behind it. */
export async function api(page, method, path, body) {
  const token = await page.evaluate(() => JSON.parse(localStorage.getItem("remuda.session")).access);
  const bytes = body instanceof Uint8Array;
  const response = await fetch(BASE + path, { method, headers: { authorization: `Bearer ${token}`, "content-type": bytes ? "application/octet-stream" : "application/json" }, body: bytes ? body : body && JSON.stringify(body) });
  const text = await response.text();
  return { status: response.status, json: text ? JSON.parse(text) : null };
}

/** Waits until the page says that changes arrive. */
export const live = (page) => page.getByText("Live", { exact: true }).filter({ visible: true }).waitFor();

/** Waits until `look()` is true. */
export async function until(words, look, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  while (!(await look())) {
    check(Date.now() < end, `never: ${words}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The code of an authenticator (RFC 6238: SHA-1, 6 digits, 30 s) for a secret in base 32. */
export function authenticator(secret, at = Date.now()) {
  const bits = [...secret.replace(/[\s=]/g, "")].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const hash = createHmac("sha1", key).update(counter).digest();
  const offset = hash.at(-1) & 15;
  return String((hash.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
