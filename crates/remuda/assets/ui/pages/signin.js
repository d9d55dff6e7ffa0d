// The way in: a name and a password, a code where there is a second factor; the set-up token at the first start; an invitation; a lost password.

import { ApiError, post } from "../core/api.js";
import { h, keep, show } from "../core/dom.js";
import { arrived, leave, providers } from "../core/provider.js";
import * as session from "../core/session.js";
import { fields, given } from "../widgets/form.js";
import { failure, notice } from "../widgets/state.js";

const WAYS = {
  signin: {
    title: "Sign in",
    submit: "Sign in",
    fields: [
      { name: "username", label: "Name", required: true, autocomplete: "username" },
      { name: "password", label: "Password", type: "password", required: true, autocomplete: "current-password" },
    ],
    send: (values) => post("/api/v1/login", values, { anonymous: true }),
  },
  setup: {
    title: "Set up",
    submit: "Make the administrator",
    about: "The first start of remuda up printed a set-up token (rmt_…). It works once and makes the administrator.",
    fields: [
      { name: "token", label: "Set-up token", required: true, placeholder: "rmt_…" },
      { name: "username", label: "Name", required: true, value: "admin", autocomplete: "username" },
      { name: "password", label: "Password", type: "password", required: true, min: 8, autocomplete: "new-password", help: "At least 8 characters, none of the common ones." },
    ],
    send: (values) => post("/api/v1/setup", values, { anonymous: true }),
  },
  register: {
    title: "Register",
    submit: "Make my account",
    about: "With an invitation from an administrator, or without one where registration is open.",
    fields: [
      { name: "invitation", label: "Invitation" },
      { name: "username", label: "Name", required: true, autocomplete: "username" },
      { name: "password", label: "Password", type: "password", required: true, min: 8, autocomplete: "new-password" },
    ],
    send: async ({ invitation, ...rest }) => {
      await post("/api/v1/register", given({ invitation, ...rest }), { anonymous: true });
      return post("/api/v1/login", rest, { anonymous: true });
    },
  },
  reset: {
    title: "New password",
    submit: "Set the password",
    about: "An administrator can make a token for who has lost their password (People, Reset password). It works once, within a day.",
    fields: [
      { name: "token", label: "Token", required: true },
      { name: "password", label: "New password", type: "password", required: true, min: 8, autocomplete: "new-password" },
    ],
    send: async (values) => {
      await post("/api/v1/password-reset", values, { anonymous: true });
      return null;
    },
  },
};

const CODE = () => fields([{ name: "code", label: "Code of your authenticator", required: true, autocomplete: "one-time-code", help: "Six digits, or a recovery code." }]);

/** Shows the way in. That somebody is signed in is told by the session. */
export function signIn(app) {
  document.title = "Sign in · Remuda";
  let [way, problem, said, form, code, others, ticket] = ["signin", null, null, null, null, [], null];
  const choose = (next, words = null) => {
    [way, problem, said, code, ticket] = [next, null, words, null, null];
    form = fields(WAYS[next].fields);
    draw();
    form.element.querySelector("input").focus();
  };
  const submit = async (event) => {
    event.preventDefault();
    const button = event.currentTarget.querySelector("button[type=submit]");
    button.disabled = true;
    try {
      const values = ticket ?? form.read();
      if (code) values.code = code.read().code;
      const answer = await (ticket ? exchange(values) : WAYS[way].send(values));
      if (!answer) { choose("signin", "The password is set: sign in with it."); return; }
      session.keep(answer, values.username);
      return;
    } catch (error) {
      if (error instanceof ApiError && error.reason === "code_required") {
        code = CODE();
        problem = null;
      } else problem = error;
    }
    button.disabled = false;
    draw();
    code?.element.querySelector("input").focus();
  };
  const draw = () => {
    const { title, about, submit: words } = WAYS[way];
    const ways = Object.entries(WAYS).filter(([name]) => name !== way);
    show(app, h("main", { class: "alone" }, h("div", { class: "card entry" },
      h("div", { class: "brand" }, h("span", { class: "mark", "aria-hidden": "true" }, "R"), "Remuda"),
      h("h1", { tabindex: "-1" }, title), about && h("p", { class: "muted" }, about), said && notice("good", said),
      h("form", { key: way, onsubmit: submit }, !ticket && keep(form.element), code && keep(code.element), problem && failure(problem),
        h("button", { class: "button primary full", type: "submit" }, words)),
      way === "signin" && !ticket && others.map(({ name, label }) => h("button", { key: `by-${name}`, class: "button full", type: "button", onclick: () => go(name) }, `Sign in with ${label}`)),
      h("div", { class: "row center small" }, ways.map(([name, other]) => h("button", { key: name, class: "link", type: "button", onclick: () => choose(name) }, { setup: "First start", signin: "Sign in", register: "Register", reset: "Lost password" }[name] ?? other.title))))));
  };
  const go = async (name) => {
    try { await leave(name, "/ui/"); } catch (error) { problem = error; draw(); }
  };
  const exchange = (values) => post("/api/v1/auth/oidc/token", values, { anonymous: true });
  /** Goes on where a provider has sent the browser back. */
  const comeBack = async () => {
    const outcome = arrived();
    if (!outcome) return;
    if (outcome.error) { problem = { message: outcome.error }; draw(); return; }
    try {
      session.keep(await exchange(outcome));
    } catch (error) {
      if (error instanceof ApiError && error.reason === "code_required") [ticket, code] = [outcome, CODE()];
      else problem = error;
      draw();
      code?.element.querySelector("input").focus();
    }
  };
  choose("signin");
  comeBack();
  // Where providers cannot be listed, the password is asked for all the same.
  providers().then((found) => { others = found; draw(); }, () => {});
}
