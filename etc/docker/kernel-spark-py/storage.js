// The gateway's browsers give the pages of Spark's UI no origin of their own, and so no localStorage, which the UI takes
// for granted. This one lasts as long as the page.
try {
  window.localStorage.length;
} catch {
  const items = new Map();
  Object.defineProperty(window, "localStorage", {
    value: {
      getItem: (name) => items.get(name) ?? null,
      setItem: (name, value) => items.set(name, String(value)),
      removeItem: (name) => items.delete(name),
    },
  });
}

