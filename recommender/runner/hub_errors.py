"""Turns what can go wrong with the Hub into one sentence each: what happened, and what to do next."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from recommender import paths
from recommender.errors import DownloadError

_TRUE = ("1", "true", "yes", "on")


def refuse_offline(what: str) -> None:
    """Raises ``DownloadError`` when the environment says that the Hub must not be used."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").lower() in _TRUE:
            raise DownloadError(f"Cannot {what}: {name} is set. Unset it, or choose a model that is on this disk.")


@contextmanager
def explained(repo: str, file: str = "") -> Iterator[None]:
    """Within this block, errors of the Hub's client and of the disk come out as ``DownloadError``."""
    import httpx2
    from huggingface_hub import errors

    what = f"{repo}/{file}" if file else repo
    try:
        yield
    except DownloadError:
        raise
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{repo} is gated: accept its licence on its page on the Hub, then run `hf auth login` (or set HF_TOKEN) "
            "and try again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"The version of {repo} that was asked for does not exist (any more).") from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"There is no public repository {repo} on the Hub. Check the name; for a private one run `hf auth login`."
        ) from error
    except errors.EntryNotFoundError as error:
        raise DownloadError(f"There is no {what} on the Hub (any more). Choose another quantization.") from error
    except errors.OfflineModeIsEnabled as error:
        raise DownloadError(f"Cannot fetch {what}: the Hub is switched off by HF_HUB_OFFLINE. Unset it.") from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        advice = "Log in with `hf auth login`." if code in (401, 403) else "Try again in a few minutes."
        raise DownloadError(f"The Hub answered {code} for {what}. {advice}") from error
    except errors.HFValidationError as error:
        raise DownloadError(f"{repo!r} is no repository name that the Hub takes.") from error
    except httpx2.HTTPError as error:
        raise DownloadError(
            f"No connection to the Hub for {what}. Check the network (or the proxy and HF_ENDPOINT), then try again: "
            "what is already fetched is kept."
        ) from error
    except OSError as error:
        raise DownloadError(_disk(error, what)) from error
    except ValueError as error:
        raise DownloadError(f"{what} cannot be fetched: {error}") from error


def _disk(error: OSError, what: str) -> str:
    folder = paths.models_dir()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {what} could not be written to {folder}. Free some space, or set "
            f"{paths.HOME_VARIABLE} to a folder on another disk; the download then goes on where it stopped."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{folder} cannot be written to. Set {paths.HOME_VARIABLE} to a folder that can."
    if error.errno == errno.EFBIG:
        return (
            f"{what} is larger than a file may be in {folder}: a disk formatted as FAT32 ends at 4 GiB. Set "
            f"{paths.HOME_VARIABLE} to a folder on another disk, or choose a smaller quantization."
        )
    if type(error) is OSError and error.errno is None:  # the Hub's client found another length than it was told
        return f"What the Hub sent of {what} has not the length it told. Try again in a few minutes."
    return f"{what} could not be fetched: {error.strerror or error}. Try it again."
