// What who is signed in may see and do. The server decides; this only spares people offers that it would refuse.

/** `platform`: nodes, models, requests, settings; `people`: keys, people, the record of changes; `inference`: has models answer; `anyone`. */
export function rightsOf(me) {
  const platform = Boolean(me.platform_admin);
  return {
    platform,
    people: platform || me.role === "admin",
    inference: me.role !== "viewer",
    anyone: true,
  };
}
