// wllama in this browser: what the browser can do, and the engine's files, each compared with its pinned checksum.

/** An error whose message is a sentence for the person. */
export class Plain extends Error {}

const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** What this browser offers; `notes` are sentences about what it lacks and what is done instead. */
export async function abilities() {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(SIMD))) {
    throw new Plain(
      "This browser has no WebAssembly with SIMD, so no model can run in it. Take a current Chrome, Edge, Firefox or Safari.",
    );
  }
  const notes = [];
  let gpu = null;
  try {
    gpu = (await navigator.gpu?.requestAdapter()) ?? null;
  } catch {
    // A blocked driver: as if there were none.
  }
  const suspends = Boolean(WebAssembly.Suspending);
  const firefox = /Firefox\//.test(navigator.userAgent);
  const compat = !firefox && !(suspends && hasMemory64());
  if (firefox && !suspends) gpu = null;
  const cores = navigator.hardwareConcurrency || 1;
  const threads = globalThis.crossOriginIsolated ? Math.min(16, Math.max(1, Math.floor(cores / 2))) : 1;
  if (!gpu) notes.push("No WebGPU here, so it runs on the processor.");
  if (!globalThis.crossOriginIsolated) notes.push("This page is not isolated, so the processor runs one thread.");
  if (compat) notes.push("This browser needs wllama's compatible build, which is slower.");
  const storage = Boolean(navigator.storage?.getDirectory);
  if (!storage) notes.push("This browser keeps no files for this page, so the model is fetched anew each time.");
  return { gpu, compat, threads, storage, notes };
}

function hasMemory64() {
  try {
    return Boolean(new WebAssembly.Memory({ address: "i64", initial: 1n }));
  } catch {
    return false;
  }
}

/**
 * Load wllama's module: from the app, else from a public CDN.
 * @param engine what Python says: `own`, and `files` of {name, cdn, integrity, type}.
 * @returns {Wllama, wasm, compat}: the class, and addresses of checked copies.
 */
export async function openEngine(engine, compat, signal) {
  const [script, wasm] = await Promise.all([checked(engine, "wllama.js", signal), checked(engine, "wllama.wasm", signal)]);
  const other = compat && {
    worker: { code: await (await checked(engine, "compat.js", signal)).text() },
    wasm: URL.createObjectURL(await checked(engine, "compat.wasm", signal)),
  };
  const address = URL.createObjectURL(script);
  try {
    const { Wllama } = await import(address);
    return { Wllama, wasm: URL.createObjectURL(wasm), compat: other || null };
  } finally {
    URL.revokeObjectURL(address);
  }
}

const kept = new Map(); // a second run on the same page loads nothing

async function checked(engine, name, signal) {
  if (kept.has(name)) return kept.get(name);
  const file = engine.files.find((one) => one.name === name);
  // Streamlit serves this file three folders below the app's root.
  const own = new URL(`../../../browser/engine/${engine.version}/${name}`, import.meta.url).href;
  for (const address of [own, file.cdn]) {
    try {
      const response = await fetch(address, { integrity: file.integrity, signal });
      if (!response.ok) continue;
      const blob = new Blob([await response.arrayBuffer()], { type: file.type });
      kept.set(name, blob);
      return blob;
    } catch (error) {
      if (signal.aborted) throw error;
      // Not there, not reachable, or not the file that was checked: the next place.
    }
  }
  throw new Plain(
    navigator.onLine === false
      ? "This browser is offline, and this app does not have wllama itself: its server can fetch it with `recommender browser-assets`."
      : "wllama could not be loaded, neither from this app nor from its public address. `recommender browser-assets` on the server puts it into the app.",
  );
}
