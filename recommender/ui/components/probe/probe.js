// What this browser says of the machine it runs on. Every question may be unknown to it, refused or never answered;
// what is missing is left out. Nothing is drawn and nothing goes anywhere but to this page's own session.

const PATIENCE_MS = 600; // a graphics driver that is still waking up does not hold up the page
const COPY_MS = 2000;
const WORKER_MS = 10_000;
const MOST_WORKERS = 4;
const BUFFER_BYTES = 32 * 1024 * 1024; // two in each worker: together far larger than any cache

let report = () => {}; // the newest render's: an earlier one may be gone by the time an answer is there
let asking = false;
let measuring = false;

export default function ({ data, setStateValue }) {
  report = setStateValue;
  if (data?.ask && !asking) {
    asking = true;
    describe()
      .then((found) => report("found", found))
      .finally(() => (asking = false));
  }
  if (data?.measure && !measuring) {
    measuring = true;
    bandwidth()
      .then((bytes) => ({ bytes_per_s: bytes }))
      .catch((error) => ({ error: String(error?.message ?? error) }))
      .then((found) => report("bandwidth", found))
      .finally(() => (measuring = false));
  }
}

async function describe() {
  const [hints, quota, webgpu] = await Promise.all([
    soon(async () => navigator.userAgentData.getHighEntropyValues(["architecture", "bitness", "model", "platform"])),
    soon(async () => (await navigator.storage.estimate()).quota),
    soon(async () => {
      const { vendor, architecture, device, description } = (await navigator.gpu.requestAdapter()).info;
      return [vendor, architecture, device, description].filter(Boolean).join(" ");
    }),
  ]);
  const found = {
    cores: navigator.hardwareConcurrency,
    memory_gib: navigator.deviceMemory,
    touch_points: navigator.maxTouchPoints,
    user_agent: navigator.userAgent,
    navigator_platform: navigator.platform,
    platform: hints?.platform,
    mobile: hints?.mobile,
    architecture: hints?.architecture,
    bitness: hints?.bitness,
    model: hints?.model,
    webgl: webglRenderer(),
    webgpu,
    quota_bytes: quota,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined && value !== null));
}

async function soon(ask) {
  try {
    return await Promise.race([ask(), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
  } catch {
    return undefined;
  }
}

function webglRenderer() {
  try {
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
    const unmasked = gl.getExtension("WEBGL_debug_renderer_info");
    const name = gl.getParameter(unmasked ? unmasked.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
    gl.getExtension("WEBGL_lose_context")?.loseContext();
    return name;
  } catch {
    return undefined;
  }
}

// Bytes per second that copying moves, all workers together: what they read plus what they write.
async function bandwidth() {
  const count = Math.max(1, Math.min(navigator.hardwareConcurrency ?? 1, MOST_WORKERS));
  const workers = Array.from({ length: count }, () => new Worker(new URL("./copy.js", import.meta.url)));
  try {
    await Promise.all(workers.map((worker) => asked(worker, { prepare: BUFFER_BYTES })));
    const rates = await Promise.all(workers.map((worker) => asked(worker, { run: COPY_MS })));
    return rates.reduce((sum, rate) => sum + rate, 0);
  } finally {
    workers.forEach((worker) => worker.terminate());
  }
}

function asked(worker, question) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    setTimeout(() => reject(new Error("the worker did not answer")), WORKER_MS);
    worker.onerror = (event) => reject(new Error(event.message ?? "the worker did not start"));
    worker.postMessage(question);
  });
}
