"""What a run in the visitor's browser says of itself. It comes from outside: nothing of it is used unchecked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommender.errors import BadInputError

__all__ = ["REPEATS", "Outcome", "checked"]

REPEATS = (3, 10)
# Wider than any browser, narrow enough that nothing else can be meant.
_Rate = Annotated[float, Field(gt=0, le=1e6)]
_Rates = Annotated[tuple[_Rate, ...], Field(min_length=REPEATS[0], max_length=REPEATS[1])]
_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_Tokens = Annotated[int, Field(ge=1, le=4096)]
_Name = Annotated[str, Field(max_length=100)]


class Outcome(BaseModel):
    """A finished measurement: speeds in tokens/s and times in s, one per repeat."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, strict=True)

    token: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # of what was asked for
    backend: Literal["webgpu", "cpu"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    isolated: bool
    load_s: _Seconds
    fetched_bytes: Annotated[float, Field(ge=0, le=1e12)]
    prompt_tokens: _Tokens
    gen_tokens: _Tokens
    prefill: _Rates
    decode: _Rates
    ttft_s: Annotated[tuple[_Seconds, ...], Field(min_length=REPEATS[0], max_length=REPEATS[1])]
    browser: _Name
    gpu: _Name

    @property
    def runtime(self) -> str:
        """The runtime's name for such a number; it is none of the catalog's, so it never corrects an estimate."""
        return f"wllama-{self.backend}"


def checked(value: object) -> Outcome:
    """What the browser sent, if it makes sense.

    Raises:
        BadInputError: it does not.
    """
    try:
        return Outcome.model_validate_json(_as_json(value))
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        raise BadInputError(
            "The browser sent a result that makes no sense, so it is not shown. Run it again."
        ) from error


def _as_json(value: object) -> str:
    """Strict checks of JSON know lists as tuples and whole numbers as floats; of Python objects they do not."""
    import json

    return json.dumps(value, allow_nan=False)
