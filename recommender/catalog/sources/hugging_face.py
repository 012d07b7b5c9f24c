"""The Hugging Face Hub: GGUF repositories of known publishers and those fetched most, and the originals they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from recommender.catalog.sources.base import Batch, Entry, OnProgress, Progress
from recommender.catalog.sources.hub_client import Answer, BadAnswerError, HubClient
from recommender.catalog.sources.hub_entries import (
    SOURCE_ID,
    Listed,
    gguf_entry,
    listed,
    original_entry,
    plainest_file,
    repo_id,
)
from recommender.catalog.sources.hub_headers import read_header
from recommender.catalog.sources.hub_round import CHECKS, LARGEST_PARAMS, Query, Round, queries
from recommender.errors import DownloadError
from recommender.runner import hub_errors

_BATCH = 20  # entries that an interruption may cost
_CHECKED = 100  # kept repositories looked at again per round
_FAILURES = 3  # in a row: the Hub itself is in trouble
_CHAIN = 4  # an original that is a tune names its own base, and so on
_ORIGINAL = ("author", "baseModels", "cardData", "config", "createdAt", "disabled", "downloads", "evalResults", "gated",
             "lastModified", "pipeline_tag", "private", "safetensors", "sha", "tags")  # fmt: skip


class HuggingFaceSource:
    """Reads the Hub, or the mirror that HF_ENDPOINT names.

    Args:
        makers: owners of original models, whose own GGUF repositories are read.
        quantizers: owners of repositories of other people's models in GGUF.
        known: entry id → version that is kept; an unchanged repository is not read again.
        limit: repositories that are read in detail at most, in one call of :meth:`fetch`.
    """

    id = SOURCE_ID
    name = "Hugging Face"

    def __init__(
        self,
        makers: frozenset[str],
        quantizers: frozenset[str],
        known: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        self._makers = makers
        self._publishers = makers | quantizers
        self._known = known or {}
        self._limit = limit

    def unavailable(self) -> str:
        try:
            hub_errors.refuse_offline("ask the Hub what is new")
        except DownloadError as error:
            return str(error)
        return ""

    def fetch(self, cursor: str, progress: OnProgress) -> Iterator[Batch]:
        """As :meth:`~recommender.catalog.sources.base.Source.fetch`; what was read before an error is given first."""
        reader = _Reader(self._makers, self._known, self._limit, Round.of(cursor), progress)
        try:
            yield from self._steps(reader)
        except DownloadError:
            if reader.holds:
                yield reader.batch()
            raise

    def _steps(self, reader: _Reader) -> Iterator[Batch]:
        kept = reader.round
        unread, kept.unread = kept.unread, []
        for place, repo in enumerate(unread):
            if reader.spent:
                kept.unread += unread[place:]
                break
            reader.look_again(repo)
        lists = queries(self._publishers, kept)
        places = {query.id: place for place, query in enumerate(lists)} | {CHECKS: len(lists)}
        problem: BadAnswerError | None = None
        for place in range(places.get(kept.query, 0), len(lists)):
            query, following = lists[place], lists[place + 1].id if place + 1 < len(lists) else CHECKS
            if kept.query != query.id:
                kept.go_to(query.id)
            try:
                yield from _list(query, following, reader)
            except BadAnswerError as error:
                reader.failed(error)
                problem = error
                kept.failed.append(query.of)
                kept.go_to(following)
            if reader.spent:
                yield reader.batch()
                return
        for repo in _to_check(self._known, kept.checked):
            reader.look_again(repo)
            kept.checked = repo
            if reader.full or reader.spent:
                yield reader.batch()
            if reader.spent:
                return
        if kept.checked == max(self._known, default=""):
            kept.checked = ""
        kept.started = kept.started or reader.client.started
        kept.finish(self._publishers)
        yield reader.batch()
        if problem is not None:
            raise problem


def _list(query: Query, following: str, reader: _Reader) -> Iterator[Batch]:
    """Read one list page by page. The round goes on to the ``following`` one, unless the limit is reached before."""
    kept = reader.round
    first_etag = ""
    resumed = bool(kept.page)
    while True:
        etag = kept.etags.get(query.id, "") if query.since and not kept.page else ""
        reader.say(f"listing {query.of}")
        try:
            answer = reader.client.get(kept.page or "/api/models", {} if kept.page else query.params, etag)
        except BadAnswerError:
            if not resumed:
                raise
            # A place in a list does not hold for ever. What was read of the list is not read again.
            resumed = False
            kept.go_to(query.id)
            continue
        resumed = False
        if answer.status == 304:
            break
        if answer.status in (401, 403):
            raise DownloadError("The Hub does not show its list of models. Log in with `hf auth login`.")
        if not isinstance(answer.body, list):
            raise BadAnswerError("What the Hub sent is no list of models. Check HF_ENDPOINT, or try again later.")
        first_etag = first_etag or ("" if kept.page else answer.etag)
        ended = False
        for row in answer.body[: max(0, query.most - kept.rows)]:
            one = listed(row)
            if one is None:
                continue
            if query.since and one.modified and one.modified < query.since:
                ended = True
                break
            if reader.spent and reader.wants(one):
                return
            reader.read(one, row)
            if reader.full:
                yield reader.batch()
        rows = kept.rows + len(answer.body)
        if ended or not answer.body or rows >= query.most:
            break
        if answer.leads_away:
            raise BadAnswerError(
                f"The Hub's list of models by {query.of} goes on at another host, which is not followed. Check "
                "HF_ENDPOINT."
            )
        if not answer.next_page or answer.next_page == kept.page:
            break
        kept.go_to(query.id, answer.next_page, rows)
        yield reader.batch()
    if first_etag:
        kept.etags[query.id] = first_etag
    reader.went_well()
    kept.go_to(following)
    yield reader.batch()


def _to_check(known: Mapping[str, str], after: str) -> list[str]:
    return [repo for repo in sorted(known) if repo > after][:_CHECKED]


class _Reader:
    """Reads repositories, and holds what was read until it is taken as a batch."""

    def __init__(
        self, makers: frozenset[str], known: Mapping[str, str], limit: int | None, kept: Round, progress: OnProgress
    ) -> None:
        self.round = kept
        self.client = HubClient(self.say)
        self._makers, self._known, self._limit, self._progress = makers, known, limit, progress
        self._entries: list[Entry] = []
        self._gone: list[str] = []
        self._seen: set[str] = set()
        self._count = 0
        self._failures = 0

    @property
    def full(self) -> bool:
        return len(self._entries) >= _BATCH

    @property
    def holds(self) -> bool:
        return bool(self._entries or self._gone)

    @property
    def spent(self) -> bool:
        """Whether as many repositories were read as may be."""
        return self._limit is not None and self._count >= self._limit

    def say(self, what: str) -> None:
        self._progress(Progress(SOURCE_ID, what, self._count, self._limit))

    def batch(self) -> Batch:
        """What was read since the last one, with the place that the round has come to."""
        self.round.started = self.round.started or self.client.started
        made = Batch(tuple(self._entries), self.round.text(), tuple(self._gone))
        self._entries, self._gone = [], []
        return made

    def wants(self, one: Listed) -> bool:
        """Whether a listed repository is new or changed, and of a size that matters."""
        if one.repo in self._seen or (one.params_total or 0) >= LARGEST_PARAMS:
            return False
        return not one.version or self._known.get(one.repo) != one.version

    def read(self, one: Listed, row: Mapping[str, Any]) -> None:
        """A listed GGUF repository and the originals it names, where :meth:`wants` says so."""
        if not self.wants(one):
            self._seen.add(one.repo)
            return
        answer = self._ask(one.repo, {"blobs": "true"})
        if answer is None:
            return
        if answer.status in (401, 403):  # it was listed, so it is there, and only its files are not for everybody
            self._keep(gguf_entry({**row, "gated": True}, self.client.endpoint), one.repo)
        elif (info := self._info(answer, one.repo)) is not None:
            self._keep(gguf_entry({**row, **info}, self.client.endpoint), one.repo)

    def look_again(self, repo: str) -> None:
        """A repository that is kept, or that could not be read before: is it there, and is it still the same?"""
        if repo in self._seen or not repo_id(repo):
            return
        try:
            answer = self.client.get(f"/api/models/{repo}", {"expand": ["gguf", "lastModified", "sha", "tags"]})
        except BadAnswerError as error:
            self.round.unread.append(repo)
            self.failed(error)
            return
        self.went_well()
        if (info := self._info(answer, repo)) is None or (one := listed(info)) is None:
            return
        if "gguf" in _tags(info):
            self.read(one, info)
        elif self._known.get(repo) != one.version or not one.version:
            self._read_original(repo, 0)

    def failed(self, error: BadAnswerError) -> None:
        """Count a failure; raises ``error`` when there were too many in a row to go on."""
        self._failures += 1
        if self._failures >= _FAILURES:
            raise DownloadError(str(error)) from error

    def went_well(self) -> None:
        self._failures = 0

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_original(self, repo: str, depth: int) -> None:
        if self.spent:
            self.round.unread.append(repo)
            return
        answer = self._ask(repo, {"expand": list(_ORIGINAL)})
        if answer is None:
            return
        if answer.gated:
            self._keep(original_entry({"id": repo, "gated": True}, self.client.endpoint), repo)
            return
        info = self._info(answer, repo)
        if info is None:
            return
        entry = original_entry(info, self.client.endpoint)
        if entry is not None and entry.params_total is None and "gguf" in entry.tags:
            self._seen.discard(repo)
            if (one := listed(info)) is not None:
                self.read(one, info)
            return
        self._keep(entry, repo, depth)

    def _keep(self, entry: Entry | None, repo: str, depth: int = 0) -> None:
        """Hold an entry, with its architecture where that is to be read, and read the originals that it names."""
        if entry is None or (entry.params_total or 0) >= LARGEST_PARAMS:
            return
        if entry.format == "gguf":
            entry = self._with_architecture(entry)
            self.say(repo)
        self._entries.append(entry)
        # A maker's own model needs no further proof of whose it is.
        if entry.format == "safetensors" and (entry.publisher in self._makers or depth >= _CHAIN):
            return
        for base in entry.bases:
            if base not in self._known and base not in self._seen:
                self._read_original(base, depth + 1)

    def _with_architecture(self, entry: Entry) -> Entry:
        """The entry with what its plainest file's header tells, once per model: its forms share one architecture."""
        model = entry.bases[0] if entry.bases else entry.entry_id
        if entry.publisher in self._makers and entry.relation != "quantized":
            model = entry.entry_id
        elif entry.relation not in ("quantized", ""):
            return entry  # somebody's tune has its base's architecture
        file = plainest_file(entry)
        # The repository that told it tells it again when it has changed: its entry is replaced as a whole.
        if entry.gated or file is None or self.round.headers.get(model, entry.entry_id) != entry.entry_id:
            return entry
        self.say(f"header of {file.path}")
        header = read_header(entry, file, self.client.endpoint)
        if header is None:
            return entry
        self.round.headers[model] = entry.entry_id
        return replace(
            entry,
            architecture=header.architecture,
            architecture_source=header.source,
            params_total=header.params_total or entry.params_total,
            context_tokens=header.context_tokens or entry.context_tokens,
            thinking=entry.thinking or header.thinking,
            tool_calling=entry.tool_calling or header.tool_calling,
            details={"architecture": header.note} if header.note else {},
        )

    def _ask(self, repo: str, params: Mapping[str, str | list[str]]) -> Answer | None:
        """A repository's info; None where it cannot be had now, which the round remembers."""
        self.say(repo)
        self._seen.add(repo)
        self._count += 1
        try:
            answer = self.client.get(f"/api/models/{repo}", params)
        except BadAnswerError as error:
            self.round.unread.append(repo)
            self.failed(error)
            return None
        self.went_well()
        return answer

    def _info(self, answer: Answer, repo: str) -> Mapping[str, Any] | None:
        """The info of this very repository; what is refused or goes by another name now has gone."""
        body = answer.body
        if answer.status == 200 and isinstance(body, dict) and str(body.get("id")).casefold() == repo.casefold():
            return body
        moved = answer.status == 200 and isinstance(body, dict) and repo_id(body.get("id"))
        if (answer.status in (401, 404, 410) or moved) and not answer.gated and repo in self._known:
            self._gone.append(repo)
        return None


def _tags(info: Mapping[str, Any]) -> list[object]:
    tags = info.get("tags")
    return tags if isinstance(tags, list) else []
