// The playground, and from there to the explanation of a request.

import { BASE, api, check, run, signIn, step, until, visit } from "./stage.mjs";

const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

await run(async (page) => {
  await signIn(page);
  await visit(page, "/playground?model=shared:latest", "Playground");
  const message = page.getByLabel("Message");
  await message.fill("Say something. [[testbed tokens=12 token_ms=10]]");
  await message.press("Enter");
  await page.getByRole("log").getByText("12 tokens").waitFor();
  const foot = page.locator(".turn-foot").first();
  check(/first token[\s\S]*tok\/s/.test(await foot.innerText()), "the first token and the speed are shown");
  check(["one", "two"].includes(await foot.getByRole("link").first().innerText()), "the node is shown");
  step("a chat streams, and says where, how soon and how fast");

  // The nodes of this walk obey the first mark in what they are sent, and that has the conversation in it.
  await page.getByRole("button", { name: "Clear" }).click();
  await message.fill("Go on for long. [[testbed tokens=400 token_ms=50]]");
  await message.press("Enter");
  await until("text arrives", async () => ((await page.locator(".turn.answer .said").first().textContent({ timeout: 1_000 }).catch(() => "")) ?? "").length > 20);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(".turn-foot").first().getByText("stopped").waitFor();
  step("an answer can be stopped");

  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("button", { name: "Compare with another" }).click();
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Most tokens").fill("5");
  await page.locator("input[type=file]").setInputFiles({ name: '"><img src=x onerror=alert(1)>.png', mimeType: "image/png", buffer: Buffer.from(PICTURE, "base64") });
  await page.getByRole("button", { name: /onerror/ }).click();
  await message.fill("And you?");
  await page.getByRole("button", { name: "Send to both" }).click();
  await until("both have answered", async () => (await page.locator(".turn-foot").count()) === 2);
  check((await page.locator(".turn-foot").allInnerTexts()).every((text) => text.includes("5 tokens")), "the options hold for both");
  check(new URL(page.url()).searchParams.get("beside") !== null, "both models stand in the address");
  step("two models answer beside each other, with the same options");

  await page.getByRole("button", { name: "As code" }).click();
  const curl = await page.getByLabel("curl").innerText();
  check(curl.includes(`curl ${BASE}/v1/chat/completions`) && curl.includes("Be brief.") && !curl.includes("eyJ"), `a curl line without a token: ${curl}`);
  await page.keyboard.press("Escape");
  step("the call can be had as code");

  await page.getByRole("link", { name: "why" }).first().click();
  await page.getByRole("heading", { name: "Why this node" }).waitFor();
  const chosen = page.locator("tr.chosen");
  check((await chosen.locator(".score-bar").count()) === 1 && (await chosen.locator(".reasons li").count()) > 0, "the chosen node has a score and reasons");
  await page.getByRole("img", { name: /^Time: waiting/ }).waitFor();
  step("a request opens with its timeline and why this node");

  await visit(page, "/requests?outcome=cancelled", "Requests");
  await page.getByRole("row", { name: /cancelled/ }).first().waitFor();
  check((await page.getByRole("row", { name: /\bok\b/ }).count()) === 0, "the filter of the address holds");
  await page.getByLabel("Outcome").selectOption("ok");
  await until("the address has it", () => new URL(page.url()).searchParams.get("outcome") === "ok");
  await page.getByText("Export").click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save as CSV" }).click()]);
  check(download.suggestedFilename() === "requests.csv", "a file is saved");
  step("requests are narrowed by the address and exported");

  await visit(page, "/embeddings?model=vectors:latest", "Embeddings");
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByRole("heading", { name: "Similarity" }).waitFor();
  check((await page.locator(".heat tbody tr").count()) === 3 && (await page.locator(".heat-10").first().innerText()) === "1.00", "each text is like itself");
  step("embeddings are compared");

  await visit(page, "/simulator?policies=remuda,round_robin", "Simulator");
  await page.getByRole("button", { name: "Run" }).first().click();
  const compared = page.locator("section", { has: page.getByRole("heading", { name: "How the policies compare" }) });
  await compared.getByRole("rowheader", { name: "round_robin" }).waitFor();
  check((await compared.locator("tbody tr").count()) === 2, "one line for each policy");
  await page.getByRole("img", { name: /^Time to the first token: remuda/ }).waitFor();
  step("policies are compared over the requests that were recorded");

  await visit(page, "/jobs", "Jobs");
  await page.getByRole("button", { name: "New job" }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Model", { exact: true }).selectOption("shared:latest");
  await dialog.getByLabel("Question").fill("Take your time. [[testbed tokens=30 token_ms=20]]");
  await dialog.getByRole("button", { name: "Begin" }).click();
  await until("the answer comes piece by piece", async () => ((await page.locator(".said").first().textContent({ timeout: 1_000 }).catch(() => "")) ?? "").length > 20);
  await page.getByText("completed").first().waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await page.getByText("No jobs yet").waitFor();
  step("a job is begun, followed and deleted");

  const refused = await api(page, "POST", "/api/v1/inference/chat", { model: "shared:latest", messages: [{ role: "user", content: "[[testbed status=400]]" }] });
  check(refused.status === 202, "it is accepted");
  await visit(page, "/work?kind=chat", "Deferred work");
  const failed = page.locator("section", { has: page.getByRole("heading", { name: "Failed for good" }) });
  await failed.getByRole("button", { name: /^Begin .* again$/ }).click();
  await dialog.getByText("The chat job for shared is due again").waitFor();
  await dialog.getByRole("button", { name: "Begin again" }).click();
  await dialog.waitFor({ state: "hidden" });
  // It fails again; until that is shown the buttons may move.
  await page.getByText("2 failed").first().waitFor();
  await page.getByRole("button", { name: "Pause chat" }).click();
  await dialog.getByText("What is under way goes on").waitFor();
  await dialog.getByRole("button", { name: "Pause" }).click();
  await page.getByText("Nothing more begins of chat until it is resumed").waitFor();
  await page.getByRole("button", { name: "Resume chat" }).click();
  await page.getByRole("button", { name: "Pause chat" }).waitFor();
  await page.getByRole("table", { name: "Schedules" }).getByRole("cell", { name: "batches" }).first().waitFor();
  step("what failed for good is begun again, a kind of work paused and resumed");

  const long = fetch(`${BASE}/v1/chat/completions`, {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "shared:latest", stream: true, messages: [{ role: "user", content: "[[testbed tokens=2000 token_ms=50]] on and on" }] }),
  });
  await visit(page, "/queue", "Queue");
  const row = page.getByRole("row", { name: /answering/ });
  await row.waitFor();
  await row.getByRole("button", { name: /^Cancel/ }).click();
  await dialog.getByText("gets an error in place of the rest").waitFor();
  await dialog.getByRole("button", { name: "Cancel the request" }).click();
  const text = await (await long).text();
  check(text.includes("an administrator has cancelled this request"), `its client is told: ${text.slice(-300)}`);
  await page.getByText("Nothing is under way.").waitFor();
  step("a request under way is seen and cancelled");

  await visit(page, "/models/only-on-one", "only-on-one");
  await page.getByRole("button", { name: "Unload from one" }).click();
  await dialog.getByRole("button", { name: "Unload" }).click();
  await page.getByRole("button", { name: "Load at one" }).click();
  await dialog.getByLabel("It stays").selectOption("-1");
  await dialog.getByRole("button", { name: "Load" }).click();
  await page.getByRole("button", { name: "Unload from one" }).waitFor();
  step("a model is unloaded and loaded again at its node");
});
