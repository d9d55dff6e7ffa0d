// Keys, people and settings: what is made here holds at once, and what somebody may not do is not offered.

import { BASE, PASSWORD, api, check, run, signIn, step, until, visit } from "./stage.mjs";

const ask = (key) => fetch(`${BASE}/v1/chat/completions`, {
  method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
  body: JSON.stringify({ model: "shared:latest", messages: [{ role: "user", content: "hello" }] }),
});

await run(async (page, guard, context) => {
  await signIn(page);
  await visit(page, "/keys", "Keys");
  await page.getByRole("button", { name: "New key" }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("laptop");
  await dialog.getByLabel("Requests a minute").fill("50");
  await dialog.getByRole("button", { name: "Make the key" }).click();
  const secret = await page.locator(".secret").innerText();
  await page.getByRole("button", { name: "I have kept it" }).click();
  check((await ask(secret)).status === 200, "a client with the key is answered");
  await page.getByRole("row", { name: /laptop/ }).getByText("50 req/min").waitFor();
  step("a key is made, shown once, and works");
  await page.getByRole("button", { name: "Revoke laptop" }).click();
  await dialog.getByText("Whoever presents").waitFor();
  await dialog.getByRole("button", { name: "Revoke" }).click();
  await page.getByText("laptop is revoked.").waitFor();
  await until("the client is refused", async () => (await ask(secret)).status === 401, 3_000);
  step("the revoked key's client is refused");

  await visit(page, "/people", "People");
  await page.getByRole("button", { name: "New person" }).click();
  await dialog.getByLabel("Name to sign in with").fill("ana");
  await dialog.getByLabel("First password").fill(PASSWORD);
  await dialog.getByRole("button", { name: "Make", exact: true }).click();
  await page.getByRole("row", { name: /ana/ }).waitFor();
  const theirs = await context.browser().newContext();
  const seat = await theirs.newPage();
  await signIn(seat, "ana");
  await seat.getByRole("heading", { name: "Playground" }).waitFor();
  const offered = await seat.getByRole("navigation").getByRole("link").allInnerTexts();
  check(offered.join() === "Playground,Embeddings,Jobs", `a user is offered ${offered}`);
  await visitPlain(seat, "/nodes");
  await seat.getByText("Not for you").waitFor();
  step("a user has the playground, and is told that the rest is not theirs");
  await page.getByLabel("Actions for ana").click();
  await page.getByRole("button", { name: "Disable" }).click();
  await dialog.getByRole("button", { name: "Disable" }).click();
  await page.getByRole("row", { name: /ana/ }).getByText("disabled").waitFor();
  await seat.reload();
  await seat.getByRole("heading", { name: "Sign in" }).waitFor();
  await theirs.close();
  step("who is disabled is out at once");

  await visit(page, "/settings", "Settings");
  await page.getByRole("button", { name: "Change queue.batch" }).click();
  await dialog.getByLabel("Value").fill("4242");
  await dialog.getByRole("button", { name: "Set" }).click();
  await page.getByRole("row", { name: /queue\.batch.*4242/ }).first().waitFor();
  await page.getByRole("button", { name: "Go back to nothing set" }).click();
  await dialog.getByRole("button", { name: "Go back" }).click();
  await until("the setting is as before", async () => (await api(page, "GET", "/api/v1/system/config")).json.settings.every((one) => !one.set));
  step("a setting is changed, and rolled back");

  await visit(page, "/audit", "Changes");
  await page.getByRole("row", { name: /key\.revoke/ }).first().waitFor();
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText("are as they were written").waitFor();
  await page.getByRole("button", { name: "key.revoke" }).first().click();
  await until("the address has the filter", () => new URL(page.url()).searchParams.get("action") === "key.revoke");
  step("the record of changes has it all, verified and narrowed");
});

async function visitPlain(page, path) {
  await page.goto(`${BASE}/ui${path}`);
}
