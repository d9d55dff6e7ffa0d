// Signing in by a real OpenID Connect provider: linked on the account page, used on the way in, unlinked again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { BASE, check, run, signIn, step, visit } from "./stage.mjs";

const PORT = Number(process.env.PROVIDER_PORT);
const PROVIDER = `http://127.0.0.1:${PORT}`;
const SETTINGS = { port: PORT, redirect_uri: `${BASE}/api/v1/auth/oidc/corp/callback`, client_id: "remuda", client_secret: process.env.PROVIDER_SECRET, seed: 1 };

const provider = spawn("node", [process.env.TEST_OIDC_PROVIDER, JSON.stringify(SETTINGS)], { stdio: ["ignore", "pipe", "inherit"] });
try {
  await once(provider.stdout, "data");
  await run(async (page, guard) => {
    // Here a page is meant to leave for the provider.
    guard.allow(new RegExp(`left for ${PROVIDER}/`));
    guard.allow(/status of 40[13]/);
    await fetch(`${PROVIDER}/person`, { method: "PUT", body: JSON.stringify({ sub: "ann", email: "ann@example.org", email_verified: false }) });

    await page.goto(`${BASE}/ui/`);
    await page.getByRole("button", { name: "Sign in with Example Corp" }).click();
    await page.getByRole("alert").getByText("no account is linked to this identity").waitFor();
    check(!page.url().includes("#"), `nothing of it stays in the address: ${page.url()}`);
    step("who is not linked is told what to do");

    await signIn(page);
    await visit(page, "/account", "Account");
    await page.getByRole("button", { name: "Link", exact: true }).click();
    await page.getByText("linked", { exact: true }).waitFor();
    check(new URL(page.url()).hash === "", "no ticket stays in the address");
    step("an account of the provider is linked to who is signed in");

    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.getByRole("button", { name: "Sign in with Example Corp" }).click();
    await page.locator("#main h1").waitFor();
    await page.getByText("platform administrator").first().waitFor();
    step("and lets in");

    await visit(page, "/account", "Account");
    await page.getByRole("button", { name: "Unlink" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Unlink" }).click();
    await page.getByText("not linked").waitFor();
    check((await page.getByRole("button", { name: "Link", exact: true }).count()) === 1, "it can be linked again");
    step("it is unlinked again");
  });
} finally {
  provider.kill();
}
