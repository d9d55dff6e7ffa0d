// Every page, light and dark, on a laptop and on a phone: nothing serious for axe, nothing wider than the screen, light enough, quick.
// With TEST_SCREENSHOTS each is kept as a picture; TEST_LOAD_SECONDS says for how long requests come in before.

import { readFileSync, mkdirSync } from "node:fs";
import { BASE, api, check, order, packages, run, signIn, step, visit } from "./stage.mjs";

const AXE = readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");
const FOLDER = process.env.TEST_SCREENSHOTS;
const LOAD_MS = Number(process.env.TEST_LOAD_SECONDS ?? 4) * 1_000;
const WEIGHT = 300 * 1_024;
/** The pages of one walk: all of them together would take longer than one test may. */
const GROUPS = {
  fleet: ["/overview", "/nodes", "/nodes/gpu-north-1", "/models", "/models/llama3.1%3A70b", "/placement", "/rollouts", "/agents", "/queue"],
  work: ["/requests", "/requests/LATEST", "/usage", "/simulator", "/playground", "/embeddings", "/jobs", "/account", "/nowhere"],
  access: ["/keys", "/people", "/invitations", "/organisations", "/audit", "/inventory", "/inventory/NIC-1", "/work", "/settings", "/database"],
};
const PAGES = GROUPS[process.env.PAGES];
const MODELS = ["llama3.1:70b", "mistral:7b", "qwen3-32b", "phi4:14b", "qwen2.5:32b"];

await run(async (page, guard) => {
  guard.allow(/status of 404/);
  if (FOLDER) mkdirSync(FOLDER, { recursive: true });
  const sizes = [];
  page.on("requestfinished", (request) => { if (request.url().includes("/ui/")) sizes.push(request.sizes()); });
  await page.goto(`${BASE}/ui/`);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.waitForLoadState("networkidle");
  const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  const weight = (await Promise.all(sizes)).reduce((sum, size) => sum + size.responseBodySize, 0);
  check(weight > 0 && weight < WEIGHT, `${weight} bytes`);
  step(`the dashboard weighs ${Math.round(weight / 1_024)} KiB on the wire, first paint after ${Math.round(painted)} ms`);
  await look(page, "signin", "light");
  await page.emulateMedia({ colorScheme: "dark" });
  await look(page, "signin", "dark");

  await signIn(page);
  for (const name of ["laptop", "batch jobs", "continuous integration"]) await api(page, "POST", "/api/v1/keys", { name, limits: { requests_per_minute: 600 } });
  await api(page, "POST", "/api/v1/users", { username: "ana", password: "a password of hers", role: "operator" });
  await api(page, "POST", "/api/v1/invitations", { note: "the new colleague" });
  await api(page, "PUT", "/api/v1/placement/policies/llama3.1:70b", { mode: "suggest", min_on_disk: 3, min_loaded: 1 });
  await api(page, "POST", "/api/v1/rollouts", { model: "mistral:7b", to: "phi4:14b", stages: ["50", "100"], min_requests: 100_000 });
  await api(page, "PUT", "/api/v1/system/config", { config: { "queue.batch": 50_000 } });
  for (const [serial, name] of [["CHASSIS-1", "Chassis, 8 bays"], ["NIC-1", "25 GbE card"], ["NIC-2", "25 GbE card"], ["SSD-1", "Drive, 4 TB"]]) {
    await api(page, "POST", "/rpc/add_widget", { widget_sn: serial, widget_name: name, slots: ["P", "P", "Q"] });
    if (serial !== "CHASSIS-1") await api(page, "POST", "/rpc/associate_widgets", { widget1_sn: serial === "NIC-1" ? "CHASSIS-1" : "NIC-1", widget2_sn: serial, port: serial === "SSD-1" ? "Q" : "P" });
  }
  const end = Date.now() + LOAD_MS;
  const clients = Array.from({ length: FOLDER ? 14 : 6 }, (_, at) => load(at, () => Date.now() < end));
  await Promise.all(clients);
  const { json } = await api(page, "GET", "/api/v1/inference/requests?outcome=ok&model=llama3.1:70b&limit=500");
  const waited = json.items.reduce((most, one) => (one.queue_us > most.queue_us ? one : most));
  // A node that is down, and what fails for it, are looked at, too.
  await order("kill edge-mac");
  // Somebody goes on while the pages are looked at.
  let going = true;
  const rest = Array.from({ length: FOLDER ? 14 : 3 }, (_, at) => load(at, () => going));

  for (const path of PAGES.map((path) => path.replace("LATEST", waited.id))) {
    const name = path.startsWith("/requests/") ? "request" : path.slice(1).split("%")[0].replaceAll("/", "-");
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.emulateMedia({ colorScheme: "light" });
    await page.goto(`${BASE}/ui${path}`);
    await page.locator("#main").getByRole("heading").or(page.locator("#main .empty-title")).first().waitFor();
    await page.locator("#main .loading").waitFor({ state: "detached" });
    if (path === "/playground") await chat(page);
    if (path === "/embeddings") { await page.getByRole("button", { name: "Compare" }).click(); await page.getByRole("heading", { name: "Similarity" }).waitFor(); }
    if (path === "/simulator") { await page.getByRole("button", { name: "Run" }).first().click(); await page.getByRole("heading", { name: "How the policies compare" }).waitFor(); }
    if (path === "/overview") await page.getByText(/tok\/s/).first().waitFor();
    if (FOLDER) await page.waitForTimeout(path === "/overview" ? 20_000 : 700);
    await look(page, name, "light");
    await page.emulateMedia({ colorScheme: "dark" });
    await look(page, name, "dark");
    await page.setViewportSize({ width: 390, height: 844 });
    await look(page, name, "phone");
    const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    check(over <= 0, `${path} is ${over} px wider than a phone`);
    step(path);
  }
  going = false;
  await Promise.all(rest);
  if (PAGES.includes("/nodes")) await byKeyboard(page);
});

/** Axe, and a picture where they are kept. */
async function look(page, name, kind) {
  if (FOLDER) await page.screenshot({ path: `${FOLDER}/${name}-${kind}.png` });
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  check(serious.length === 0, `${name} ${kind}: ${serious.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.html} ${node.any.map((any) => any.message).join(" ")}`).join(" | ")}`).join("\n")}`);
}

async function chat(page) {
  await page.getByLabel("Model").selectOption("qwen3-32b");
  await page.getByLabel("Message").fill("What is a remuda? [[testbed tokens=60]]");
  await page.getByLabel("Message").press("Enter");
  await page.locator(".turn-foot").first().waitFor();
}

async function load(at, on) {
  for (let turn = 0; on(); turn += 1) {
    const content = `Request ${turn} of ${at} [[testbed tokens=${20 + ((turn * 37 + at * 11) % 90)}]] ${"word ".repeat((turn * 53) % 200)}`;
    const model = turn % 37 === 36 ? "not-there" : MODELS[(turn + at) % MODELS.length];
    const abort = new AbortController();
    if (turn % 23 === 22) setTimeout(() => abort.abort(), 120);
    await fetch(`${BASE}/v1/chat/completions`, { method: "POST", signal: abort.signal, headers: { "content-type": "application/json" }, body: JSON.stringify({ model, stream: true, messages: [{ role: "user", content }] }) }).then((response) => response.text()).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, ((turn * 71 + at * 13) % 9) * 100));
  }
}

/** The menu and a dialog, without a mouse. */
async function byKeyboard(page) {
  await page.setViewportSize({ width: 1440, height: 900 });
  await visit(page, "/nodes", "Nodes");
  await page.keyboard.press("Tab");
  check((await page.evaluate(() => document.activeElement.textContent)) === "Skip to the page", "the first stop leads past the menu");
  await page.keyboard.press("Enter");
  check((await page.evaluate(() => document.activeElement.tagName)) === "H1", "it leads to the page");
  const button = page.getByRole("button", { name: "Add a node" });
  await button.focus();
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement.closest("dialog") !== null), "the focus is in the dialog");
  await page.keyboard.press("Escape");
  check(await button.evaluate((element) => element === document.activeElement), "the focus is back where it was");
  step("all of it by keyboard");
}
