"""How an instance of the app is run: command line, then environment, then a file, then the default.

Every setting is a field here and nowhere else: ``recommender serve --help`` and README list them from it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from recommender import paths
from recommender.errors import BadInputError, nearest

PREFIX = "RIGHTSIZE_"
FILE_VARIABLE = f"{PREFIX}SETTINGS"  # another place for the file
_PASSWORD = re.compile(r"://[^/?]*:[^@]+@|[?&]password=", re.IGNORECASE)  # of a connection string


def _setting(default: Any, about: str, secret: bool = False) -> Any:
    """A field; what a secret one holds is never printed."""
    return field(default=default, repr=not secret, metadata={"about": about, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """One instance's settings."""

    host: str = _setting("127.0.0.1", "the address to listen on")
    port: Annotated[int, Interval(ge=1, le=65535)] = _setting(8501, "the TCP port")
    browser: bool = _setting(True, "open the page in a browser, where there is a screen")
    door: Literal["auto", "local", "hosted"] = _setting(
        "auto", "whose computer this is: the visitor's (local), not theirs (hosted), or as the request comes (auto)"
    )
    admins: str = _setting(
        "",
        "who may administer a hosted instance: verified e-mail addresses or subject ids of the sign-in, by commas",
    )
    max_file_gib: Annotated[float, Ge(0)] = _setting(
        4.0, "hosted: the largest model file that a visitor may run on the server, in GiB; 0 for no runs there"
    )
    max_context: Annotated[int, Ge(256)] = _setting(8192, "hosted: the longest context of a visitor's run, in tokens")
    run_seconds: Annotated[int, Ge(1)] = _setting(
        600, "hosted: the longest a visitor's run may take, its download and chat included"
    )
    run_tokens: Annotated[int, Ge(1)] = _setting(512, "hosted: the longest answer in a visitor's run, in tokens")
    visitor_runs: Annotated[int, Ge(1)] = _setting(2, "hosted: runs of one address that may wait or go on at once")
    visitor_runs_per_hour: Annotated[int, Ge(1)] = _setting(20, "hosted: runs that one address may start an hour")
    disk_quota_gib: Annotated[float, Ge(0)] = _setting(
        20.0, "hosted: what model files may take on disk, in GiB; what was not used for longest goes first"
    )
    try_server: str = _setting(
        "", "hosted: a server that speaks OpenAI's protocol, such as llama-server or vLLM, for visitors' runs"
    )
    community: str = _setting(
        "", "where measurements are shared: local, folder:PATH or postgresql://…; empty: nowhere", secret=True
    )
    isolate: bool = _setting(
        True, "isolate the page from others (COOP and COEP), so that a model in the browser may use threads"
    )
    browser_models: str = _setting("", "a folder whose GGUF files visitors may run in their browsers")
    api_per_minute: Annotated[int, Ge(1)] = _setting(600, "questions to /api that one address may ask a minute")


def load(given: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force.

    Args:
        given: what the command line says; ``None`` where it says nothing.

    Raises:
        BadInputError: a value makes no sense, the file cannot be read or has a name that is no setting, or a password
            is on the command line, which every user of the computer can read.
    """
    from pydantic import TypeAdapter, ValidationError  # no other command needs it

    names = [one.name for one in fields(Settings)]
    secret = {one.name for one in fields(Settings) if one.metadata["secret"]}
    for name in secret:
        if _PASSWORD.search(str((given or {}).get(name) or "")):
            raise BadInputError(
                f"A password on the command line can be read by everyone on this computer. Set {PREFIX}{name.upper()}, "
                "or write it into the settings file."
            )
    merged: dict[str, Any] = _file(names)
    merged |= {name: os.environ[variable] for name in names if (variable := PREFIX + name.upper()) in os.environ}
    merged |= {name: value for name, value in (given or {}).items() if value is not None}
    try:
        return TypeAdapter(Settings).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        value = "what it is set to" if name in secret else repr(first["input"])
        raise BadInputError(
            f"{name} cannot be {value}: {first['msg']}. It comes from the command line (--{option(name)}), "
            f"from {PREFIX}{name.upper()} or from the settings file."
        ) from None


def _file(names: list[str]) -> dict[str, Any]:
    told = os.environ.get(FILE_VARIABLE, "")
    path = Path(told).expanduser() if told else paths.data_dir() / "settings.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if told:
            raise BadInputError(f"There is no settings file at {path}, which {FILE_VARIABLE} names.") from None
        return {}
    except (OSError, ValueError) as error:
        raise BadInputError(f"The settings file {path} cannot be read: {error}.") from error
    for name in values:
        if name not in names:
            close = ", ".join(nearest(name, names)) or ", ".join(names)
            raise BadInputError(f"The settings file {path} has no setting called {name!r}. Did you mean {close}?")
    return values


def option(name: str) -> str:
    """The setting's name on the command line, without its dashes."""
    return name.replace("_", "-")


def community() -> str:
    """Where measurements are shared, without looking at any other setting: every estimate asks for it."""
    if _IN_FORCE:
        return _IN_FORCE[0].community
    variable = PREFIX + "COMMUNITY"
    told = os.environ[variable] if variable in os.environ else _file([one.name for one in fields(Settings)])
    return told if isinstance(told, str) else str(told.get("community", ""))


_IN_FORCE: list[Settings] = []


def use(settings: Settings) -> None:
    """Make these the settings of this process: what ``recommender serve`` was told."""
    _IN_FORCE[:] = [settings]


def forget() -> None:
    """Take back :func:`use`."""
    _IN_FORCE.clear()


def current() -> Settings:
    """The settings of this process; without :func:`use`, what environment and file say."""
    if not _IN_FORCE:
        use(load())
    return _IN_FORCE[0]
