"""Machines played from files, for the device tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from recommender.device.host import Host


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """Lay out ``files`` (path below the root → content)."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
    return root


def linux(
    root: Path, files: dict[str, str | bytes], commands: dict[str, str] | None = None, machine: str = "x86_64"
) -> Host:
    """A Linux machine with these files; ``commands`` are answered by the last part of the program's path."""
    return Host(system="Linux", machine=machine, root=write(root, files), run=answers(commands or {}), real=False)


def mac(root: Path, commands: dict[str, str]) -> Host:
    return Host(system="Darwin", machine="arm64", root=root, run=answers(commands), real=False)


def answers(commands: dict[str, str]) -> Callable[[Sequence[str]], str]:
    return lambda command: commands.get(command[0].replace("\\", "/").rsplit("/", 1)[-1], "")


def cpuinfo(
    model: str, cores: int, threads_per_core: int = 2, flags: str = "avx avx2 fma f16c", sockets: int = 1
) -> str:
    """An x86 /proc/cpuinfo."""
    blocks = []
    for socket in range(sockets):
        for thread in range(cores * threads_per_core):
            blocks.append(
                f"processor\t: {len(blocks)}\nmodel name\t: {model}\nphysical id\t: {socket}\n"
                f"core id\t\t: {thread % cores}\nflags\t\t: {flags}"
            )
    return "\n\n".join(blocks) + "\n"


def meminfo(total_gib: float, available_gib: float) -> str:
    return (
        f"MemTotal: {int(total_gib * 1024**2)} kB\nMemFree: 1000 kB\nMemAvailable: {int(available_gib * 1024**2)} kB\n"
    )


def drm_card(index: int, vendor: str, device: str, **files: str) -> dict[str, str | bytes]:
    """A graphics card in /sys/class/drm."""
    folder = f"sys/class/drm/card{index}/device"
    named = {f"{folder}/{name.replace('__', '/')}": content for name, content in files.items()}
    return {f"{folder}/vendor": vendor, f"{folder}/device": device, **named}
