"""A session of the app without a browser: Streamlit's own messages (protobuf) over a WebSocket of one's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 120.0
# What of an answer a reader sees change.
_TEXTS = ("markdown", "metric", "table", "code", "alert", "text", "heading")


class SessionError(RuntimeError):
    """The page showed an exception, or the script did not end."""


@dataclass
class Rerun:
    """What one run of the script brought."""

    seconds: float  # from the message sent to the last of the answer
    bytes: int = 0
    texts: list[str] = field(default_factory=list)  # of what stands on the page, as its messages have it
    alerts: list[str] = field(default_factory=list)


class Session:
    """One open page. Widgets keep what they were given, and the address what the server made of it."""

    runs = 0  # of scripts, of all sessions of this process

    def __init__(self, socket: ClientConnection, page: str, query: str) -> None:
        self._socket, self._page, self._query = socket, page, query
        self._given: dict[str, WidgetState] = {}
        self.widgets: dict[str, str] = {}  # key → id of the widgets on the page

    @classmethod
    async def open(cls, port: int, query: str = "", page: str = "") -> Session:
        """Connect and open a page at an address; nothing is drawn before the first :meth:`run`."""
        address = f"ws://127.0.0.1:{port}/_stcore/stream"
        socket = await connect(address, subprotocols=["streamlit"], max_size=None, open_timeout=PATIENCE_S)  # type: ignore[list-item]
        return cls(socket, page, query)

    async def run(self, key: str = "", change: Callable[[WidgetState], None] | None = None) -> Rerun:
        """Change a widget, if any, and take everything until the script has ended.

        Raises:
            SessionError: the page shows an exception, or no end came in time.
        """
        message = BackMsg()
        client = message.rerun_script
        client.query_string, client.page_name = self._query, self._page
        once = None
        if change is not None:
            once = WidgetState(id=self.widgets[key])
            change(once)
            if once.WhichOneof("value") != "trigger_value":
                self._given[once.id] = once
        shown = set(self.widgets.values())
        states = [state for name, state in self._given.items() if name in shown]
        client.widget_states.widgets.extend([*states, *([once] if once and once not in states else [])])
        start = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await self._taken()
        except TimeoutError:
            raise SessionError(f"The script did not end within {PATIENCE_S:g} s.") from None
        found.seconds = time.perf_counter() - start
        Session.runs += 1
        return found

    async def _taken(self) -> Rerun:
        found = Rerun(0.0)
        widgets: dict[str, str] = {}
        while True:
            data = await self._socket.recv()
            assert isinstance(data, bytes)
            found.bytes += len(data)
            message = ForwardMsg()
            message.ParseFromString(data)
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                self._look(message.delta.new_element, found, widgets)
            elif kind == "page_info_changed":
                self._query = message.page_info_changed.query_string
            elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                self.widgets = widgets
                return found

    def _look(self, element: object, found: Rerun, widgets: dict[str, str]) -> None:
        name = element.WhichOneof("type")  # type: ignore[attr-defined]
        content = getattr(element, name)
        if name == "exception":
            raise SessionError(f"{content.type}: {content.message}")
        if identity := getattr(content, "id", ""):
            widgets[identity.rpartition("-")[2]] = identity
        if name in _TEXTS:
            found.texts.append(content.SerializeToString().hex())
        if name == "alert":
            found.alerts.append(content.body)

    async def press(self, key: str) -> None:
        """Press a button and do not wait for anything."""
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = self._query, self._page
        message.rerun_script.widget_states.widgets.append(WidgetState(id=self.widgets[key], trigger_value=True))
        await self._socket.send(message.SerializeToString())

    async def close(self) -> None:
        await self._socket.close()

    def drop(self) -> None:
        """Cut the connection without a word, as a laptop does whose lid is closed."""
        self._socket.transport.abort()
