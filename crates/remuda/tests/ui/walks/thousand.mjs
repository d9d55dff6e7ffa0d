// A thousand nodes beside the embedded one: the table holds only what is near the window, and finds one of them at once.

import { BASE, PASSWORD, check, run, signIn, step, until, visit } from "./stage.mjs";

const MEETING_MS = 80_000;

/** A server that has just started asks each of its nodes, which is its work and not the page's. */
async function met() {
  const send = (path, options) => fetch(BASE + path, { ...options, headers: { "content-type": "application/json", ...options.headers } }).then((response) => response.json());
  const { access_token: token } = await send("/api/v1/login", { method: "POST", body: JSON.stringify({ username: "admin", password: PASSWORD }) });
  await until("every node was asked", async () => (await send("/api/v1/nodes?state=new&limit=1", { headers: { authorization: `Bearer ${token}` } })).total === 0, MEETING_MS);
}

await met();
await run(async (page) => {
  await signIn(page);
  await visit(page, "/nodes", "Nodes");
  await page.getByText("1,001 nodes").waitFor();
  const rows = page.locator(".grid tbody tr:not(.gap)");
  const drawn = await rows.count();
  check(drawn > 20 && drawn < 200, `${drawn} rows are in the page`);
  check((await page.locator(".grid").getAttribute("aria-rowcount")) === "1002", "the whole number is told to screen readers");
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.getByRole("link", { name: "node-0999", exact: true }).waitFor();
  check((await rows.count()) < 200, "no more after scrolling");
  step("a thousand nodes are a table of a few rows");
  const took = await page.evaluate(async () => {
    const field = document.querySelector(".search");
    const started = performance.now();
    field.value = "node-0777";
    field.dispatchEvent(new Event("input", { bubbles: true }));
    while (document.querySelectorAll(".grid tbody tr").length !== 1) await new Promise(requestAnimationFrame);
    return performance.now() - started;
  });
  await page.getByRole("link", { name: "node-0777", exact: true }).waitFor();
  await until("the address has it", () => new URL(page.url()).searchParams.get("q") === "node-0777");
  step(`one of them is found within ${Math.round(took)} ms`);
  await visit(page, "/overview", "Overview");
  await page.getByText("All 1,001").waitFor();
  check((await page.locator(".tile").count()) === 48, "the overview shows the worst and the busiest");
  await visit(page, "/models", "Models");
  step("overview and models stand it, too");
});
