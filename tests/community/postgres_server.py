"""A real PostgreSQL of one's own: a cluster in a temporary folder that listens on a socket there and nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER, PASSWORD = "rightsize", "a:s3cret/w@rd"
_QUOTED = "a%3As3cret%2Fw%40rd"


def programs() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl``; Debian keeps them off the path."""
    on_path = shutil.which("pg_ctl")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(found) if (folder / "initdb").exists()), None)


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A server, as the address of its database. It refuses to run as root, so that it then runs as another account."""
    import pwd

    names = {one.pw_name for one in pwd.getpwall()}
    account = next((name for name in ("postgres", "nobody") if name in names), None) if os.geteuid() == 0 else None
    rights: dict[str, object] = {}
    if account:
        entry = pwd.getpwnam(account)
        rights = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    # Not in pytest's own folders: another account may not enter them, and a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="rightsize-pg-", dir="/tmp") as place:
        if account:
            os.chown(place, entry.pw_uid, entry.pw_gid)
        secret = Path(place) / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)

        def call(program: str, *arguments: str) -> None:
            subprocess.run(
                [folder / program, *arguments],
                check=True,
                cwd=place,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                stdout=subprocess.DEVNULL,
                **rights,  # type: ignore[call-overload]
            )

        data = f"{place}/data"
        call("initdb", "-D", data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={place} -c fsync=off -c shared_buffers=16MB"
        call("pg_ctl", "-D", data, "-w", "-l", f"{place}/log", "-o", options, "start")
        try:
            yield f"postgresql://{USER}:{_QUOTED}@/postgres?host={place}"
        finally:
            call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
