// A value that pages watch.

/** Makes a value with `get`, `set` and `watch`; `watch` returns how to stop. `onFirst` runs when somebody begins to watch and returns how to end. */
export function observed(value, onFirst) {
  const watchers = new Set();
  let end = null;
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    watch(watcher) {
      watchers.add(watcher);
      if (watchers.size === 1 && onFirst) end = onFirst();
      return () => {
        watchers.delete(watcher);
        if (watchers.size === 0) { end?.(); end = null; }
      };
    },
  };
}

/** Runs `work` now and again `every()` milliseconds after it ended, while the page is to be seen. Returns how to stop and how to hurry. */
export function repeat(every, work) {
  let timer = null;
  let stopped = false;
  let running = false;
  let again = false;
  const turn = async () => {
    clearTimeout(timer);
    if (running) { again = true; return; }
    running = true;
    try { await work(); } finally { running = false; }
    if (stopped) return;
    if (again) { again = false; turn(); } else timer = setTimeout(next, every());
  };
  const next = () => (document.hidden ? (timer = null) : turn());
  const seen = () => { if (!document.hidden && !stopped && timer === null) turn(); };
  document.addEventListener("visibilitychange", seen);
  turn();
  return {
    now: () => { if (!stopped) turn(); },
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
