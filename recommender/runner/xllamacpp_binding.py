"""llama.cpp through ``xllamacpp``: its server object, called in this process, with llama-server's own timings."""

from __future__ import annotations

import secrets
import time
from typing import Any

import xllamacpp

from recommender.errors import RunError
from recommender.runner.protocol import Question
from recommender.runner.session import ALL_LAYERS, Answer, OnText, Timing
from recommender.types import Settings

_LOG_WITH_BUFFERS = 4  # the lowest verbosity at which the load log names its buffers
_A_TEMPLATE_THAT_WORKS = "chatml"  # the server wants one, also when only plain completions are asked for


class XllamacppSession:
    def __init__(self) -> None:
        self._use_template = False
        info = xllamacpp.BUILD_INFO
        flags = xllamacpp.get_system_info().strip().rstrip("|").strip()
        self.build = f"{info['commit']} ({info['compiler']}, {info['build_target']}); {flags}"
        self._server: Any = None

    def load(self, path: str, settings: Settings, use_template: bool) -> None:
        self._use_template = use_template
        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_ctx = settings.context_tokens * settings.parallel  # llama.cpp shares it out
        params.n_parallel = settings.parallel
        params.n_batch = settings.batch_tokens
        params.n_ubatch = settings.ubatch_tokens
        params.n_gpu_layers = ALL_LAYERS if settings.gpu_layers < 0 else settings.gpu_layers
        params.cpuparams.n_threads = settings.threads
        params.cpuparams_batch.n_threads = settings.threads
        kv_type = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.kv_type.upper()}")
        params.cache_type_k = params.cache_type_v = kv_type
        flash = xllamacpp.llama_flash_attn_type
        params.flash_attn_type = (
            flash.LLAMA_FLASH_ATTN_TYPE_ENABLED if settings.flash_attn else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.fit_params = False  # it would change our settings in silence
        params.warmup = False  # we warm up ourselves, outside the load time
        params.load_mtp = False
        params.cache_ram_mib = 0  # no store of earlier prompts: it takes memory and falsifies repeats
        params.n_ctx_checkpoints = 0
        params.cache_idle_slots = False
        params.endpoint_slots = False
        params.ui = False
        params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_AUTO  # thinking comes apart
        if not use_template:
            params.chat_template = _A_TEMPLATE_THAT_WORKS
        params.verbosity = _LOG_WITH_BUFFERS
        # The object also listens on a loopback port; without a key any program could use it.
        params.api_keys = [secrets.token_hex(32)]
        self._server = xllamacpp.Server(params)

    def time_tokens(self, prompt: list[int], gen_tokens: int) -> Timing:
        started = time.perf_counter()
        final = self._complete(
            {
                "prompt": prompt,
                # The server counts the token that the prompt's pass gives; the decode steps are the others.
                "n_predict": gen_tokens + 1,
                "ignore_eos": True,
                "cache_prompt": False,
                "temperature": 0,
                "samplers": ["top_k"],
                "top_k": 1,
                "stream": False,
            }
        )
        wall_s = time.perf_counter() - started
        timings = final["timings"]
        return Timing(
            prompt_tokens=timings["prompt_n"],
            prompt_s=timings["prompt_ms"] / 1e3,
            gen_tokens=timings["predicted_n"] - 1,
            gen_s=timings["predicted_ms"] / 1e3,
            ttft_s=wall_s - timings["predicted_ms"] / 1e3,
        )

    def answer(self, question: Question, on_text: OnText) -> Answer:
        body: dict[str, Any] = {
            "n_predict": question.answer_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
            "cache_prompt": question.reuse_prefix,
            "stream": True,
        }
        chat = self._use_template
        if chat:
            body["messages"] = [{"role": turn.role, "content": turn.content} for turn in question.messages]
        else:
            body["prompt"] = "\n\n".join(turn.content for turn in question.messages)
        started = time.perf_counter()
        first_s = last_s = 0.0
        pieces, finish, stopped = 0, "stop", False
        timings: dict[str, Any] = {}
        problem: dict[str, Any] = {}

        def on_chunk(chunk: dict[str, Any]) -> bool:
            """Returns whether to stop."""
            nonlocal first_s, last_s, pieces, finish, stopped
            if "error" in chunk:
                problem.update(chunk["error"])
                return True
            for choice in chunk.get("choices", ()):
                finish = choice["finish_reason"] or finish
                said = choice["delta"] if chat else {"content": choice["text"]}
                for name in ("reasoning_content", "content"):
                    if piece := said.get(name):
                        last_s = time.perf_counter() - started
                        first_s = first_s or last_s
                        pieces += 1
                        stopped = not on_text(piece, name == "reasoning_content") or stopped
            timings.update(chunk.get("timings") or {})
            return stopped

        handle = self._server.handle_chat_completions if chat else self._server.handle_completions
        handle(body, on_chunk)
        _refuse(problem)
        if stopped:  # by the wall clock: the server leaves its timings out
            gen_s = last_s - first_s
            decode = (pieces - 1) / gen_s if gen_s > 0 else 0.0
            return Answer(0, pieces, first_s, decode, "stopped", "file" if chat else "plain")
        if not timings:
            raise RunError("The runtime ended the answer without its timings. Run it again.")
        steps, gen_s = timings["predicted_n"] - 1, timings["predicted_ms"] / 1e3
        return Answer(
            prompt_tokens=timings["prompt_n"],
            answer_tokens=timings["predicted_n"],
            ttft_s=first_s or timings["prompt_ms"] / 1e3,
            decode_tokens_per_s=steps / gen_s if steps > 0 and gen_s > 0 else 0.0,
            finish=finish,
            template="file" if chat else "plain",
        )

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []

        def keep(chunk: dict[str, Any]) -> bool:
            answers.append(chunk)
            return False

        returned = self._server.handle_completions(body, keep)
        final: dict[str, Any] = returned or (answers[-1] if answers else {})
        _refuse(final.get("error") or {})
        if "timings" not in final:
            raise RunError("The runtime ended a timed run without its timings. Run it again.")
        return final


def _refuse(problem: dict[str, Any]) -> None:
    if problem:
        raise RunError(f"llama.cpp refused the request: {problem.get('message', 'no reason given')}.")
