// Timing a loaded model: one prompt, fixed token counts, a warm-up, repeats, no prompt cache, by llama.cpp's own clock.

// Prompt and generated tokens, most telling first: the first that takes at most so long in all.
const COUNTS = [[512, 128], [256, 64], [128, 32], [64, 16]];
const WARM_UP_WORDS = 8;
const WARM_UP_TOKENS = 8;
// wllama breaks on text that is no UTF-8, which a model may write when it is not let end: it writes "a" instead.
const ALWAYS = [["a", 100]];
const ALWAYS_WEIGHTLESS = [[100, 100]]; // its vocabulary begins with three control tokens and the bytes
const REPEATS = 3;
const LONGEST_S = 20;

/**
 * @param rehearsal whether the model is weightless.
 * @param onStep told a sentence before each step.
 * @returns token counts, and one number per repeat: prefill and decode in tokens/s, ttft_s in seconds.
 */
export async function measure(wllama, rehearsal, onStep) {
  const always = rehearsal ? ALWAYS_WEIGHTLESS : ALWAYS;
  onStep("Measuring: warming up");
  const warm = await timed(wllama, text(WARM_UP_WORDS), WARM_UP_TOKENS, always);
  const takes = ([given, made]) => REPEATS * (given / warm.prefill + made / warm.decode);
  const [given, made] = COUNTS.find((counts) => takes(counts) <= LONGEST_S) ?? COUNTS.at(-1);
  // wllama takes text, not tokens: about so many, and the same ones in every repeat.
  const prompt = text(Math.max(1, Math.round((given * WARM_UP_WORDS) / warm.given)));
  const found = { prompt_tokens: 0, gen_tokens: made, prefill: [], decode: [], ttft_s: [] };
  for (let repeat = 1; repeat <= REPEATS; repeat += 1) {
    onStep(`Measuring: repeat ${repeat} of ${REPEATS}`);
    const one = await timed(wllama, prompt, made, always);
    found.prompt_tokens = one.given;
    found.prefill.push(one.prefill);
    found.decode.push(one.decode);
    found.ttft_s.push(one.ttft_s);
  }
  return found;
}

/** Prefill the prompt with an empty cache, then exactly `made` decode steps; the first token is the prompt's own. */
async function timed(wllama, prompt, made, logit_bias) {
  const started = performance.now();
  let first = 0;
  let timings;
  await wllama.createCompletion({
    prompt,
    max_tokens: made + 1,
    ignore_eos: true,
    logit_bias,
    cache_prompt: false,
    temperature: 0,
    stream: true,
    onData: (chunk) => {
      first ||= performance.now();
      timings = chunk.timings ?? timings;
    },
  });
  if (!timings || timings.cache_n > 0 || timings.predicted_n !== made + 1) {
    throw new Error("wllama counted other tokens than were asked for, so its times are not used");
  }
  return {
    given: timings.prompt_n,
    prefill: (1000 * timings.prompt_n) / timings.prompt_ms,
    decode: (1000 * made) / timings.predicted_ms,
    ttft_s: ((first || started + timings.prompt_ms) - started) / 1000,
  };
}

/** So many invented words: their tokens lie all over the vocabulary, so that mixture-of-experts layers see all experts. */
function text(words) {
  let state = 2654435761;
  const below = (end) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * end);
  };
  const word = () => String.fromCharCode(...Array.from({ length: 2 + below(6) }, () => 97 + below(26)));
  return Array.from({ length: words }, word).join(" ");
}
