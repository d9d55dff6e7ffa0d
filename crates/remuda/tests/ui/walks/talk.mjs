// The playground, and from there to the explanation of a request.

import { BASE, check, run, signIn, step, until, visit } from "./stage.mjs";

const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

await run(async (page) => {
  await signIn(page);
  await visit(page, "/playground?model=shared:latest", "Playground");
  const message = page.getByLabel("Message");
  await message.fill("Say something. [[testbed tokens=12]]");
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
});
