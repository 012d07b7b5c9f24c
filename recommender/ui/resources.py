"""What all sessions share: the catalog, the runs, the measurements and what this machine is."""

from __future__ import annotations

import atexit
import gc
from dataclasses import replace

import streamlit as st

from recommender import audit, paths
from recommender.calibrated import calibration_here
from recommender.catalog.measurements import MeasurementStore
from recommender.catalog.queries import runtimes
from recommender.catalog.refresh_job import RefreshJob
from recommender.catalog.store import Catalog, open_catalog
from recommender.device import presets, this_machine
from recommender.device.detect import THIS_MACHINE
from recommender.door import door
from recommender.errors import RecommenderError
from recommender.estimate.calibrate import Calibration
from recommender.hosting import Gate, VisitorRuns
from recommender.runner.bindings import Binding, available_bindings
from recommender.runner.jobs import RunManager, Runs
from recommender.settings import current
from recommender.types import Device, Measurement
from recommender.ui.words import plain, without_address, without_paths

# Free memory changes as programs come and go; detecting anew on every click would be slow and make figures jump.
_DEVICE_SECONDS = 60


@st.cache_resource(show_spinner="Building the catalog …", validate=lambda opened: not opened.replaced)
def catalog() -> Catalog:
    """The catalog; after a refresh the new one, from a session's next rerun on."""
    opened = open_catalog()
    if not gc.get_freeze_count():
        # Streamlit collects garbage after every run of a page, and nothing else runs meanwhile. What is there by now,
        # modules above all, stays: looking through it took longer than the answer itself.
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)  # else the libraries complain at the end of what is not given back
    return opened


@st.cache_resource(show_spinner=False)
def refresh_job() -> RefreshJob:
    return RefreshJob()


@st.cache_resource(show_spinner=False)
def preset_names() -> dict[str, str]:
    """Preset id → its name, in the list's order."""
    return {one.id: one.name for one in presets()}


@st.cache_resource(show_spinner=False)
def runtime_ids() -> tuple[str, ...]:
    return tuple(row.id for row in runtimes(catalog()))


@st.cache_resource(show_spinner=False)
def store() -> MeasurementStore:
    return MeasurementStore()


@st.cache_resource(show_spinner=False)
def _unsaved() -> list[str]:
    """Why finished measurements could not be written, newest last."""
    return []


@st.cache_resource(show_spinner=False)
def _manager() -> RunManager:
    """The queue of runs; a finished measurement is stored whether or not somebody still looks at it."""
    keep, problems = store(), _unsaved()

    def save(measurement: Measurement) -> None:
        try:
            keep.add(measurement)
            problems.clear()  # those that could not be written before are written now
        except RecommenderError as error:
            problems.append(str(error))

    return RunManager(on_measurement=save)


@st.cache_resource(show_spinner=False)
def _gate() -> Gate:
    return Gate(_manager(), current())


def runs() -> Runs:
    """The queue of runs: all of it on one's own computer, within a visitor's limits on a hosted instance."""
    if not hosted():
        return _manager()
    own = st.session_state.setdefault("own_runs", [])
    return VisitorRuns(_gate(), visitor(), own, catalog(), this_device())


def others_active() -> int:
    """How many runs of other visitors wait or go on."""
    queue = runs()
    return queue.others_active() if isinstance(queue, VisitorRuns) else 0


def storing_problem() -> str:
    """Why the newest measurement could not be written; "" when it was."""
    problems = _unsaved()
    return problems[-1] if problems else ""


def hosted() -> bool:
    """Whether the page's visitor sits at another computer than the one the app runs on."""
    return door(current(), st.context.ip_address, st.context.headers.items()) == "hosted"


def server_name() -> str:
    """What the computer is called on which runs take place."""
    return "this server" if hosted() else "this computer"


def told(problem: RecommenderError | str) -> str:
    """What went wrong, as Markdown for the page: whoever does not sit at the server learns no path of it, nor of
    the server behind it more than that there is one."""
    text = str(problem)
    return plain(_public(text) if hosted() else text)


def _public(text: str) -> str:
    return without_paths(without_address(text, current().try_server), paths.data_dir())


def signed_in() -> tuple[str, ...]:
    """What the sign-in service vouches for: a verified e-mail address, and the subject's own id; empty for a stranger.

    An address that nobody has verified could be anyone's, and some services let people write what they like.
    """
    if not st.user.get("is_logged_in"):
        return ()
    email = st.user.get("email") if st.user.get("email_verified") is True else None
    return tuple(str(one).casefold() for one in (email, st.user.get("sub")) if one)


def administers() -> bool:
    """Whether the visitor may change what is everybody's: their own computer, or an instance whose settings say so."""
    if not hosted():
        return True
    named = {one.strip().casefold() for one in current().admins.split(",")} - {""}
    return not named.isdisjoint(signed_in())


def visitor() -> str:
    """Who limits and the audit log speak of: the address that a request comes from."""
    return str(st.context.ip_address or "this computer")


def audited(what: str, **details: str | float | bool | None) -> None:
    """Write down who did this, where the instance is not their own computer."""
    if hosted():
        audit.log(next(iter(signed_in()), visitor()), what, **details)


@st.cache_data(ttl=_DEVICE_SECONDS, show_spinner=False)
def this_device() -> Device:
    return this_machine()


def forget_device() -> None:
    """Detect anew at the next look: something about this machine was measured."""
    this_device.clear()


def measurements() -> tuple[Measurement, ...]:
    """Everything measured here, newest first; empty when the database cannot be read just now."""
    try:
        found = store().all()
        if not hosted():
            return tuple(found)
        # What an address that was asked is called is in their build: it may be a private one.
        return tuple(replace(one, build="") if one.runtime == "openai" else one for one in found)
    except RecommenderError as error:
        st.warning(told(error))
        return ()


def calibration_of(device: Device) -> Calibration | None:
    """What was measured on this hardware, as a correction of the estimates.

    Through the hosted door the server's runs say nothing of a visitor's device, even of the same make.
    """
    if hosted() and device.id != THIS_MACHINE:
        return None
    return calibration_here(device, catalog(), measurements())


@st.cache_resource(show_spinner=False)
def bindings() -> tuple[Binding, ...]:
    return available_bindings()
