// Names and texts that would be markup if a page were careless: of models, tags, regions, keys, people, organisations, prompts.

import { BASE, api, check, run, signIn, step, visit } from "./stage.mjs";

const EVIL = '"><img src=x onerror="window.owned=1"><script>window.owned=1</script>';
const MODEL = process.env.HOSTILE_MODEL;

await run(async (page, guard) => {
  guard.allow(/status of 404/);
  await signIn(page);
  const made = [
    await api(page, "POST", "/api/v1/keys", { name: EVIL }),
    await api(page, "POST", "/api/v1/organisations", { name: EVIL }),
    await api(page, "POST", "/api/v1/invitations", { note: EVIL }),
    await api(page, "PATCH", "/api/v1/me/profile", { display_name: EVIL }),
    await api(page, "PUT", "/api/v1/nodes/evil", { region: EVIL.slice(0, 60), tags: ["<svg/onload=owned=1>"] }),
  ];
  check(made[0].status === 201, `the key is made: ${JSON.stringify(made[0])}`);
  await fetch(`${BASE}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: EVIL, messages: [{ role: "user", content: EVIL }] }) });
  await fetch(`${BASE}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ model: MODEL, messages: [{ role: "user", content: EVIL }] }) });

  const shows = async (path, text) => {
    await visit(page, path);
    await page.getByText(text, { exact: false }).first().waitFor();
    check((await page.evaluate(() => window.owned)) === undefined, `${path} ran what it showed`);
    check((await page.locator("#app img[src=x], #app script, dialog script").count()) === 0, `${path} made markup of a text`);
    step(`${path} shows it as text`);
  };
  for (const path of ["/models", "/nodes", "/overview", "/nodes/evil", `/models/${encodeURIComponent(MODEL)}`, "/requests"]) await shows(path, MODEL.slice(0, 20));
  await shows("/keys", EVIL.slice(0, 20));
  if (made[1].status === 201) await shows("/organisations", EVIL.slice(0, 20));
  if (made[2].status === 201) await shows("/invitations", EVIL.slice(0, 20));
  if (made[3].status === 200) await shows("/account", EVIL.slice(0, 20));
  await visit(page, "/audit");
  for (const summary of await page.locator(".difference summary").all()) await summary.click();
  check((await page.evaluate(() => window.owned)) === undefined, "the record of changes ran what it showed");

  await visit(page, `/playground?model=${encodeURIComponent(MODEL)}`, "Playground");
  await page.getByLabel("Message").fill(EVIL);
  await page.getByLabel("Message").press("Enter");
  await page.locator(".turn-foot").first().waitFor();
  check((await page.locator(".turn.user .said").innerText()) === EVIL, "a prompt is shown as it was typed");
  check((await page.evaluate(() => window.owned)) === undefined, "a prompt ran");
  step("prompts and answers are texts");
  await visit(page, `/${EVIL}`.replaceAll("/", "%2F").replace("%2F", "/")).catch(() => {});
  await page.goto(`${BASE}/ui/nodes?q=${encodeURIComponent(EVIL)}`);
  await page.getByText("No node fits").waitFor();
  check((await page.evaluate(() => window.owned)) === undefined, "an address ran");
  step("addresses are texts");
});
