// One's own: name, password, second factor, sessions.

import { changed, get, open, patch, post, put, remove } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, program, when } from "../core/format.js";
import { arrived, leave, providers } from "../core/provider.js";
import * as dialog from "../widgets/dialog.js";
import { copyable } from "../widgets/copy.js";
import { qr } from "../widgets/qr.js";
import { card, chip, facts, failure, heading, loading } from "../widgets/state.js";

export default {
  title: "Account",
  needs: "anyone",
  open(view) {
    let [profile, factor, sessions, known, linked, problem] = [null, null, [], [], [], null];
    const hurry = view.every(20_000, async (signal) => {
      const mine = (path) => get(`/api/v1/me/${path}`, {}, { signal });
      [profile, factor, sessions, known, linked] = await Promise.all([mine("profile"), mine("totp"), mine("sessions").then((page) => page.items), providers(signal), mine("identities").then((page) => page.items)]);
    });
    const outcome = arrived();
    if (outcome?.error) problem = { message: outcome.error };
    else if (outcome) view.once(async () => { await post("/api/v1/me/identities", outcome); hurry(); });
    const join = async (name) => {
      try { await leave(name, "/ui/account"); } catch (error) { problem = error; view.refresh(); }
    };
    const part = ({ provider, subject, email }, label) => dialog.confirm(`Unlink ${label}?`, h("p", {}, `You (${email ?? subject} there) sign in by ${label} no more.`), "Unlink", async () => { await remove(`/api/v1/me/identities/${encodeURIComponent(provider)}`); hurry(); return `${label} is unlinked.`; });
    const byProvider = () => known.map(({ name, label }) => {
      const mine = linked.find((one) => one.provider === name);
      return [label, h("div", { class: "row" }, mine
        ? [chip("linked", "loaded"), mine.email ?? mine.subject, h("button", { class: "button small danger-quiet", type: "button", onclick: () => part(mine, label) }, "Unlink")]
        : [h("span", { class: "muted" }, "not linked"), h("button", { class: "button small", type: "button", onclick: () => join(name) }, "Link")])];
    });
    const edit = () => dialog.ask("Your record", [{ name: "display_name", label: "Name to be shown", value: profile.display_name }, { name: "email", label: "Address", type: "email", value: profile.email }], "Save", async (values) => {
      await patch("/api/v1/me/profile", { display_name: values.display_name ?? "", email: values.email ?? "" }, changed(profile.etag));
      hurry();
      return "Saved.";
    });
    const password = () => dialog.ask("Change your password", [
      { name: "current", label: "Present password", type: "password", required: true, autocomplete: "current-password" },
      { name: "new", label: "New password", type: "password", required: true, min: 8, autocomplete: "new-password", help: "At least 8 characters. Your other sessions end." },
    ], "Change", async (values) => { await put("/api/v1/me/password", values); hurry(); return "The password is changed."; });
    const signOut = (one) => dialog.confirm("End this session?", h("p", {}, `The session from ${one.ip ?? "an unknown address"} (${one.user_agent ?? "unknown program"}) ends at once.`), "End", async () => { await remove(`/api/v1/me/sessions/${one.id}`); hurry(); return "The session has ended."; });
    const everywhere = () => dialog.confirm("Sign out everywhere?", h("p", {}, `All ${sessions.length} sessions end at once, this one too. Keys are not touched.`), "Sign out", async () => { await open("DELETE", "/api/v1/me/sessions"); return null; });
    view.draw = () => [
      heading("Account", { sub: view.me.name }),
      view.error && failure(view.error, hurry),
      problem && failure(problem),
      !profile ? !view.error && loading() : [
        h("div", { class: "columns even" },
          card("You", { aside: h("button", { class: "button small", type: "button", onclick: edit }, "Change") }, facts(["Name to sign in with", profile.username], ["Shown as", profile.display_name], ["Address", profile.email], ["Role", profile.role, view.me.platform_admin && " of the platform"], ["Since", when(profile.created_at)])),
          card("Signing in", {}, facts(
            ["Password", h("button", { class: "button small", type: "button", onclick: password }, "Change")],
            ["Second factor", h("div", { class: "row" }, factor.enabled ? [chip("on", "loaded"), `${count(factor.recovery_codes_left)} recovery codes left`, h("button", { class: "button small", type: "button", onclick: () => renew(hurry) }, "New codes"), h("button", { class: "button small danger-quiet", type: "button", onclick: () => disable(hurry) }, "Turn off")] : [h("span", { class: "muted" }, "off: the password alone lets you in"), h("button", { class: "button small", type: "button", onclick: () => enrol(hurry) }, "Turn on")])],
            ...byProvider()))),
        card("Sessions", { flush: true, exports: "sessions", aside: h("button", { class: "button small danger-quiet", type: "button", onclick: everywhere }, "Sign out everywhere") }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Since"), h("th", { scope: "col" }, "Last used"), h("th", { scope: "col" }, "From"), h("th", { scope: "col", class: "not-on-phone" }, "With"), h("th", { scope: "col" }, h("span", { class: "offscreen" }, "Actions")))),
          h("tbody", {}, sessions.map((one) => h("tr", { key: one.id }, h("td", {}, when(one.created_at)), h("td", {}, when(one.last_used_at, "ago")), h("td", {}, one.ip ?? "–"), h("td", { class: "wide not-on-phone" }, h("span", { class: "clip", title: one.user_agent }, program(one.user_agent))), h("td", { class: "right" }, one.current ? chip("this one", "loaded") : h("button", { class: "button small", type: "button", onclick: () => signOut(one) }, "End")))))))),
      ],
    ];
  },
};

const CODE = { name: "code", label: "Code of your authenticator", required: true, autocomplete: "one-time-code" };
const showCodes = (codes) => dialog.secret("Recovery codes", codes.join("\n"), "Each works once in place of a code. Keep them apart from your device; they are not shown again.");

function enrol(hurry) {
  dialog.ask("Turn the second factor on", [{ name: "password", label: "Your password", type: "password", required: true, autocomplete: "current-password" }], "Next", async (values) => {
    const begun = await post("/api/v1/me/totp", values);
    dialog.ask("Put this into your authenticator", [CODE], "Turn on", async ({ code }) => {
      const { recovery_codes: codes } = await post("/api/v1/me/totp/confirm", { code });
      hurry();
      showCodes(codes);
      return null;
    }, { body: [h("p", {}, "Scan this with your authenticator, or type the secret into it. Then give the code that it shows."), qr(begun.uri, "QR code for the authenticator"), facts(["Secret", copyable(begun.secret)], ["Link", h("a", { href: begun.uri }, "open the authenticator")])] });
    return null;
  });
}

const renew = (hurry) => dialog.ask("New recovery codes", [CODE], "Make new codes", async (values) => { const { recovery_codes: codes } = await post("/api/v1/me/totp/recovery-codes", values); hurry(); showCodes(codes); return null; }, { body: h("p", {}, "The earlier codes work no more.") });

const disable = (hurry) => dialog.ask("Turn the second factor off", [{ name: "password", label: "Your password", type: "password", required: true, autocomplete: "current-password" }, { ...CODE, help: "Or a recovery code." }], "Turn off", async (values) => { await post("/api/v1/me/totp/disable", values); hurry(); return "Signing in takes the password alone."; }, { danger: true, body: h("p", {}, "From then on the password alone lets you in.") });
