"""Install the real tools that recipes are checked against, each in an environment of its own.

    python scripts/install_tools.py              # all of tests/tools/tools.csv
    python scripts/install_tools.py mlx-lm azure

They go to `.tools`, or to where RIGHTSIZE_TOOLS says. `pytest tests/tools` then runs what is there and says what it
skipped.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "tools" / "tools.csv"
LLAMA_CPP_PROGRAMS = (
    "llama-server",
    "llama-cli",
    "llama-bench",
    "llama-quantize",
    "llama-imatrix",
    "llama-gguf-split",
)


def main() -> int:
    with LIST.open(newline="", encoding="utf-8") as file:
        rows = {row["tool"]: row for row in csv.DictReader(file)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(rows)}")
    wanted = parser.parse_args().tools or list(rows)
    if unknown := [name for name in wanted if name not in rows]:
        parser.error(f"no tool is called {unknown[0]!r}; there are {', '.join(rows)}")
    home = Path(os.environ.get("RIGHTSIZE_TOOLS", ROOT / ".tools"))
    home.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in wanted:
        with (home / f"{name}.lock").open("w") as lock:  # whoever installs the same tool at the same time waits
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _install(home / name, rows[name]):
                failed.append(name)
    if failed:
        print(f"Not installed: {', '.join(failed)}. Their tests are skipped.", file=sys.stderr)
    return bool(failed)


def _install(folder: Path, row: dict[str, str]) -> bool:
    """``.installed`` is written last: a folder without it is incomplete and counts as not there."""
    done = folder / ".installed"
    # "." is this product itself, for what it runs inside the tool's own environment.
    packages = [
        f"--editable={ROOT}" if part == "." else part.replace("<", ",<") for part in row["packages"].split("|") if part
    ]
    said = "\n".join([*packages, row["build"]])
    if done.exists() and done.read_text(encoding="utf-8") == said:
        print(f"{row['tool']}: already there")
        return True
    print(f"{row['tool']}: installing …", flush=True)
    try:
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        # Of some packages only a file is wanted, and what else they ask for cannot be had any more.
        alone = ["--no-deps"] if row["build"] == "no_deps" else []
        if packages:
            subprocess.run([*pip, *alone, *packages], check=True)
        if row["build"] == "llama_cpp":
            _build_llama_cpp(folder, pip)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{row['tool']}: {error}", file=sys.stderr)
        return False
    done.write_text(said, encoding="utf-8")
    return True


def _build_llama_cpp(folder: Path, pip: list[str]) -> None:
    """Build the programs from the source in llama-cpp-python's source package; needs a C++ compiler."""
    source = folder / "source"
    source.mkdir()
    package = "llama-cpp-python"
    download = [*(part if part != "install" else "download" for part in pip), "--no-deps", "--no-binary", package]
    subprocess.run([*download, "--dest", str(source), f"{package}>=0.3.36,<0.4"], check=True)
    (archive,) = source.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(source, filter="data")
    (tree,) = source.glob("*/vendor/llama.cpp")
    subprocess.run([*pip, "cmake", "ninja"], check=True)
    cmake = str(folder / "bin" / "cmake")
    # GCC before 14 miscompiles the AMX kernels; see README.
    plain = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" if os.uname().machine == "x86_64" else ""
    options = ["-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF"]
    options += [f"-DCMAKE_C_FLAGS={plain}", f"-DCMAKE_CXX_FLAGS={plain}", "-G", "Ninja"]
    options += [f"-DCMAKE_MAKE_PROGRAM={folder / 'bin' / 'ninja'}"]
    build = folder / "build"
    subprocess.run([cmake, "-S", str(tree), "-B", str(build), *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([cmake, "--build", str(build), "--target", *LLAMA_CPP_PROGRAMS], check=True)
    for name in LLAMA_CPP_PROGRAMS:
        target = folder / "bin" / name
        target.unlink(missing_ok=True)
        target.symlink_to(build / "bin" / name)


if __name__ == "__main__":
    sys.exit(main())
