"""llama.cpp through ``llama-cpp-python``: its low-level interface.

The high-level class keeps every logit of a batch, copies them after each token, swallows unknown options and keeps a
prefix of the last prompt. The C functions underneath do none of that, so they time the runtime alone.
"""

from __future__ import annotations

import codecs
import ctypes
import time
from collections.abc import Sequence
from typing import Any

import jinja2
import llama_cpp
from llama_cpp import llama_chat_format

from recommender.errors import RunError
from recommender.runner.protocol import Message, Question
from recommender.runner.session import ALL_LAYERS, Answer, OnText, Timing
from recommender.runner.thinking import OPEN
from recommender.types import Settings


class LlamaCppPythonSession:
    def __init__(self) -> None:
        # With no callback, llama.cpp logs to standard error, where the load log is read from.
        llama_cpp.llama_log_set(ctypes.cast(0, llama_cpp.llama_log_callback), ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        flags = llama_cpp.llama_print_system_info().decode().strip().rstrip("|").strip()
        self.build = f"llama-cpp-python {llama_cpp.__version__}; {flags}"
        self._model: Any = None
        self._context: Any = None
        self._vocabulary: Any = None
        self._use_template = False
        self._batch_tokens = 0
        self._room_tokens = 0
        self._kept: list[int] = []  # tokens that the cache holds

    def load(self, path: str, settings: Settings, use_template: bool) -> None:
        self._use_template = use_template
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = ALL_LAYERS if settings.gpu_layers < 0 else settings.gpu_layers
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
        if not self._model:
            raise RuntimeError("the model was refused")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = settings.context_tokens * settings.parallel  # llama.cpp shares it out
        params.n_seq_max = settings.parallel
        params.n_batch = settings.batch_tokens
        params.n_ubatch = settings.ubatch_tokens
        params.n_threads = params.n_threads_batch = settings.threads
        params.type_k = params.type_v = getattr(llama_cpp, f"GGML_TYPE_{settings.kv_type.upper()}")
        params.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if settings.flash_attn else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.swa_full = False  # windowed layers keep their window only, as llama-server does
        params.n_outputs_max = settings.parallel  # logits of the last token only: saves n_vocab × ubatch floats
        params.no_perf = False
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("the context was refused")
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._batch_tokens = settings.batch_tokens
        self._room_tokens = llama_cpp.llama_n_ctx_seq(self._context)

    def time_tokens(self, prompt: list[int], gen_tokens: int) -> Timing:
        sampler = llama_cpp.llama_sampler_init_greedy()
        started = time.perf_counter()
        self._clear()
        self._decode(prompt)
        token = llama_cpp.llama_sampler_sample(sampler, self._context, -1)
        ttft_s = time.perf_counter() - started
        prefill = llama_cpp.llama_perf_context(self._context)
        prompt_tokens, prompt_s = _prefilled(prefill, len(prompt))
        llama_cpp.llama_perf_context_reset(self._context)
        for _ in range(gen_tokens):
            self._decode([token])
            token = llama_cpp.llama_sampler_sample(sampler, self._context, -1)
        generated = llama_cpp.llama_perf_context(self._context)
        llama_cpp.llama_sampler_free(sampler)
        return Timing(
            prompt_tokens=prompt_tokens,
            prompt_s=prompt_s,
            gen_tokens=generated.n_eval,
            gen_s=generated.t_eval_ms / 1e3,
            ttft_s=ttft_s,
        )

    def answer(self, question: Question, on_text: OnText) -> Answer:
        started = time.perf_counter()
        tokens, template, thinks = self._prompt_tokens(question.messages)
        room = self._room_tokens - len(tokens)
        if not tokens or room < 1:
            raise RunError(
                f"The prompt has {len(tokens)} tokens and the context holds {self._room_tokens}: "
                "shorten it or raise the context."
            )
        sampler = self._sampler(question)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        reused = self._reuse(tokens) if question.reuse_prefix else 0
        if not reused:
            self._clear()
        goes_on = on_text(OPEN, False) if thinks else True  # the template opened it in the prompt
        self._decode(tokens[reused:])
        self._kept = list(tokens)
        llama_cpp.llama_perf_context_reset(self._context)
        count, ttft_s, finish = 0, 0.0, "length"
        limit = min(question.answer_tokens, room)
        while True:
            token = llama_cpp.llama_sampler_sample(sampler, self._context, -1)
            if not count:
                ttft_s = time.perf_counter() - started
            count += 1
            if llama_cpp.llama_vocab_is_eog(self._vocabulary, token):
                finish = "stop"
                break
            if piece := decoder.decode(self._piece(token)):
                goes_on = on_text(piece, False)
            if count >= limit:
                break
            if not goes_on:
                finish = "stopped"
                break
            self._decode([token])
            self._kept.append(token)
        if rest := decoder.decode(b"", final=True):
            on_text(rest, False)
        generated = llama_cpp.llama_perf_context(self._context)
        llama_cpp.llama_sampler_free(sampler)
        gen_s = generated.t_eval_ms / 1e3
        return Answer(
            prompt_tokens=len(tokens),
            answer_tokens=count,
            ttft_s=ttft_s,
            decode_tokens_per_s=generated.n_eval / gen_s if count > 1 and gen_s > 0 else 0.0,
            finish=finish,
            template=template,
        )

    def _reuse(self, tokens: Sequence[int]) -> int:
        """Cut the cache back to the beginning that ``tokens`` share with it; returns how many tokens that is."""
        shared = 0
        for kept, wanted in zip(self._kept, tokens[:-1], strict=False):  # the last one gives the logits
            if kept != wanted:
                break
            shared += 1
        memory = llama_cpp.llama_get_memory(self._context)
        # Recurrent layers have no past to go back to: they refuse.
        return shared if shared and llama_cpp.llama_memory_seq_rm(memory, -1, shared, -1) else 0

    def _clear(self) -> None:
        self._kept = []
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        llama_cpp.llama_perf_context_reset(self._context)

    def _decode(self, tokens: Sequence[int]) -> None:
        for start in range(0, len(tokens), self._batch_tokens):
            part = tokens[start : start + self._batch_tokens]
            array = (llama_cpp.llama_token * len(part))(*part)
            code = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(part)))
            if code != 0:
                raise RunError(f"llama.cpp stopped with code {code} while computing. Try a shorter context.")
        llama_cpp.llama_synchronize(self._context)

    def _prompt_tokens(self, chat: Sequence[Message]) -> tuple[list[int], str, bool]:
        """The tokens to answer, "file" or "plain" for the template that made them, and whether it began to think."""
        template = llama_cpp.llama_model_chat_template(self._model, None) if self._use_template else None
        bos = self._text(llama_cpp.llama_vocab_bos(self._vocabulary))
        if template:
            eos = self._text(llama_cpp.llama_vocab_eos(self._vocabulary))
            try:
                # The template is the file's: it runs in Jinja's sandbox, in this process that can be killed.
                formatter = llama_chat_format.Jinja2ChatFormatter(template.decode(), eos_token=eos, bos_token=bos)
                turns: Any = [{"role": turn.role, "content": turn.content} for turn in chat]
                text = formatter(messages=turns).prompt
            except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
                template = None  # a broken template is as good as none
            else:
                tokens = self._tokenize(text, add_special=not (bos and text.startswith(bos)))
                return tokens, "file", text.rstrip().endswith(OPEN)
        return self._tokenize("\n\n".join(turn.content for turn in chat), add_special=True), "plain", False

    def _tokenize(self, text: str, add_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        array = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._vocabulary, data, len(data), array, room, add_special, True)
        if count < 0:
            raise RunError("The prompt could not be turned into tokens. Shorten it.")
        return list(array[:count])

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
        if length < 0:
            buffer = ctypes.create_string_buffer(-length)
            length = llama_cpp.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[:length]

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        text = llama_cpp.llama_vocab_get_text(self._vocabulary, token)
        return text.decode("utf-8", errors="replace") if text else ""

    def _sampler(self, question: Question) -> Any:
        if question.temperature <= 0:
            return llama_cpp.llama_sampler_init_greedy()
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        for part in (
            llama_cpp.llama_sampler_init_top_k(40),
            llama_cpp.llama_sampler_init_top_p(0.95, 1),
            llama_cpp.llama_sampler_init_min_p(0.05, 1),
            llama_cpp.llama_sampler_init_temp(question.temperature),
            llama_cpp.llama_sampler_init_dist(question.seed),
        ):
            llama_cpp.llama_sampler_chain_add(chain, part)
        return chain


def _prefilled(counters: Any, wanted: int) -> tuple[int, float]:
    """Prompt tokens and seconds. The runtime books a last batch of a single token as generation."""
    lone = 1 if counters.t_eval_ms > 0 else 0
    batched = counters.n_p_eval if counters.t_p_eval_ms > 0 else 0
    return min(batched + lone, wanted), (counters.t_p_eval_ms + counters.t_eval_ms) / 1e3
