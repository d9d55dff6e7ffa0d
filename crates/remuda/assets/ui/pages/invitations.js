// Invitations: a token that lets somebody make their own account.

import { create, remove } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, moment, when } from "../core/format.js";
import { paged } from "../core/paged.js";
import * as dialog from "../widgets/dialog.js";
import { given } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { empty, failure, heading, loading } from "../widgets/state.js";
import { ROLES } from "./people.js";

export default {
  title: "Invitations",
  needs: "people",
  open(view) {
    const list = paged(view, "/api/v1/invitations", { names: [] });
    const grid = new Grid(view, {
      name: "invitations", key: (row) => row.id, columns: [
        { id: "note", label: "For", value: (row) => row.note, cell: (row) => row.note ?? h("span", { class: "muted" }, "nobody named"), wide: true },
        { id: "role", label: "Role", value: (row) => row.role },
        { id: "created_at", label: "Made", value: (row) => row.created_at, cell: (row) => when(row.created_at), right: true, phone: false },
        { id: "expires_at", label: "Ends", value: (row) => row.expires_at, cell: (row) => when(row.expires_at, "ago"), right: true },
        { id: "actions", label: "", value: () => "", right: true, cell: (row) => h("button", { class: "button small danger-quiet", type: "button", onclick: () => withdraw(row, list) }, "Withdraw") },
      ],
    });
    const invite = () => dialog.ask("Invite somebody", [
      { name: "note", label: "Whom it is for" }, { name: "role", label: "Role", type: "select", value: "user", options: ROLES }, { name: "expires_at", label: "Ends", type: "date", help: "After 7 days when empty; 90 days at most." },
    ], "Invite", async (values) => {
      const made = await create("/api/v1/invitations", given(values));
      list.again();
      dialog.secret("Invitation", made.token, `Hand it over in private. It works once, until ${moment(made.expires_at)} (Sign in, Register). Registration has to be "invite" or "open" under Settings.`);
      return null;
    });
    view.draw = () => [
      heading("Invitations", { sub: list.total !== null && `${count(list.total)} that stand`, actions: [h("button", { class: "button primary", type: "button", onclick: invite }, "Invite")] }),
      view.error && failure(view.error, list.again),
      list.items === null ? !view.error && loading() : list.items.length === 0 ? empty("No invitation stands", "Invite somebody to have them make their own account, with a password that only they know.", h("button", { class: "button primary", type: "button", onclick: invite }, "Invite")) : [keep(grid.set(list.items)), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "More"))],
    ];
  },
};

const withdraw = (row, list) => dialog.confirm("Withdraw the invitation?", h("p", {}, `The invitation${row.note ? ` for ${row.note}` : ""} (role ${row.role}) works no more.`), "Withdraw", async () => { await remove(`/api/v1/invitations/${row.id}`); list.again(); return "The invitation is withdrawn."; });
