// The first start, signing in and out, a second factor, tabs that share one session.

import { BASE, PASSWORD, SETUP_TOKEN, authenticator, check, live, packages, run, signIn, step, until, visit } from "./stage.mjs";

const MODULE_PX = 4;

/** Reads a QR code as a camera would, from the squares that it is drawn of. */
async function scanned(path) {
  const squares = [...(await path.getAttribute("d")).matchAll(/M(\d+) (\d+)h/g)].map(([, x, y]) => [Number(x), Number(y)]);
  const size = (Math.max(...squares.flat()) + 5) * MODULE_PX;
  const pixels = new Uint8ClampedArray(size * size * 4).fill(255);
  for (const [x, y] of squares) {
    for (let at = 0; at < MODULE_PX ** 2; at += 1) {
      const pixel = (y * MODULE_PX + Math.floor(at / MODULE_PX)) * size + x * MODULE_PX + (at % MODULE_PX);
      pixels.fill(0, pixel * 4, pixel * 4 + 3);
    }
  }
  return packages("jsqr")(pixels, size, size)?.data;
}

await run(async (page, guard, context) => {
  guard.allow(/status of 401/);
  await page.goto(`${BASE}/ui/`);
  await page.getByRole("button", { name: "First start" }).click();
  await page.getByLabel("Set-up token").fill(SETUP_TOKEN);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await live(page);
  step("the set-up token makes the administrator and lets in");

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.getByLabel("Name", { exact: true }).fill("admin");
  await page.getByLabel("Password", { exact: true }).fill("not the password");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("alert").waitFor();
  step("a wrong password is told");
  await signIn(page);
  step("the right one lets in");

  await visit(page, "/account", "Account");
  await page.getByRole("button", { name: "Turn on" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Your password").fill(PASSWORD);
  await dialog.getByRole("button", { name: "Next" }).click();
  const secret = await dialog.locator("dd code").first().innerText();
  const link = await dialog.getByRole("link", { name: "open the authenticator" }).getAttribute("href");
  check(link.startsWith("otpauth://totp/") && (await scanned(dialog.locator(".qr path"))) === link, "the picture holds the link");
  await dialog.getByLabel("Code of your authenticator").fill(authenticator(secret));
  await dialog.getByRole("button", { name: "Turn on" }).click();
  const codes = (await dialog.locator(".secret").innerText()).split("\n");
  check(codes.length >= 5, "recovery codes are shown");
  await dialog.getByRole("button", { name: "I have kept it" }).click();
  await page.getByText("recovery codes left").waitFor();
  step("an authenticator is enrolled");

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.getByLabel("Name", { exact: true }).fill("admin");
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByLabel("Code of your authenticator").fill(codes[0]);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.locator("#main h1").waitFor();
  step("signing in asks for the code, and a recovery code does");

  const other = await context.newPage();
  await other.goto(`${BASE}/ui/nodes`);
  await other.getByRole("heading", { name: "Nodes" }).waitFor();
  const before = await page.evaluate(() => {
    const session = JSON.parse(localStorage.getItem("remuda.session"));
    localStorage.setItem("remuda.session", JSON.stringify({ ...session, until: 0 }));
    return session.refresh;
  });
  await Promise.all([page.reload(), other.reload()]);
  await until("the tokens are other ones", () => page.evaluate((old) => JSON.parse(localStorage.getItem("remuda.session"))?.refresh !== old, before));
  await Promise.all([page, other].map((tab) => tab.locator("#main h1").waitFor()));
  await Promise.all([page, other].map((tab) => live(tab)));
  step("two tabs whose token has ended share one refresh and stay signed in");

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await other.getByRole("heading", { name: "Sign in" }).waitFor();
  step("signing out in one tab signs out the other");
});
