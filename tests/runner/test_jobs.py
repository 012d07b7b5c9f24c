from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import psutil
import pytest

from recommender import paths
from recommender.errors import BadInputError, Cancelled, DatabaseLockedError, OutOfMemoryError, RunError
from recommender.runner import Job, Message, RunManager, RunRequest, child, measure, protocol
from recommender.runner.channel import PARENT_GONE
from recommender.types import MIB, Measurement
from tests.runner.conftest import PATIENCE_S, SETTINGS, finished, until
from tests.tiny_gguf import N_HEAD_KV, N_LAYER, write_tiny_gguf

Ask = Callable[..., RunRequest]


def endless(ask: Ask, **changes: object) -> RunRequest:
    return ask(repeats=10**6, **changes)


def test_a_run_measures_with_exact_counts(ask: Ask, manager: RunManager, binding: str) -> None:
    job = finished(manager.submit(ask(binding=binding, repeats=4, device_name="box", device_key="key")))
    assert (job.state, job.error) == ("done", "")
    repeats = [event for event in job.events if isinstance(event, protocol.Repeat)]
    assert [(r.number, r.of, r.prompt_tokens, r.gen_tokens) for r in repeats] == [(n, 4, 48, 12) for n in (1, 2, 3, 4)]
    measured = job.measurement
    assert measured is not None
    assert (measured.prompt_tokens, measured.gen_tokens, measured.repeats) == (48, 12, 4)
    speeds = sorted(repeat.decode_tokens_per_s for repeat in repeats)
    assert measured.decode_low == speeds[0]
    assert measured.decode_high == speeds[-1]
    assert measured.decode_tokens_per_s == pytest.approx((speeds[1] + speeds[2]) / 2)
    assert measured.prefill_low <= measured.prefill_tokens_per_s <= measured.prefill_high
    assert measured.binding.startswith(binding + " ")
    assert "AVX" in measured.build or "NEON" in measured.build
    assert (measured.device_name, measured.device_key, measured.file_name) == ("box", "key", "tiny-Q8_0.gguf")
    assert measured.settings == SETTINGS
    assert measured.ttft_s > 0
    assert measured.load_s > 0


def test_a_prompt_whose_last_batch_is_one_token_is_counted_whole(ask: Ask, manager: RunManager, binding: str) -> None:
    settings = replace(SETTINGS, batch_tokens=64, ubatch_tokens=64)
    job = finished(manager.submit(ask(binding=binding, prompt_tokens=65, settings=settings)))
    assert job.error == ""
    assert job.measurement is not None
    assert job.measurement.prompt_tokens == 65


def test_the_memory_parts_are_those_the_shapes_give(ask: Ask, tiny: Path, manager: RunManager, binding: str) -> None:
    job = finished(manager.submit(ask(binding=binding)))
    memory = job.memory
    assert memory is not None
    # K and V of every layer and position, two bytes each: head size 16.
    assert memory.kv_cache_bytes == 1024 * N_LAYER * 2 * (16 * N_HEAD_KV) * 2
    tensors = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(tiny).tensors)
    assert memory.weights_bytes == pytest.approx(tensors, abs=0.02 * MIB)  # the log rounds; mapped pages are whole
    assert memory.compute_bytes > 0
    assert memory.overhead_bytes > 10 * MIB
    parts = memory.weights_bytes + memory.kv_cache_bytes + memory.compute_bytes + memory.overhead_bytes
    assert memory.total_bytes == parts
    assert memory.provenance == "measured here"
    assert job.measurement is not None
    assert job.measurement.peak_resident_bytes is not None
    assert job.measurement.peak_resident_bytes > memory.overhead_bytes


def test_a_file_of_ones_own_is_written_down_with_its_checksum(ask: Ask, tiny: Path, manager: RunManager) -> None:
    job = finished(manager.submit(ask()))
    assert job.measurement is not None
    assert job.measurement.file_sha256 == hashlib.sha256(tiny.read_bytes()).hexdigest()


def test_each_of_several_sequences_gets_the_whole_context(ask: Ask, manager: RunManager, binding: str) -> None:
    job = finished(manager.submit(ask(binding=binding, settings=replace(SETTINGS, parallel=3))))
    assert job.memory is not None
    assert job.memory.kv_cache_bytes == 3 * 1024 * N_LAYER * 2 * (16 * N_HEAD_KV) * 2


def test_a_quantized_cache_takes_its_own_size(ask: Ask, tmp_path: Path, manager: RunManager, binding: str) -> None:
    path = write_tiny_gguf(tmp_path / "wide.gguf", n_embd=128)  # heads of 32 values: one block of Q8_0
    settings = replace(SETTINGS, kv_type="q8_0")
    job = finished(manager.submit(ask(binding=binding, model_path=str(path), settings=settings)))
    assert job.memory is not None
    values = 1024 * N_LAYER * 2 * (32 * N_HEAD_KV)
    assert job.memory.kv_cache_bytes == pytest.approx(values * 34 / 32, abs=0.02 * MIB)


def test_text_streams_while_the_answer_is_still_being_written(
    ask: Ask, tmp_path: Path, manager: RunManager, binding: str
) -> None:
    # The events of 15,000 tokens do not fit in a pipe: while the first is looked at, the last cannot have been sent.
    path = write_tiny_gguf(tmp_path / "long.gguf", context_tokens=2**14)
    settings = replace(SETTINGS, context_tokens=2**14)
    jobs: list[Job] = []

    def stop_at_first_text(event: protocol.Event) -> None:
        if isinstance(event, protocol.Text):
            until(lambda: jobs)
            jobs[0].cancel()

    changes = {"model_path": str(path), "settings": settings, "answer_tokens": 15_000, "temperature": 0.0}
    jobs.append(manager.submit(ask(binding=binding, repeats=0, prompt="Hello", **changes), stop_at_first_text))
    job = finished(jobs[0])
    assert (job.state, job.exception.__class__) == ("cancelled", Cancelled)
    assert job.text
    assert job.last(protocol.FirstToken) is not None
    assert job.last(protocol.Answered) is None


def test_an_answer_uses_the_chat_template_of_the_file(ask: Ask, manager: RunManager, binding: str) -> None:
    messages = (Message("system", "abc"), Message("user", "de"))
    job = finished(manager.submit(ask(binding=binding, repeats=0, messages=messages, answer_tokens=7)))
    answered = job.last(protocol.Answered)
    assert answered is not None
    # <|start|>system\nabc<|end|>\n<|start|>user\nde<|end|>\n<|start|>assistant\n, a token for each byte or marker
    assert answered.prompt_tokens == (1 + 7 + 3 + 2) + (1 + 5 + 2 + 2) + (1 + 10)
    assert answered.template == "file"
    assert answered.answer_tokens <= 7
    assert job.measurement is None


@pytest.mark.parametrize("template", [None, "{% for %}"])
def test_without_a_usable_template_the_prompt_is_completed_plainly(
    template: str | None, ask: Ask, tmp_path: Path, manager: RunManager, binding: str
) -> None:
    path = write_tiny_gguf(tmp_path / "plain.gguf", template=template)
    job = finished(manager.submit(ask(binding=binding, model_path=str(path), prompt="Hello", answer_tokens=5)))
    assert job.error == ""
    answered = job.last(protocol.Answered)
    assert answered is not None
    assert (answered.prompt_tokens, answered.template) == (5, "plain")
    assert job.memory is not None
    assert job.memory.kv_cache_bytes == 1024 * N_LAYER * 2 * (16 * N_HEAD_KV) * 2, "a second load was counted twice"


def test_the_answer_can_come_before_the_measurement(ask: Ask, manager: RunManager) -> None:
    job = finished(manager.submit(ask(prompt="Hi", answer_tokens=3, answer_first=True)))
    kinds = [type(event) for event in job.events]
    assert kinds.index(protocol.Answered) < kinds.index(protocol.WarmUp)
    assert job.measurement is not None


def test_another_architecture_runs_too(ask: Ask, tmp_path: Path, manager: RunManager, binding: str) -> None:
    path = write_tiny_gguf(tmp_path / "qwen.gguf", architecture="qwen2", quantize=False)
    job = finished(manager.submit(ask(binding=binding, model_path=str(path))))
    assert job.error == ""
    assert job.measurement is not None


def test_a_model_in_several_files_runs(ask: Ask, tmp_path: Path, manager: RunManager, binding: str) -> None:
    whole = write_tiny_gguf(tmp_path / "whole.gguf")
    path = write_tiny_gguf(tmp_path / "m.gguf", tensors_per_file=10)
    job = finished(manager.submit(ask(binding=binding, model_path=str(path))))
    assert job.error == ""
    assert job.measurement is not None
    parts = list(tmp_path.glob("m-*.gguf"))
    assert len(parts) == 3
    assert job.measurement.file_bytes == sum(part.stat().st_size for part in parts) > whole.stat().st_size
    assert job.measurement.file_name == path.name


def test_stop_ends_the_process_before_it_returns(ask: Ask, manager: RunManager, binding: str) -> None:
    job = manager.submit(endless(ask, binding=binding))
    until(lambda: job.last(protocol.Repeat))
    pid = job.pid
    assert pid is not None
    assert psutil.pid_exists(pid)
    job.cancel()
    assert not psutil.pid_exists(pid)
    assert (finished(job).state, job.pid, job.measurement) == ("cancelled", None, None)
    job.cancel()  # again does no harm


def test_a_worker_killed_from_outside_is_explained(ask: Ask, manager: RunManager) -> None:
    job = manager.submit(endless(ask))
    until(lambda: job.last(protocol.Repeat))
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    assert finished(job).state == "failed"
    assert "killed from outside" in job.error
    assert "memory ran out" in job.error


@pytest.mark.parametrize("stage", [protocol.Loading, protocol.Loaded, protocol.WarmUp, protocol.Repeat, protocol.Text])
def test_a_worker_can_be_killed_at_any_stage(ask: Ask, tmp_path: Path, stage: type) -> None:
    """At once, on the very event, whatever the process does next."""
    path = write_tiny_gguf(tmp_path / "long.gguf", context_tokens=2**14)
    settings = replace(SETTINGS, context_tokens=2**14)
    jobs: list[Job] = []
    kept: list[Measurement] = []

    def kill(event: protocol.Event) -> None:
        if isinstance(event, stage):
            until(lambda: jobs)
            with contextlib.suppress(ProcessLookupError):
                os.kill(jobs[0].pid or 0, signal.SIGKILL)

    manager = RunManager(on_measurement=kept.append)
    many = 1 if stage is protocol.Text else 10**6
    request = ask(model_path=str(path), settings=settings, repeats=many, prompt="Hi", answer_tokens=15_000)
    jobs.append(manager.submit(request, kill))
    job = finished(jobs[0])
    assert (job.state, job.pid) == ("failed", None)
    assert isinstance(job.exception, OutOfMemoryError)
    assert len(kept) == (1 if stage is protocol.Text else 0)
    assert finished(manager.submit(ask())).state == "done"
    manager.close()


@pytest.mark.parametrize(
    ("deadly", "words"),
    [("SIGSEGV", "build of the runtime is faulty"), ("SIGILL", "other instructions"), ("SIGABRT", "probably damaged")],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_each_way_a_runtime_dies_has_its_own_advice(ask: Ask, manager: RunManager, deadly: str, words: str) -> None:
    job = manager.submit(endless(ask))
    until(lambda: job.last(protocol.Repeat))
    os.kill(job.pid or 0, getattr(signal, deadly))
    assert finished(job).state == "failed"
    assert words in job.error


def test_the_next_run_works_after_one_was_killed(ask: Ask, manager: RunManager) -> None:
    first = manager.submit(endless(ask))
    second = manager.submit(ask())
    until(lambda: first.last(protocol.Repeat))
    os.kill(first.pid or 0, signal.SIGKILL)
    assert finished(second).state == "done"


def test_when_the_app_dies_its_worker_dies(ask: Ask, tiny: Path) -> None:
    program = f"""
import time
from recommender.runner import RunManager, RunRequest, protocol
from recommender.types import Settings
job = RunManager().submit(RunRequest("tiny", "Q8_0", {SETTINGS!r}, model_path={str(tiny)!r},
                                     prompt_tokens=48, gen_tokens=12, repeats=10**6))
while not job.last(protocol.Repeat):
    time.sleep(0.01)
print(job.pid, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    app = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert app.stdout is not None
    worker = int(app.stdout.readline())
    assert psutil.pid_exists(worker)
    app.kill()
    app.wait()
    app.stdout.close()
    until(lambda: not psutil.pid_exists(worker))


def test_one_runs_and_the_others_know_their_place(ask: Ask, manager: RunManager) -> None:
    first = manager.submit(endless(ask))
    until(lambda: first.pid)
    second, third, fourth = (manager.submit(endless(ask)) for _ in range(3))
    assert [job.position for job in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert [job.state for job in (second, third, fourth)] == ["queued"] * 3
    second.cancel()
    assert second.state == "cancelled"
    assert (third.position, fourth.position) == (1, 2)
    first.cancel()
    until(lambda: third.pid)
    assert (third.position, fourth.position) == (0, 1)
    assert fourth.last(protocol.Queued) == protocol.Queued(1)


def test_two_people_at_once_get_one_run_each_and_never_two_processes(ask: Ask, manager: RunManager) -> None:
    jobs: list[Job] = []
    most: list[int] = []

    def watch(event: protocol.Event) -> None:
        most.append(sum(job.pid is not None for job in list(jobs)))

    def person() -> None:
        jobs.append(manager.submit(ask(), watch))

    people = [threading.Thread(target=person) for _ in range(4)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join()
    assert [finished(job).state for job in jobs] == ["done"] * 4
    assert len({job.id for job in jobs}) == 4
    assert max(most) == 1
    assert all(manager.get(job.id) is job for job in jobs)


def test_a_full_queue_is_refused_with_a_sentence(ask: Ask) -> None:
    manager = RunManager(longest_queue=1)
    first = manager.submit(endless(ask))
    until(lambda: first.pid)
    manager.submit(endless(ask))
    with pytest.raises(RunError, match="1 runs are waiting"):
        manager.submit(ask())
    manager.close()
    assert first.ended
    assert first.pid is None


def test_an_unknown_job_is_none(manager: RunManager) -> None:
    assert manager.get("nothing") is None


def test_measurements_are_handed_over_even_if_nobody_watches(ask: Ask) -> None:
    kept: list[Measurement] = []
    manager = RunManager(on_measurement=kept.append)
    job = finished(manager.submit(ask()))
    assert kept == [job.measurement]
    manager.close()


def test_a_measurement_that_cannot_be_stored_is_still_shown(ask: Ask) -> None:
    def locked(measurement: Measurement) -> None:
        raise DatabaseLockedError("measurements.duckdb is held by process 1.")

    manager = RunManager(on_measurement=locked)
    job = finished(manager.submit(ask()))
    assert job.error == "measurements.duckdb is held by process 1."
    assert job.measurement is not None
    manager.close()


def test_what_was_measured_is_kept_when_the_rest_of_the_run_dies(ask: Ask, tmp_path: Path) -> None:
    kept: list[Measurement] = []
    jobs: list[Job] = []

    def kill_at_first_text(event: protocol.Event) -> None:
        if isinstance(event, protocol.Text):
            until(lambda: jobs)
            os.kill(jobs[0].pid or 0, signal.SIGKILL)

    path = write_tiny_gguf(tmp_path / "long.gguf", context_tokens=2**14)
    settings = replace(SETTINGS, context_tokens=2**14)
    manager = RunManager(on_measurement=kept.append)
    request = ask(model_path=str(path), settings=settings, prompt="Hi", answer_tokens=15_000, temperature=0.0)
    jobs.append(manager.submit(request, kill_at_first_text))
    assert finished(jobs[0]).state == "failed"
    assert len(kept) == 1
    manager.close()


def test_a_listener_that_fails_ends_its_run_and_no_other(ask: Ask) -> None:
    def broken(event: protocol.Event) -> None:
        if isinstance(event, protocol.Loaded):
            raise RunError("The listener failed.")

    manager = RunManager()
    job = finished(manager.submit(endless(ask), broken))
    assert (job.state, job.error, job.pid) == ("failed", "The listener failed.", None)
    assert finished(manager.submit(ask())).state == "done"
    manager.close()


def test_a_worker_ends_when_its_standard_input_closes(ask: Ask) -> None:
    """What holds on systems whose kernel does not end a child with its parent."""
    running = child.start("recommender.runner.worker", endless(ask))
    events = running.events()
    assert any(isinstance(event, protocol.Repeat) for event in events)
    assert running._process.stdin is not None
    running._process.stdin.close()
    for _ in events:
        pass
    assert running._process.wait(PATIENCE_S) == PARENT_GONE
    running.finish()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_nobody_foresaw_does_not_stop_the_queue(ask: Ask) -> None:
    def broken(measurement: Measurement) -> None:
        raise ZeroDivisionError

    manager = RunManager(on_measurement=broken)
    first, second = manager.submit(ask()), manager.submit(ask(repeats=0, prompt="x", answer_tokens=2))
    assert finished(first).state == "failed"
    assert "failed inside the app" in first.error
    assert finished(second).state == "done"
    manager.close()


def test_a_context_above_what_the_model_was_made_for_is_refused(ask: Ask, manager: RunManager) -> None:
    job = finished(manager.submit(ask(settings=replace(SETTINGS, context_tokens=4096))))
    assert isinstance(job.exception, BadInputError)
    assert "context of 4096 tokens is above the 2048" in job.error


def test_nonsense_is_refused_before_anything_starts(ask: Ask, manager: RunManager) -> None:
    for changes in (
        {"settings": replace(SETTINGS, context_tokens=0)},
        {"settings": replace(SETTINGS, kv_type="q9")},
        {"settings": replace(SETTINGS, kv_type="q4_0", flash_attn=False)},
        {"settings": replace(SETTINGS, threads=0)},
        {"prompt_tokens": 1020},
        {"repeats": -1},
        {"model_path": ""},
    ):
        with pytest.raises(BadInputError):
            manager.submit(ask(**changes))
    assert manager.jobs() == ()


def test_measure_waits_for_the_measurement_and_reports_events(ask: Ask) -> None:
    seen: list[protocol.Event] = []
    measured = measure(ask(prompt="Hi", answer_tokens=4), seen.append)
    assert measured.repeats == 3
    kinds = [type(event) for event in seen]
    assert kinds.count(protocol.Repeat) == 3
    assert kinds.index(protocol.Loading) < kinds.index(protocol.Loaded) < kinds.index(protocol.Result)
    assert protocol.Answered in kinds


def test_measure_raises_what_went_wrong(ask: Ask) -> None:
    with pytest.raises(BadInputError, match="There is no file"):
        measure(ask(model_path="/nowhere/x.gguf"))
    with pytest.raises(RunError, match="Nothing was measured"):
        measure(ask(repeats=0, prompt="Hi", answer_tokens=1))


def test_a_run_ends_when_its_time_is_over_and_its_process_is_gone(ask: Ask, manager: RunManager) -> None:
    job = finished(manager.submit(endless(ask, longest_s=2.0)))
    assert (job.state, job.pid) == ("failed", None)
    assert "longest a run may take" in job.error


def test_a_chat_whose_time_is_over_counts_as_done(ask: Ask, manager: RunManager) -> None:
    job = finished(manager.submit(ask(repeats=0, keep_loaded=True, longest_s=3.0)))
    assert (job.state, job.error, job.pid) == ("done", "", None)


def test_what_is_to_be_done_before_a_run_is_done_when_its_turn_comes_and_its_failure_is_the_runs(
    ask: Ask, manager: RunManager
) -> None:
    def full() -> None:
        raise RunError("The disk is full.")

    job = finished(manager.submit(ask(), before=full))
    assert (job.state, job.error) == ("failed", "The disk is full.")
    assert finished(manager.submit(ask())).state == "done"


def test_a_runs_process_knows_none_of_the_servers_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTSIZE_TRY_SERVER_KEY", "hush")
    monkeypatch.setenv("STREAMLIT_SERVER_COOKIE_SECRET", "hush")
    known = child._without_secrets(os.environ)
    assert "hush" not in known.values()
    assert known[paths.HOME_VARIABLE] == os.environ[paths.HOME_VARIABLE]
