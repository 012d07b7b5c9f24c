"""Any GGUF that a person names: a file on this disk, an https address, or a repository on the Hub.

Only its header is read. The entry then becomes a model like any other: estimated exactly, rehearsed and run.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recommender.catalog.clean_entries import line
from recommender.catalog.sources.base import Entry, EntryFile, now
from recommender.catalog.sources.hub_client import HubClient
from recommender.catalog.sources.remote_header import read_remote_header, template_abilities
from recommender.catalog.sources.safe_urls import HUB_HOSTS, RangeReader, check_url
from recommender.errors import BadInputError
from recommender.estimate.gguf_architecture import architecture_row
from recommender.runner.gguf_header import read_header
from recommender.runner.hub import (
    FileChoice,
    NoGgufError,
    endpoint,
    is_repository,
    quantization_in,
    resolve_file,
    resolve_first,
)
from recommender.types import OWN_FILE

_BUDGET_BYTES = 1_000_000
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96})(?::([\w-]{1,40}))?", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_FIRST_LOOKED_FOR = ("Q4_K_M", "Q8_0", "Q4_0", "Q5_K_M", "Q6_K", "F16", "BF16")
_LONGEST = 200
_QUANTIZED_ROWS = 5


def entry_of(what: str) -> Entry:
    """The entry for a path, an address, "owner/name" or "owner/name:Q4_K_M".

    Raises:
        BadInputError: it is none of these, or an address that may not be read.
        RunError: the file is no usable GGUF file.
        DownloadError: the Hub cannot be asked, or has no such file.
    """
    what = what.strip()
    if what.startswith(("http://", "https://")):
        return _from_url(what)
    if (path := Path(what).expanduser()).is_file():
        return _from_disk(path)
    if (match := _REPOSITORY.fullmatch(what.removeprefix("hf.co/"))) and not what.endswith(".gguf"):
        return _from_repository(match[1], match[2] or "")
    raise BadInputError(
        f"{what[:_LONGEST]!r} is no file on this disk, no https address and no owner/name on the Hub. Check it."
    )


def _from_disk(path: Path) -> Entry:
    if not str(path.resolve()).isprintable():  # nor is what is no UTF-8
        raise BadInputError("The path of this file has characters that cannot be shown. Rename the file.")
    header = read_header(path)
    metadata = header.metadata
    template = metadata.get("tokenizer.chat_template")
    thinking, tools = template_abilities(template if isinstance(template, str) else None)
    try:
        architecture = architecture_row(metadata, [(one.name, one.shape) for one in header.tensors])
    except BadInputError:
        architecture = {}  # a rough estimate from its size is all there is then
    name = header.name or path.stem
    file = EntryFile(path.name, header.file_bytes, "", header.quantization or quantization_in(path.name))
    return Entry(
        source="gguf",
        entry_id=f"{OWN_FILE}{_safe(path.stem)}",
        read_at=now(),
        version=str(path.stat().st_mtime_ns),
        url="",
        name=line(name) or path.stem,
        publisher="",
        format="gguf",
        relation="quantized",
        license_id=_text(metadata.get("general.license")),
        params_total=header.params,
        context_tokens=header.context_tokens,
        thinking=thinking,
        tool_calling=tools,
        architecture=architecture,
        architecture_source=f"GGUF header of {path.name}",
        files=(file,),
        details={"path": str(path.resolve())},
    )


def _from_url(url: str) -> Entry:
    parts = urlsplit(url)
    if parts.hostname in HUB_HOSTS or url.startswith(f"{endpoint()}/"):
        words = [unquote(part) for part in parts.path.split("/") if part]
        if len(words) == 2:
            return _from_repository("/".join(words), "")
        if len(words) > 4 and words[2] in ("resolve", "blob"):
            return _from_repository("/".join(words[:2]), "", "/".join(words[4:]))
    check_url(url)
    name = unquote(parts.path.rsplit("/", 1)[-1])
    if not name.lower().endswith(".gguf"):
        raise BadInputError(f"{name[:_LONGEST]!r} is not a .gguf file. Give the address of one.")
    return _read(url, name, f"{OWN_FILE}{_safe(name.removesuffix('.gguf'))}", "")


def _from_repository(repo: str, quantization: str, file: str = "") -> Entry:
    """One file of a repository; of one with a model's own weights, a file of who quantized it."""
    if repo.startswith(OWN_FILE):
        raise BadInputError(f"{repo} is no repository: ids that begin with {OWN_FILE} are those of files of your own.")
    wanted = (quantization,) if quantization else _FIRST_LOOKED_FOR
    try:
        return _from_files(repo, resolve_file(repo, "", file) if file else resolve_first(repo, wanted))
    except NoGgufError:
        for made in _quantized_from(repo):
            with suppress(NoGgufError):
                return replace(_from_files(made, resolve_first(made, wanted)), bases=(repo,))
        raise


def _quantized_from(repo: str) -> list[str]:
    """Repositories of GGUF files that say they were made from this one, the most fetched first."""
    client = HubClient(lambda _: None)
    filters = ["gguf", f"base_model:quantized:{repo}"]
    found = client.get("/api/models", {"filter": filters, "sort": "downloads", "limit": str(_QUANTIZED_ROWS)}).body
    names = [row.get("id") for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and is_repository(name)][:_QUANTIZED_ROWS]


def _from_files(repo: str, choice: FileChoice) -> Entry:
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo, choice.file, revision=choice.revision, endpoint=endpoint())
    entry = _read(url, choice.file, repo, choice.license, choice.size_bytes if len(choice.files) == 1 else None)
    return replace(
        entry,
        files=tuple(EntryFile(one.path, one.size_bytes, one.sha256, choice.quantization) for one in choice.files),
        version=choice.revision,
        gated=choice.gated,
        bases=(choice.base,) if choice.base else (),
        publisher=repo.split("/")[0],
        url=f"https://{HUB_HOSTS[0]}/{repo}",
    )


def _read(url: str, name: str, entry_id: str, license_id: str, file_bytes: int | None = None) -> Entry:
    from huggingface_hub import get_session

    reader = RangeReader(url, get_session(), _BUDGET_BYTES)
    if file_bytes is None:
        reader.read(0, 24)
        file_bytes = reader.file_bytes
    if not file_bytes:
        raise BadInputError(f"The server does not say how large {name[:_LONGEST]} is, so it cannot be read in parts.")
    header = read_remote_header(reader.read, file_bytes, name, _BUDGET_BYTES - reader.transferred_bytes)
    return Entry(
        source="gguf",
        entry_id=entry_id,
        read_at=now(),
        version="",
        url=url,
        name=line(header.name) or name[:_LONGEST],
        publisher="",
        format="gguf",
        relation="quantized",
        license_id=license_id,
        params_total=header.params_total,
        context_tokens=header.context_tokens,
        thinking=header.thinking,
        tool_calling=header.tool_calling,
        architecture=header.architecture,
        architecture_source=header.source,
        files=(EntryFile(name, file_bytes, "", header.quantization),),
        details={"note": header.note} if header.note else {},
    )


def _safe(name: str) -> str:
    """A name that can be an id: the file's own, without what an id may not have."""
    return _UNSAFE.sub("-", name).strip("-.")[:96] or "model"


def _text(value: object) -> str:
    return line(value) if isinstance(value, str) else ""
