// Nodes: added with what was found, pulled to, drained under streams, killed, and the server itself restarted.

import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { api, BASE, check, live, order, run, signIn, step, until, visit } from "./stage.mjs";
import { slowNode } from "./slow_node.mjs";

const RED_WITHIN_MS = 10_000;

/** What `remuda agent-release sign` writes of a program, by another library. */
function manifestOf(program) {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const hash = createHash("sha256").update(program).digest("hex");
  const said = ["remuda agent release 1", "version 9.0.0", "target linux-x86_64", `size ${program.length}`, `sha256 ${hash}`, `key rmdk_${publicKey.export({ format: "jwk" }).x}`, ""].join("\n");
  return `${said}signature ${sign(null, Buffer.from(said), privateKey).toString("base64")}\n`;
}

await run(async (page, guard) => {
  const slow = await slowNode();
  try {
    await signIn(page);
    await visit(page, "/nodes", "Nodes");
    await page.getByRole("button", { name: "Add a node" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("nova");
    await dialog.getByRole("textbox", { name: "Address" }).fill(slow.url);
    await dialog.getByRole("button", { name: "Check the address" }).click();
    await dialog.getByText("ollama 0.33.0 answers").waitFor();
    await dialog.getByRole("button", { name: "Check and add" }).click();
    await page.getByRole("dialog", { name: "nova was added" }).getByText("ollama 0.33.0 answers").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("row", { name: /nova/ }).getByText("ready").waitFor();
    step("a node is added, and what was found there is said");

    await page.getByRole("table", { name: "Agents found on the network" }).getByRole("row", { name: process.env.FOUND_CODE }).getByRole("button", { name: "Invite" }).click();
    await dialog.getByLabel("Name of the node").fill("found");
    await dialog.getByRole("button", { name: "Invite" }).click();
    const invitation = page.getByRole("dialog", { name: "Invitation for found" });
    await invitation.getByText(/^remuda agent --join https:\/\/127\.0\.0\.1:\d+ --token rmdj_/).waitFor();
    await invitation.getByText(`whose agent shows ${process.env.FOUND_CODE}`).waitFor();
    await page.keyboard.press("Escape");
    step("a machine that was found on the network is invited, and told by its code");

    await visit(page, "/models", "Models");
    await page.getByRole("button", { name: "Pull a model" }).first().click();
    await dialog.getByLabel("Model", { exact: true }).fill("tiny:1b");
    await dialog.getByLabel("To", { exact: true }).selectOption("nova");
    await dialog.getByRole("button", { name: "Pull", exact: true }).click();
    const bar = page.getByRole("progressbar", { name: "Pull of tiny:1b" });
    const seen = new Set();
    await until("the bar moved three times", async () => { seen.add(await bar.getAttribute("value", { timeout: 1_000 }).catch(() => null)); return seen.size > 3; });
    slow.finish("tiny:1b");
    await page.getByRole("status").getByText("tiny:1b is pulled.").waitFor();
    await page.getByRole("rowheader", { name: "tiny:1b" }).waitFor();
    step("a pull shows its progress, and then the model");

    await visit(page, "/placement", "Placement");
    await page.getByRole("button", { name: "Say what is wanted" }).first().click();
    await dialog.getByLabel("Model", { exact: true }).fill("second:1b");
    await dialog.getByLabel(/Pinned to these nodes/).fill("nova");
    await dialog.getByRole("button", { name: "Save" }).click();
    const planned = page.getByRole("table", { name: "Planned steps" }).getByRole("row", { name: /second:1b/ });
    await planned.getByText("pinned").first().waitFor();
    await planned.getByRole("button", { name: "Apply: Fetch second:1b to nova" }).click();
    await dialog.getByRole("button", { name: "Carry out" }).click();
    await page.getByRole("progressbar", { name: "Fetch second:1b to nova" }).waitFor();
    slow.finish("second:1b");
    await page.getByRole("table", { name: "What was done" }).getByRole("row", { name: /Fetch second:1b to nova/ }).getByText("completed").waitFor();
    await page.getByText("The fleet is as it is wanted").waitFor();
    step("what is wanted is planned with its reason, applied, and done");

    await visit(page, "/agents", "Agent updates");
    await page.getByText("No releases yet").waitFor();
    const program = Buffer.from("a program");
    check((await api(page, "POST", "/api/v1/agent-releases", { manifest: manifestOf(program) })).status === 201, "what was signed elsewhere is a release");
    check((await api(page, "PUT", "/api/v1/agent-releases/9.0.0-linux-x86_64/content", program)).status === 200, "its program is kept");
    await page.getByRole("button", { name: "Give agents a version" }).click();
    await dialog.getByRole("button", { name: "Start" }).click();
    await page.getByRole("heading", { name: "Agents to 9.0.0" }).waitFor();
    await page.getByText("Waits: no agent can have the version: see the reasons of each.").waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await dialog.getByText("No further agent is asked until it is resumed").waitFor();
    await dialog.getByRole("button", { name: "Pause" }).click();
    await page.getByText("paused by admin").waitFor();
    await page.getByRole("button", { name: "Abort" }).click();
    await dialog.getByRole("button", { name: "Abort" }).click();
    await page.getByRole("table", { name: "Roll-outs to agents before" }).getByRole("row", { name: /9\.0\.0/ }).getByText("aborted", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Remove 9.0.0-linux-x86_64" }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await page.getByText("No releases yet").waitFor();
    step("a release is given to agents, stopped, and removed");

    await visit(page, "/rollouts", "Roll-outs");
    await page.getByRole("button", { name: "Roll a version out" }).first().click();
    await dialog.getByLabel("Model", { exact: true }).fill("shared:latest");
    await dialog.getByLabel("New version", { exact: true }).fill("qwen3-32b");
    await dialog.getByRole("button", { name: "Start" }).click();
    await page.getByRole("heading", { name: "shared:latest to qwen3-32b" }).waitFor();
    await page.getByText("1 of 3", { exact: true }).waitFor();
    await page.getByRole("link", { name: "three" }).waitFor();
    await page.getByRole("button", { name: "Promote: shared:latest" }).click();
    await dialog.getByText("10 % of the callers of shared:latest get qwen3-32b from now on").waitFor();
    await dialog.getByRole("button", { name: "Promote" }).click();
    await page.getByText("2 of 3", { exact: true }).waitFor();
    await page.getByText("Waits: too few requests to tell: 0 of 50").waitFor();
    await page.getByRole("button", { name: "Abort: shared:latest" }).click();
    await dialog.getByText("All callers of shared:latest get shared:latest at once").waitFor();
    await dialog.getByRole("button", { name: "Abort" }).click();
    await page.getByRole("table", { name: "Roll-outs before" }).getByRole("row", { name: /qwen3-32b/ }).getByText("aborted", { exact: true }).waitFor();
    step("a version is rolled out to a first node, pushed on, and taken back");

    const streaming = fetch(`${BASE}/v1/chat/completions`, {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "only-on-one", stream: true, messages: [{ role: "user", content: "[[testbed tokens=80 token_ms=60]] go on" }] }),
    });
    await visit(page, "/nodes/one", "one");
    await page.getByText("1 now").waitFor();
    await page.getByRole("button", { name: "Drain" }).click();
    await page.getByRole("dialog").getByText("What runs there now finishes (1 request)").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
    await page.getByText("This node drains").waitFor();
    const text = await (await streaming).text();
    check(text.includes("[DONE]") && !text.includes('"error"'), "the stream went on to its end while the node drained");
    await page.getByRole("button", { name: "Undrain" }).click();
    await page.getByText("ready", { exact: true }).first().waitFor();
    step("a node drains under a stream, which goes on to its end");

    await visit(page, "/overview", "Overview");
    const tile = page.locator('[data-node="two"]');
    await tile.getByText("ready").waitFor();
    await order("kill two");
    const killed = Date.now();
    await tile.getByText("unhealthy").waitFor({ timeout: RED_WITHIN_MS });
    step(`a killed node is red after ${Date.now() - killed} ms`);
    await order("revive two");
    await tile.getByText("ready").waitFor();
    step("and well again by itself");

    guard.allow(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|WebSocket connection to|status of 503/);
    await order("stop");
    await page.getByText("The connection to the server is lost.").waitFor();
    check(await tile.isVisible(), "what was known stays");
    await order("start");
    await page.getByText("The connection to the server is lost.").waitFor({ state: "hidden" });
    await live(page);
    await tile.getByText("ready").waitFor();
    await order("kill two");
    await tile.getByText("unhealthy").waitFor({ timeout: RED_WITHIN_MS });
    step("the page says that the server is gone, and goes on when it is back, signed in and live");
    await order("revive two");
    await tile.getByText("ready").waitFor();

    await visit(page, "/nodes/nova", "nova");
    await page.getByRole("button", { name: "Remove" }).click();
    await page.getByRole("dialog").getByText(slow.url).waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await page.getByRole("heading", { name: "Nodes" }).waitFor();
    await until("the row is gone", async () => (await page.getByRole("row", { name: /nova/ }).count()) === 0);
    step("removing names the node, and removes it");
  } finally {
    slow.stop();
  }
});
