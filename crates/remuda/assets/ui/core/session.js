// Who is signed in. The tokens are shared by all tabs of the browser; only one of them refreshes at a time, because a refresh
// token that is presented again later ends the session. What two tabs do at the same moment all the same (the shared storage may
// lag) the server answers alike.

const STORE = "remuda.session";
const LEASE = "remuda.refreshing";
/** The access token is renewed when less than this is left of it. */
const MARGIN_MS = 60_000;
const LEASE_MS = 10_000;

let listeners = [];

export function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE));
  } catch {
    return null;
  }
}

/** Keeps what signing in or refreshing answered. */
export function keep(answer, username) {
  const session = {
    access: answer.access_token,
    refresh: answer.refresh_token,
    until: Date.now() + answer.expires_in * 1_000,
    username: username ?? read()?.username,
  };
  localStorage.setItem(STORE, JSON.stringify(session));
  tell();
  return session;
}

/** Forgets the session, in all tabs. */
export function forget() {
  localStorage.removeItem(STORE);
  tell();
}

/** Calls `listener` when somebody signs in, out, or gets other tokens, in whichever tab. */
export function onChange(listener) {
  listeners.push(listener);
}

const tell = () => listeners.forEach((listener) => listener(read()));

window.addEventListener("storage", (event) => {
  if (event.key === STORE || event.key === null) tell();
});

/** Returns a token that is good for a while, or nothing when nobody is signed in. */
export async function token() {
  const session = read();
  if (!session) return null;
  if (session.until - Date.now() > MARGIN_MS) return session.access;
  return renew(session.access);
}

/** Gets the next tokens unless another tab already has, and returns the access token; nothing when the session is over. */
export function renew(stale) {
  return alone(async () => {
    const session = read();
    if (!session || session.access !== stale) return session?.access ?? null;
    const response = await fetch("/api/v1/token/refresh", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ refresh_token: session.refresh }),
    });
    if (response.ok) return keep(await response.json()).access;
    // Anything else (a stopped database, a restart) may pass: the session is kept.
    if (response.status === 401 || response.status === 400) forget();
    return null;
  });
}

/** Runs `work` while no other tab does. Locks exist only on secure origins; elsewhere a lease in the shared storage does. */
async function alone(work) {
  if (navigator.locks) return navigator.locks.request(LEASE, work);
  const mine = String(Math.random());
  for (;;) {
    const [owner, until] = (localStorage.getItem(LEASE) ?? "|0").split("|");
    if (Number(until) < Date.now() || owner === mine) {
      localStorage.setItem(LEASE, `${mine}|${Date.now() + LEASE_MS}`);
      await pause(50);
      if (localStorage.getItem(LEASE)?.startsWith(`${mine}|`)) break;
    }
    await pause(50 + Math.random() * 50);
  }
  try {
    return await work();
  } finally {
    localStorage.removeItem(LEASE);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
