// Runs a model in the visitor's browser: one at a time, its text as it comes, and its speed to Python.
import { Plain, abilities, openEngine } from "./engine.js";
import { measure } from "./measure.js";
import { cachedBytes, openModel } from "./model.js";

const ANSWER_TOKENS = 200;
const ANSWER_S = 30;
const LOCK = "rightsize-run";
const views = new WeakMap();
let running = null; // the view whose run goes on, if any

export default function render({ data, parentElement, setStateValue }) {
  let view = views.get(parentElement);
  if (!view) views.set(parentElement, (view = new View(parentElement)));
  view.show(data, setStateValue);
  return () => view.close();
}

class View {
  constructor(root) {
    const make = (kind, name, parent = box) => {
      const element = document.createElement(kind);
      element.className = name;
      parent.append(element);
      return element;
    };
    const box = make("div", "run", root);
    const buttons = make("div", "buttons");
    this.start = make("button", "start", buttons);
    this.rehearse = make("button", "rehearse", buttons);
    this.stop = make("button", "stop", buttons);
    this.remove = make("button", "remove", buttons);
    this.bar = make("progress", "bar");
    this.state = make("p", "state");
    this.state.setAttribute("role", "status");
    this.notes = make("ul", "notes");
    this.answer = make("pre", "answer");
    this.stop.textContent = "Stop";
    this.remove.textContent = "Remove it from this browser";
    this.start.onclick = () => this.run(this.data.model);
    this.rehearse.onclick = () => this.run(this.data.rehearsal);
    this.stop.onclick = () => this.end();
    this.remove.onclick = () => this.forget();
    this.forget = async () => {};
    this.idle();
  }

  show(data, setStateValue) {
    [this.data, this.report] = [data, setStateValue];
    const { model, rehearsal } = data;
    this.start.hidden = !model;
    this.rehearse.hidden = !rehearsal;
    if (model) this.start.textContent = model.label;
    if (rehearsal) this.rehearse.textContent = rehearsal.label;
    if (running !== this) this.idle();
    this.look();
  }

  /** Say on the button when the file is in this browser already. */
  async look() {
    const { model } = this.data;
    const url = model && new URL(model.url, new URL("../../../", import.meta.url)).href;
    const held = model ? await cachedBytes(url) : 0;
    if (this.data.model !== model) return;
    this.remove.hidden = !held || running === this;
    if (held) this.start.textContent = model.held_label;
    this.forget = async () => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("cache");
      for await (const name of folder.keys()) {
        if (model.files.some((file) => name.endsWith(`_${file}`))) await folder.removeEntry(name);
      }
      this.say("Removed from this browser.");
      this.show(this.data, this.report);
    };
  }

  idle() {
    this.stop.hidden = this.bar.hidden = true;
    this.start.disabled = this.rehearse.disabled = false;
  }

  say(sentence, failed = false) {
    this.state.textContent = sentence;
    this.state.classList.toggle("failed", failed);
  }

  /** Stop what goes on; its worker goes, and its memory with it. */
  end() {
    this.controller?.abort();
    this.wllama?.exit();
  }

  close() {
    if (running === this) this.end();
  }

  async run(wanted) {
    if (running) return this.say("Another model runs in this page. Stop it first.", true);
    running = this;
    this.controller = new AbortController();
    this.start.disabled = this.rehearse.disabled = true;
    this.remove.hidden = true;
    this.stop.hidden = false;
    this.answer.textContent = "";
    this.notes.replaceChildren();
    try {
      await alone(() => this.whole(wanted, this.controller.signal));
    } catch (error) {
      const stopped = this.controller.signal.aborted;
      this.say(stopped ? "Stopped. Its memory is free again." : sentence(error), !stopped);
    } finally {
      this.wllama?.exit();
      this.wllama = null;
      running = null;
      this.show(this.data, this.report);
    }
  }

  async whole(wanted, signal) {
    const can = await abilities();
    this.note(can.notes);
    this.say("Loading wllama");
    const engine = await openEngine(this.data.engine, can.compat, signal);
    const log = new Log();
    const make = () => {
      const made = new engine.Wllama({ default: engine.wasm }, { logger: log, ...(can.storage ? {} : { cacheManager: {} }) });
      made.setCompat(engine.compat);
      return made;
    };
    this.wllama = make();
    this.bar.hidden = false;
    const file = await openModel(this.wllama, wanted, can.storage, signal, (loaded, total) => {
      this.bar.value = total ? Math.min(1, loaded / total) : 0;
      this.say(`Fetching: ${size(loaded)} of ${size(total)}`);
    });
    this.bar.hidden = true;
    signal.throwIfAborted();

    const load = async (gpu) => {
      this.say(`Loading the model onto the ${gpu ? "GPU" : `processor, ${can.threads} thread${can.threads > 1 ? "s" : ""}`}`);
      const started = performance.now();
      const options = { n_ctx: this.data.context_tokens, n_parallel: 1, n_threads: can.threads, ...(gpu ? {} : { n_gpu_layers: 0 }) };
      await Promise.race([this.wllama.loadModel(file.blobs, options), log.crashed]);
      // wllama goes on without a model when llama.cpp refused the file.
      if (!this.wllama.getLoadedContextInfo().n_vocab) throw new Error(log.refusal || "llama.cpp refused it");
      return (performance.now() - started) / 1000;
    };
    let load_s;
    try {
      load_s = await load(can.gpu);
    } catch (error) {
      signal.throwIfAborted();
      await this.wllama.exit();
      if (!can.gpu) {
        await file.forget();
        throw unreadable(error);
      }
      this.note(["The GPU refused it, so it runs on the processor."]);
      can.gpu = null;
      this.wllama = make();
      load_s = await load(null);
    }
    if (can.gpu && !log.layersOnGpu) this.note(["wllama does not work with this GPU, so it runs on the processor."]);
    const timed = (work) => Promise.race([work, log.crashed]);
    if (!wanted.rehearsal) await timed(this.ask(signal));
    signal.throwIfAborted();
    const found = await timed(measure(this.wllama, wanted.rehearsal, (step) => this.say(step)));
    signal.throwIfAborted();
    this.say("Done. Its memory is free again.");
    this.report("outcome", {
      ...found,
      token: wanted.token,
      backend: log.layersOnGpu ? "webgpu" : "cpu",
      threads: this.wllama.getNumThreads(),
      isolated: Boolean(globalThis.crossOriginIsolated),
      load_s,
      fetched_bytes: file.fetched,
      browser: browserName(),
      gpu: log.layersOnGpu ? gpuName(can.gpu) : "",
    });
  }

  /** The person's prompt, answered for a while; it warms the model up as well. */
  async ask(signal) {
    this.say("Answering");
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), 1000 * ANSWER_S);
    const thinking = document.createElement("span");
    thinking.className = "thinking";
    const said = document.createTextNode("");
    this.answer.append(thinking, said);
    try {
      await this.wllama.createChatCompletion({
        messages: [{ role: "user", content: this.data.prompt }],
        max_tokens: ANSWER_TOKENS,
        temperature: 0,
        stream: true,
        abortSignal: AbortSignal.any([signal, limit.signal]),
        onData: (chunk) => {
          const delta = chunk.choices?.[0]?.delta ?? {};
          thinking.textContent += delta.reasoning_content ?? "";
          said.data += delta.content ?? "";
        },
      });
    } catch (error) {
      if (!limit.signal.aborted) throw error;
      said.data += " …";
    } finally {
      clearTimeout(timer);
    }
  }

  note(sentences) {
    for (const one of sentences) {
      const item = document.createElement("li");
      item.textContent = one;
      this.notes.append(item);
    }
  }
}

/** What wllama logs: how many layers went to the GPU, why a file was refused, and whether its worker broke. */
class Log {
  constructor() {
    this.layersOnGpu = 0;
    this.refusal = "";
    this.crashed = new Promise((_, reject) => (this.crash = reject));
    this.crashed.catch(() => {});
    this.error = (...words) => {
      this.read(words);
      if (words[0] instanceof Event) this.crash(new Error(words[0].message || "its worker broke"));
    };
    this.debug = this.log = this.warn = (...words) => this.read(words);
  }

  read(words) {
    console.debug("wllama:", ...words);
    const line = words.map(String).join(" ");
    const offloaded = /offloaded (\d+)\/\d+ layers to GPU/.exec(line);
    if (offloaded) this.layersOnGpu = Number(offloaded[1]);
    const refused = /(?:this GGUF file|error loading model|failed to allocate)\b.*/.exec(line);
    if (refused) this.refusal ||= refused[0].replace("error loading model: ", "").trim();
  }
}

/** One run in all tabs of this app, where the browser can tell. */
function alone(work) {
  if (!navigator.locks) return work();
  return navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => {
    if (!lock) throw new Plain("Another tab runs a model already. Stop it there first.");
    return work();
  });
}

/** Bytes as the rest of the page writes them. */
function size(bytes) {
  if (bytes >= 2 ** 29) return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${Math.round(bytes / 1024)} KiB`;
}

function browserName() {
  const brand = navigator.userAgentData?.brands?.find(({ brand }) => !/not.*brand|^Chromium$/i.test(brand));
  const known = /(Firefox|Edg|Chrome|Version)\/[\d.]+/.exec(navigator.userAgent);
  return (brand ? `${brand.brand} ${brand.version}` : known ? known[0].replace("Version", "Safari") : "").slice(0, 100);
}

const gpuName = ({ info }) => (info?.description || [info?.vendor, info?.architecture].filter(Boolean).join(" ") || "").slice(0, 100);

function unreadable(error) {
  if (outOfMemory(error)) return error;
  return new Plain(`wllama could not load the file: ${said(error)}. Its copy in this browser was removed; press again to fetch it anew.`);
}

const said = (error) => String(error?.message ?? error).replace(/\.$/, "").slice(0, 300);
const outOfMemory = (error) => error instanceof RangeError || /out of memory|memory access|allocat|OOM/i.test(said(error));

function sentence(error) {
  const status = /HTTP (\d+)/.exec(said(error))?.[1];
  if (error instanceof Plain) return error.message;
  if (status === "401" || status === "403") return "The file is given only to accounts that accepted its terms. Choose another model.";
  if (status) return `The file could not be fetched: the server answered ${status}. Choose another quantization or model.`;
  if (error instanceof TypeError && /fetch/i.test(said(error))) return "The file could not be fetched: the network or the server refused. Press again to go on.";
  if (error?.name === "QuotaExceededError") return "This browser has no room for the file. Choose a smaller one, or remove others.";
  if (/context/i.test(said(error))) return "The prompt is longer than the context of a run in the browser. Shorten it.";
  if (outOfMemory(error)) return "This browser gave it too little memory. Choose a smaller model or quantization.";
  return `It could not be run in this browser: ${said(error)}.`;
}
