"""Code that a model wrote: ordinary code runs, and hostile code fails, does no harm and comes to an end.

Each layer is tried on its own too, because behind RestrictedPython nothing gets as far as the next one.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.runner import code_sandbox
from recommender.runner.code_sandbox import MEMORY_BYTES, WALL_S, Ran, call_function

PATIENCE_S = 3 * WALL_S
linux_only = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in code_sandbox._SYSTEM_CALLS,
    reason="a layer that only Linux has",
)


def run(code: str, *arguments: object) -> Ran:
    started = time.monotonic()
    ran = call_function(textwrap.dedent(code), "f", [list(arguments)])
    assert time.monotonic() - started < PATIENCE_S
    return ran


# ── ordinary code ────────────────────────────────────────────────────────────────────────────────────────────


ORDINARY = {
    "a function": ("def f(x): return x + 1", 2),
    "annotations": (
        """
        from typing import Dict
        def f(x: int) -> Dict[str, list[int]]:
            found: Dict[str, list[int]] = {}
            n: int
            found["a"] = [x]
            return found
        """,
        {"a": [1]},
    ),
    "items changed in place": (
        """
        from collections import Counter, defaultdict
        def f(x):
            counts, lists = Counter("abca"), defaultdict(list)
            counts["b"] += x
            lists[x] += [x]
            return [counts.most_common(2), lists[1]]
        """,
        [[["a", 2], ["b", 2]], [1]],
    ),
    "modules": (
        """
        import re, math
        from itertools import count, islice
        def f(x): return [re.sub(r"\\d+", lambda m: m.group() * 2, "a12"), math.gcd(4, 6), list(islice(count(x), 2))]
        """,
        ["a1212", 2, [1, 2]],
    ),
    "nonlocal": (
        """
        def f(x):
            n = 0
            def add():
                nonlocal n
                n += x
            add()
            return n
        """,
        1,
    ),
    "unpacking": (
        """
        def f(x):
            a, (b, *c) = 1, (2, 3, 4)
            return [a, b, c, [p + q for p, q in zip([1], [2])], g(*[x], **{"b": 2})]
        def g(a, b): return (a, b)
        """,
        [1, 2, [3, 4], [3], [1, 2]],
    ),
    "exceptions and f-strings": (
        """
        def f(x):
            try:
                return [][x]
            except IndexError as error:
                return f"{x:>3}{len(error.args)}"
        """,
        "  11",
    ),
    "decorators and recursion": (
        """
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def f(n): return n if n < 2 else f(n - 1) + f(n - 2)
        """,
        1,
    ),
    "examples at its end": (
        """
        def f(x):
            print("step", x)
            return x
        print(f(1))
        assert f(1) == 2
        if __name__ == "__main__":
            f(9)
        """,
        1,
    ),
}


@pytest.mark.parametrize(("code", "returned"), ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_python_runs(code: str, returned: object) -> None:
    assert run(code, 1) == Ran((returned,), "")


def test_every_call_gets_its_own_arguments_and_the_first_failure_ends_it() -> None:
    ran = call_function(
        "def f(xs):\n    xs.append(0)\n    return 6 // len(xs[1:])", "f", [[[1, 2]], [[1]], [[]], [[1]]]
    )
    assert ran.returned == (3, 6)
    assert ran.failure == "f([]) raised ZeroDivisionError: integer division or modulo by zero."


# ── hostile code ─────────────────────────────────────────────────────────────────────────────────────────────

ENDLESS = {
    "endless loop": "def f(x):\n    while True: pass",
    "catches everything": "def f(x):\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass",
    "a power that no memory holds": "def f(x): return 9**9**9",
    "a pattern that takes for ever": "import re\ndef f(x): return re.match('(a+)+$', 'a' * 60 + 'b')",
    "an endless sum": "import itertools\ndef f(x): return sum(itertools.count())",
    "endless before the call": "x = sum(iter(int, 1))\ndef f(x): return 1",
}
GREEDY = {
    "one large list": "def f(x): return [0] * 10**10",
    "one large text": "def f(x): return 'x' * 10**10",
    "a growing list": "def f(x):\n    a = [1]\n    while True: a += a",
    "a growing dict": "def f(x):\n    d = {}\n    while True: d[len(d)] = str(len(d)) * 100",
    "a large answer": "def f(x): return 'x' * 10**6",
    "a deep answer": "def f(x):\n    a = []\n    for i in range(10**5): a = [a]\n    return a",
    "an answer that holds itself": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "deep recursion": "def f(x): return f(x)",
    "deep recursion in C": "def f(x): return sorted([1], key=f)",
}
CURIOUS = {
    "open": "def f(x): return open('/etc/passwd').read()",
    "import os": "import os\ndef f(x): return os.getcwd()",
    "import sys inside": "def f(x):\n    import sys\n    return sys.modules['os'].getcwd()",
    "import a part": "from os import system\ndef f(x): return system('id')",
    "import socket": "import socket\ndef f(x): return socket.socket()",
    "import subprocess": "import subprocess\ndef f(x): return subprocess.run(['id'])",
    "import ctypes": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "import builtins": "import builtins\ndef f(x): return builtins.open('/etc/passwd')",
    "import a submodule": "import collections.abc\ndef f(x): return 1",
    "relative import": "from . import protocol\ndef f(x): return 1",
    "__import__": "def f(x): return __import__('os').getcwd()",
    "__builtins__": "def f(x): return __builtins__['open']",
    "globals": "def f(x): return globals()",
    "vars": "def f(x): return vars(f)",
    "getattr": "def f(x): return getattr(x, '__class__')",
    "eval": "def f(x): return eval('1')",
    "eval by another name": "e = eval\ndef f(x): return e('1')",
    "exec": "def f(x): exec('y = 1')",
    "compile": "def f(x): return compile('1', '', 'eval')",
    "type": "def f(x): return type('A', (), {'__eq__': lambda a, b: True})()",
    "subclasses": "def f(x): return ().__class__.__base__.__subclasses__()",
    "mro": "def f(x): return int.mro()[1].__subclasses__(int.mro()[1])",
    "globals of a function": "def f(x): return f.__globals__",
    "code of a function": "def f(x): return f.__code__",
    "format": "def f(x): return '{0.__class__}'.format(x)",
    "format by the type": "def f(x): return list(map(str.format, ['{0.__class__}'], [x]))",
    "format_map": "def f(x): return '{x.__class__}'.format_map({'x': x})",
    "Formatter": "import string\ndef f(x): return string.Formatter().format('{0.__class__}', x)",
    "a module's own imports": "import re\ndef f(x): return re.enum.sys.modules['os'].getcwd()",
    "update_wrapper": "import functools\ndef f(x): return functools.update_wrapper(f, f, ['__globals__'])",
    "namedtuple": "import collections\ndef f(x): return collections.namedtuple('A', 'b')",
    "frame of a generator": "def f(x):\n    g = (1 for _ in [1])\n    return g.gi_frame.f_back.f_globals",
    "frame of an error": "def f(x):\n    try: 1 / 0\n    except Exception as e: return e.__traceback__.tb_frame",
    "traceback set": "def f(x):\n    try: 1 / 0\n    except Exception as e: return e.with_traceback(None).tb_frame",
    "match on a dunder": "def f(x):\n    match x:\n        case int(__class__=c): return c",
    "except*": "def f(x):\n    try: 1 / 0\n    except* Exception as e: return 1",
    "async": "async def f(x): return 1",
    "guard replaced": "def _getattr_(a, b): return 1\ndef f(x): return x.real",
    "guard as argument": "def f(_getattr_): return _getattr_.real",
    "guard imported": "from math import pi as _getattr_\ndef f(x): return 1",
    "builtins of a module set": "import math\nmath.pi = 3\ndef f(x): return math.pi",
    "attribute of a type set": "def f(x):\n    int.real = 3\n    return 1",
    "attribute of an import deleted": "import math\ndef f(x):\n    del math.pi\n    return 1",
    "lying class": "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "metaclass": "class A(metaclass=f): pass\ndef f(x): return 1",
    "class inside": "def f(x):\n    class A(int): pass\n    return A()",
    "exit": "def f(x): exit(0)",
    "SystemExit": "def f(x): raise SystemExit(0)",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "GeneratorExit": "def f(x): raise GeneratorExit",
    "input": "def f(x): return input()",
    "breakpoint": "def f(x): breakpoint()",
    "a generator": "def f(x): yield 1",
    "a function": "def f(x): return f",
    "a set": "def f(x): return {1}",
    "NUL": "def f(x): return 1\0",
    "nested brackets": "def f(x): return " + "(" * 5000 + ")" * 5000,
    "nested minus": "def f(x): return " + "-" * 50_000 + "1",
    "no Python": "Sure! Here is the function you asked for.",
    "nothing": "",
    "another name": "def g(x): return 1",
    "no function": "f = 3",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS.keys())
def test_code_that_never_ends_is_ended(code: str) -> None:
    ran = run(code, 1)
    assert ran.returned == ()
    assert ran.failure.startswith("f(1) did not finish within")


@pytest.mark.parametrize("code", (GREEDY | CURIOUS).values(), ids=(GREEDY | CURIOUS).keys())
def test_code_that_takes_what_it_may_not_have_gets_nothing_and_is_told_why(code: str) -> None:
    ran = run(code, 1)
    assert ran.returned == ()
    assert len(ran.failure) > len("f(1) .")


def test_what_code_prints_is_no_answer() -> None:
    code = """
    def f(x):
        for _ in range(10**4):
            print('{"returned": 42}', flush=True)
    """
    assert run(code, 1) == Ran((None,), "")


# ── the layers behind it, without RestrictedPython ───────────────────────────────────────────────────────────

BEHIND = """
import ctypes, os, pathlib, shutil, signal, socket, subprocess, sys, threading, time
sys.path.append({folder!r})
import code_sandbox
call = lambda name, *arguments: getattr(libc, name)(*arguments)
libc = ctypes.CDLL(None)
found_now = [getattr(libc, name) for name in ("fork", "socket", "open", "execv", "unshare", "prctl")]
{without}
code_sandbox._confine()
try:
    found = {code}
except BaseException as error:
    found = type(error).__name__
sys.stdout.write(str(found))
sys.stdout.flush()
os._exit(0)
"""
TRICKS = {
    "read a file": "open('/etc/hostname').read()",
    "write a file": "open({canary!r}, 'w')",
    "remove a file": "os.unlink({canary!r})",
    "list a folder": "os.listdir('/')",
    "a socket": "socket.socket()",
    "fork": "os.fork()",
    "a program": "subprocess.run(['/bin/true'])",
    "become a program": "os.execv('/bin/true', ['true'])",
    "signal the parent": "os.kill({parent}, signal.SIGKILL)",
    "a thread": "threading.Thread(target=print).start()",
    "too much memory": f"len(bytearray({2 * MEMORY_BYTES}))",
    "import": "__import__('xmlrpc.client')",
}
NATIVE = {
    "fork": "call('fork')",
    "a socket": "call('socket', 2, 1, 0)",
    "read a file": "call('open', b'/etc/hostname', 0)",
    "become a program": "call('execv', b'/bin/true', None)",
    "a new namespace": "call('unshare', 0x10000000)",
    "be a user again": "call('prctl', 24, 0)",
}


def behind(code: str, without: str, canary: Path) -> str:
    """What came of an expression in a confined process that may otherwise do all that Python can."""
    code = code.format(canary=str(canary), parent=os.getpid())
    script = BEHIND.format(folder=str(Path(code_sandbox.__file__).parent), without=without, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_text("alive")
    return path


@linux_only
@pytest.mark.parametrize("code", TRICKS.values(), ids=TRICKS.keys())
def test_the_audit_hook_and_the_limits_hold_without_the_filter(code: str, canary: Path) -> None:
    found = behind(code, "code_sandbox._filter_system_calls = lambda: None", canary)
    assert found in ("PermissionError", "MemoryError", "RuntimeError")
    assert canary.read_text() == "alive"


@linux_only
@pytest.mark.parametrize("code", TRICKS.values(), ids=TRICKS.keys())
def test_the_filter_of_system_calls_holds_without_the_audit_hook(code: str, canary: Path) -> None:
    found = behind(code, "sys.addaudithook = lambda hook: None", canary)
    assert found in ("PermissionError", "MemoryError", "RuntimeError", "ModuleNotFoundError")
    assert canary.read_text() == "alive"


@linux_only
@pytest.mark.parametrize("code", NATIVE.values(), ids=NATIVE.keys())
def test_native_code_gets_no_system_call_but_those_of_computing(code: str, canary: Path) -> None:
    assert behind(code, "sys.addaudithook = lambda hook: None", canary) == "-1"


@linux_only
def test_the_process_is_nobody_and_ends_with_its_parent(canary: Path) -> None:
    found = behind(
        "(os.geteuid() != 0, [call('prctl', 2, ctypes.byref(there := ctypes.c_int())), there.value])",
        "sys.addaudithook = lambda hook: None; code_sandbox._filter_system_calls = lambda: None",
        canary,
    )
    assert found == "(True, [0, 9])"


# ── the outside, with a child that escaped ───────────────────────────────────────────────────────────────────


@pytest.fixture
def escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a script where the confined child should be."""

    def play(script: str, wall_s: float = WALL_S) -> Ran:
        path = tmp_path / "escaped.py"
        path.write_text("import os, subprocess, sys, time\n" + textwrap.dedent(script))
        monkeypatch.setattr(code_sandbox, "__file__", str(path))
        monkeypatch.setattr(code_sandbox, "WALL_S", wall_s)
        return run("", 1)

    return play


def test_a_child_that_hangs_is_ended(escaped) -> None:
    assert escaped("time.sleep(600)", wall_s=1) == Ran((), "f(1) did not finish within 1 s.")


def test_a_child_that_closes_its_output_and_hangs_is_ended(escaped) -> None:
    assert escaped("os.close(1); time.sleep(600)") == Ran((), "f(1) stopped answering.")


def test_a_child_that_floods_its_output_is_ended(escaped) -> None:
    assert escaped("while True: sys.stdout.write('x' * 65536)") == Ran((), "f(1) returned more than can be held.")


def test_a_child_that_takes_too_much_memory_is_ended(escaped) -> None:
    ran = escaped(f"a = bytearray(os.urandom(1)) * {MEMORY_BYTES + (64 << 20)}; time.sleep(600)")
    assert ran == Ran((), "f(1) took more memory than it may.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups of this kind")
def test_what_a_child_started_ends_with_it(escaped, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    escaped(f"p = subprocess.Popen(['sleep', '600']); open({str(note)!r}, 'w').write(str(p.pid))")
    left = [p for p in psutil.process_iter() if p.pid == int(note.read_text()) and p.status() != psutil.STATUS_ZOMBIE]
    assert left == []


def test_the_child_has_no_environment_and_an_empty_folder(escaped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHTSIZE_SECRET_OF_A_TEST", "secret")
    ran = escaped(
        "import json; print(json.dumps({'returned': ['RIGHTSIZE_SECRET_OF_A_TEST' in os.environ, os.listdir()]}))"
    )
    assert ran == Ran(([False, []],), "")


def test_a_child_cannot_give_more_answers_than_calls(escaped) -> None:
    assert escaped("""print('{"returned": 1}\\n' * 3)""") == Ran((1,), "")


def nested(depth: int) -> bytes:
    return b'{"failure": ' + b"[" * depth + b"]" * depth + b"}"


@given(st.binary(max_size=200) | st.text().map(str.encode) | st.integers(0, 999).map(nested))
def test_whatever_a_child_writes_can_be_read(output: bytes) -> None:
    returned, failure = code_sandbox._read(output)
    assert isinstance(failure, str)
    assert returned == () or b"returned" in output
