"""Calls a function that a model wrote, in a fresh process that can do little else than compute.

The process gets the code and the arguments, and gives back what the function returned. What should have been returned
it never learns, so whatever the code does there, it cannot make a wrong answer look right: the caller compares.

=====================  =================================================================================
Everywhere             RestrictedPython: no attribute that begins with "_", no class, seven modules in part;
                       an audit hook that refuses files, sockets, processes, imports and everything else
                       that Python reports; no environment, an empty folder, no input; the parent ends it
                       at a limit of time, memory or output
Linux and macOS        limits of the kernel on CPU time, memory, files and processes
Linux                  a filter that leaves the process the system calls of computing; no network; never
                       more rights, and none of root's; ends with the thread that started it
=====================  =================================================================================

Where the kernel allows no filter or no empty network, the rest must do. On Windows and macOS code that found a way
around both RestrictedPython and the audit hook would have the rights of the person who runs this.

The child runs this file as a script, without any installed package but the one that its argument names.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import ctypes
import faulthandler
import functools
import heapq
import itertools
import json
import math
import operator
import os
import platform
import re
import signal
import string
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if sys.platform != "win32":
    import resource

if __name__ == "__main__":
    sys.path.append(sys.argv[1])

import RestrictedPython
from RestrictedPython import Eval, Guards
from RestrictedPython.compile import compile_restricted_exec
from RestrictedPython.transformer import RestrictingNodeTransformer

__all__ = ["CPU_S", "MEMORY_BYTES", "WALL_S", "Ran", "call_function"]

CPU_S = 2  # seconds of CPU time for all calls together
WALL_S = 10.0  # on a busy machine two seconds of CPU time take longer
MEMORY_BYTES = 512 * 1024**2  # of address space where the kernel limits it, else of resident memory
_OUTPUT_BYTES = 64 * 1024
_SAID_CHARACTERS = 1000
_LOOK_S = 0.02
_END_S = 1.0
_ISOLATED = ("-I", "-S", "-B", "-W", "ignore")
_ENVIRONMENT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without them some Pythons do not start


@dataclass(frozen=True)
class Ran:
    """What came of the calls, in order: plain JSON values, fewer than the calls when ``failure`` says why.

    ``failure`` repeats what the code said, and that may be anything.
    """

    returned: tuple[Any, ...]
    failure: str


def call_function(code: str, function: str, calls: Sequence[Sequence[Any]]) -> Ran:
    """Define what ``code`` defines and call ``function`` once with each list of arguments, up to the first failure.

    Of a module only its functions, imports and assignments are run: example calls at its end are left out. Never raises
    for what the code is or does; ``OSError`` when no process can be started.
    """
    packages = str(Path(RestrictedPython.__file__).parents[1])
    with tempfile.TemporaryDirectory() as empty:
        process = subprocess.Popen(
            [sys.executable, *_ISOLATED, __file__, packages],
            cwd=empty,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin:  # it died at once: its end tells how
            process.stdin.write(json.dumps({"code": code, "function": function, "calls": calls}).encode())
        output, end = _watch(process)
    returned, failure = _read(output)
    if len(returned) >= len(calls):
        return Ran(returned[: len(calls)], "")
    return Ran(returned, failure or f"{_shown(function, calls[len(returned)])} {end}.")


def _shown(function: str, arguments: Sequence[Any]) -> str:
    return f"{function}({', '.join(map(repr, arguments))})"


# ── the outside: watch, end, read ────────────────────────────────────────────────────────────────────────────


def _watch(process: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    """What the process wrote, and how it ended."""
    import psutil  # not in the child, which has no use for it

    output: list[bytes] = []
    assert process.stdout is not None
    read = functools.partial(process.stdout.read, _OUTPUT_BYTES + 1)
    reader = threading.Thread(target=lambda: output.append(read()), name="sandbox output", daemon=True)
    reader.start()
    deadline = time.monotonic() + WALL_S
    end = ""
    while reader.is_alive() and process.poll() is None and not end:
        reader.join(_LOOK_S)
        if time.monotonic() > deadline:
            end = f"did not finish within {WALL_S:.0f} s"
        with contextlib.suppress(psutil.Error):
            if psutil.Process(process.pid).memory_info().rss > MEMORY_BYTES:
                end = "took more memory than it may"
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0 if end else _END_S)
    end = end or _how(process.poll())
    _kill(process)
    reader.join(_END_S)
    if reader.is_alive():  # something that it started got away and holds the pipe
        return b"", end
    process.stdout.close()
    return (output[0], end) if len(output[0]) <= _OUTPUT_BYTES else (b"", "returned more than can be held")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(code: int | None) -> str:
    if code is None:
        return "stopped answering"
    if -code in (getattr(signal, "SIGXCPU", 0), getattr(signal, "SIGKILL", 0)):
        return f"did not finish within {CPU_S} s of CPU time"
    return f"ended its process with code {code}"


def _read(output: bytes) -> tuple[tuple[Any, ...], str]:
    """Values returned, and the failure after them. The code may have written anything here."""
    returned: list[Any] = []
    for line in output.splitlines():
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or "returned" not in answer:
            said = answer.get("failure") if isinstance(answer, dict) else None
            return tuple(returned), said if isinstance(said, str) else "The code wrote something else than an answer."
        returned.append(answer["returned"])
    return tuple(returned), ""


# ── the inside: confine the process ──────────────────────────────────────────────────────────────────────────

_NOBODY = 65534
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word, compare it with a constant, return a constant
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
# The machine's number in linux/audit.h, and in its unistd.h those of read, write, mmap, munmap, mremap, mprotect,
# brk, madvise, futex, rt_sigaction, rt_sigprocmask, rt_sigreturn, restart_syscall, sched_yield, clock_gettime,
# getrandom, exit, exit_group.
_SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (0, 1, 9, 11, 25, 10, 12, 28, 202, 13, 14, 15, 219, 24, 228, 318, 60, 231)),
    "aarch64": (0xC00000B7, (63, 64, 222, 215, 216, 226, 214, 233, 98, 134, 135, 139, 128, 124, 113, 278, 93, 94)),
}
_HARMLESS = {"compile", "exec", "builtins.id"}  # what they make runs under the same hook


def _confine() -> None:
    """Take from this process for good whatever computing does not need. What this system cannot take away, stays."""
    if sys.platform == "linux":
        _leave_the_network()
    else:
        faulthandler.dump_traceback_later(WALL_S, exit=True, file=sys.__stderr__)  # should the parent be gone
    _limit_resources()
    if sys.platform == "linux":
        _filter_system_calls()
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _HARMLESS:
        raise PermissionError(f"{event} is not allowed here")


def _leave_the_network() -> None:
    """Into an empty network, without root's rights, and with the parent's end as this one's."""
    libc = ctypes.CDLL(None)
    root, parent = os.geteuid() == 0, os.getppid()
    if libc.unshare(_CLONE_NEWNET):  # only in a user namespace of its own may an ordinary user do that
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    if root:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # last: a change of user undoes it
    if os.getppid() != parent:
        os._exit(1)


def _limit_resources() -> None:
    if sys.platform == "win32":
        return
    limits = {
        resource.RLIMIT_CPU: round(time.process_time()) + CPU_S,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    for limit, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # lower already, or not known to this system
            resource.setrlimit(limit, (value, value))


def _filter_system_calls() -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    machine, allowed = _SYSTEM_CALLS.get(platform.machine(), (0, ()))
    if not machine or sys.maxsize < 1 << 32:  # a 32-bit Python has other calls, even on a 64-bit kernel
        return
    steps = [(_LOAD, 0, 0, 4), (_JUMP_IF_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    steps += [(_JUMP_IF_EQUAL, len(allowed) - place, 0, call) for place, call in enumerate(allowed)]
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(program)))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(head))


# ── the inside: what the code may use ────────────────────────────────────────────────────────────────────────


def _part(module: Any, names: str = "") -> SimpleNamespace:
    """The functions and constants of a module, without what it imported itself: ``re.enum.sys`` is a way out."""
    return SimpleNamespace(**{name: getattr(module, name) for name in names.split() or vars(module) if name[0] != "_"})


_MODULES: Mapping[str, SimpleNamespace] = {
    "collections": _part(collections, "Counter OrderedDict defaultdict deque"),
    "functools": _part(functools, "cache cmp_to_key lru_cache reduce"),
    "heapq": _part(heapq, "heapify heappop heappush nlargest nsmallest"),
    "itertools": _part(itertools),
    "math": _part(math),
    "re": _part(re, "I IGNORECASE compile escape findall finditer fullmatch match search split sub"),
    "string": _part(string, "ascii_letters ascii_lowercase ascii_uppercase digits punctuation whitespace"),
}
_CHANGEABLE = (list, dict, collections.Counter, collections.OrderedDict, collections.defaultdict, collections.deque)
_IN_PLACE: Mapping[str, Callable[[Any, Any], Any]] = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "//=": operator.ifloordiv,
    "%=": operator.imod,
    "**=": operator.ipow,
    "@=": operator.imatmul,
    "<<=": operator.ilshift,
    ">>=": operator.irshift,
    "&=": operator.iand,
    "|=": operator.ior,
    "^=": operator.ixor,
}
_LEFT_OUT = {"__build_class__", "_getattr_", "delattr", "setattr"}
_ADDED = (
    *(all, any, bin, dict, enumerate, filter, format, frozenset, iter, list, map, max, min, next, reversed, set),
    *(sorted, sum, tuple, zip),
)
_KEPT = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),  # the last two to be refused
    *(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign),
)


class _Policy(RestrictingNodeTransformer):
    """As RestrictedPython has it, with ``nonlocal`` and without classes."""

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.Nonlocal:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.not_allowed(node)


class _Plain(ast.NodeTransformer):
    """Writes ordinary Python in the part of it that RestrictedPython takes: no annotations, and ``x[k] += 1`` in full.

    In full, ``k`` is worked out twice, and a list in ``x[k]`` is replaced and not extended.
    """

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = [statement for statement in node.body if isinstance(statement, _KEPT)]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module in ("typing", "__future__") else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if isinstance(node.target, ast.Subscript):
            before = ast.Subscript(node.target.value, node.target.slice, ast.Load())
            return self.generic_visit(
                ast.copy_location(ast.Assign([node.target], ast.BinOp(before, node.op, node.value)), node)
            )
        return self.generic_visit(node)


class _NoPrint:
    """What ``print`` is replaced by."""

    def __init__(self, _getattr_: object) -> None: ...

    def _call_print(self, *_: object, **__: object) -> None: ...


def _import(name: str, *_: object) -> SimpleNamespace:
    if name not in _MODULES:
        raise ImportError(f"{name} cannot be imported, only {', '.join(_MODULES)}")
    return _MODULES[name]


def _changeable(target: object) -> object:
    if type(target) not in _CHANGEABLE:
        raise TypeError(f"a {type(target).__name__} cannot be changed")
    return target


def _define(code: str) -> dict[str, Any]:
    """The names that ``code`` defines. Raises whatever is wrong with it."""
    tree = ast.fix_missing_locations(_Plain().visit(ast.parse(code)))
    compiled = compile_restricted_exec(tree, policy=_Policy)
    if compiled.code is None:
        raise SyntaxError("; ".join(compiled.errors))
    safe = {name: value for name, value in Guards.safe_builtins.items() if name not in _LEFT_OUT}
    names: dict[str, Any] = {
        "__builtins__": {**safe, **{kind.__name__: kind for kind in _ADDED}, "__import__": _import},
        "_apply_": lambda function, *arguments, **named: function(*arguments, **named),
        "_getattr_": Guards.safer_getattr_raise,
        "_getitem_": Eval.default_guarded_getitem,
        "_getiter_": Eval.default_guarded_getiter,
        "_inplacevar_": lambda symbol, left, right: _IN_PLACE[symbol](left, right),
        "_iter_unpack_sequence_": Guards.guarded_iter_unpack_sequence,
        "_print_": _NoPrint,
        "_unpack_sequence_": Guards.guarded_unpack_sequence,
        "_write_": _changeable,
    }
    exec(compiled.code, names)
    return names


def _answers(code: str, function: str, calls: Sequence[Sequence[Any]]) -> Iterator[str]:
    """One line of JSON per call, up to the first failure."""
    try:
        called = _define(code).get(function)
    except BaseException as error:
        yield json.dumps({"failure": f"The code cannot be run: {_said(error)}."})
        return
    if called is None:
        yield json.dumps({"failure": f"The code defines no function {function}."})
        return
    for arguments in calls:
        shown = _shown(function, arguments)
        try:
            value = called(*arguments)
        except BaseException as error:
            yield json.dumps({"failure": f"{shown} raised {_said(error)}."})
            return
        try:
            line = json.dumps({"returned": value})
        except (TypeError, ValueError, RecursionError):
            yield json.dumps(
                {"failure": f"{shown} returned a value of type {type(value).__name__}, which JSON cannot hold."}
            )
            return
        yield line


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:_SAID_CHARACTERS]}".rstrip(" :.\n")


def _serve() -> None:
    request = json.load(sys.stdin.buffer)
    sys.stdin.close()
    _confine()
    for line in _answers(request["code"], request["function"], request["calls"]):
        sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    _serve()
