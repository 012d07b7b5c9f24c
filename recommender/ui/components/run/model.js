// The model's file as Blobs: from the browser's cache, from the network, or made of zeros.
import { Plain } from "./engine.js";

const ZEROS = 16 << 20;

/**
 * @param wllama an instance whose cache is the browser's private file system.
 * @param wanted what Python says: `url`, `rehearsal` and `bytes`.
 * @returns {blobs, fetched, forget}: `forget` removes the copy in the cache.
 */
export async function openModel(wllama, wanted, storage, signal, onProgress) {
  if (wanted.rehearsal) return weightless(wanted, signal, onProgress);
  const url = new URL(wanted.url, new URL("../../../", import.meta.url)).href;
  const room = storage && (await hasRoom(wanted.bytes));
  if (!room) return inMemory(url, wanted, signal, onProgress);
  let fetched = 0;
  const progressCallback = ({ loaded, total }) => {
    fetched = loaded;
    onProgress(loaded, total || wanted.bytes);
  };
  const before = await cachedBytes(url);
  const model = await wllama.modelManager.getModelOrDownload({ url }, { progressCallback, signal });
  const forget = () => model.remove();
  return { blobs: await checkedBlobs(await model.open(), forget), fetched: before ? 0 : fetched, forget };
}

async function hasRoom(bytes) {
  const { quota = 0, usage = 0 } = (await navigator.storage.estimate?.()) ?? {};
  return !quota || quota - usage > bytes * 1.05;
}

async function inMemory(url, wanted, signal, onProgress) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`Failed to fetch ${url}: HTTP ${response.status}`);
  const total = Number(response.headers.get("content-length")) || wanted.bytes;
  let loaded = 0;
  const counted = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        loaded += chunk.byteLength;
        onProgress(loaded, total);
        controller.enqueue(chunk);
      },
    }),
  );
  const blob = await new Response(counted).blob();
  return { blobs: await checkedBlobs([blob]), fetched: loaded, forget: async () => {} };
}

async function checkedBlobs(blobs, forget) {
  for (const blob of blobs) {
    const magic = await blob.slice(0, 4).text();
    if (magic === "GGUF") continue;
    await forget?.();
    throw new Plain("What came is not a GGUF file, so it was not loaded. Choose another quantization or model.");
  }
  return blobs;
}

/** A file of the model's exact shape: its front and a few values from the server, zeros for the rest. */
async function weightless(wanted, signal, onProgress) {
  const response = await fetch(new URL(wanted.url, new URL("../../../", import.meta.url)), { signal });
  const kind = response.headers.get("content-type") ?? "";
  if (!response.ok && kind.includes("json")) throw new Plain((await response.json()).error);
  if (!response.ok || !kind.includes("octet-stream")) {
    throw new Plain("This app cannot make the file for a rehearsal. It must be started with `recommender serve`.");
  }
  const body = await response.arrayBuffer();
  onProgress(body.byteLength, body.byteLength);
  const line = new Uint8Array(body).indexOf(10);
  const { total_bytes, pieces } = JSON.parse(new TextDecoder().decode(body.slice(0, line)));
  const zeros = new Blob([new Uint8Array(ZEROS)]); // one, referred to again and again
  const parts = [];
  let [at, from] = [0, line + 1];
  const fill = (end) => {
    for (; at < end; at += Math.min(ZEROS, end - at)) parts.push(end - at >= ZEROS ? zeros : zeros.slice(0, end - at));
  };
  for (const [offset, bytes] of pieces) {
    fill(offset);
    parts.push(body.slice(from, from + bytes));
    [at, from] = [offset + bytes, from + bytes];
  }
  fill(total_bytes);
  return { blobs: [new Blob(parts)], fetched: body.byteLength, forget: async () => {} };
}

/** Bytes of the file in the browser's cache, 0 where it is not whole there. wllama names it by its address. */
export async function cachedBytes(url) {
  try {
    const hash = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(url));
    const hex = [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const name = `${hex}_${url.split("/").pop()}`;
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("cache");
    await folder.getFileHandle(`__metadata__${name}`); // written after the file
    return (await (await folder.getFileHandle(name)).getFile()).size;
  } catch {
    return 0;
  }
}
