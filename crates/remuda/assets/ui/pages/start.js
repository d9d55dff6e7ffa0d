// The bare address: the overview for who may see it, the playground for who may ask models, one's account for the rest.

import { go, link } from "../core/router.js";

export default {
  title: "Remuda",
  open(view, rights) {
    const to = rights.platform ? "/overview" : rights.inference ? "/playground" : "/account";
    history.replaceState(null, "", link(to));
    queueMicrotask(() => go(location.pathname));
  },
};
