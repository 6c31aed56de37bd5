"""How the journal of crawls is cut into journals of shards, each of which one machine writes."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from anystore.backend import Backend
from anystore.backends.wrap import PrefixBackend
from anystore.errors import BackendError, DoesNotExist
from anystore.keys import private_key
from anystore.shards import MOST_SHARDS

_LAYOUT = private_key("crawl/shards.json")
_FOLDER = "crawl-shards"

# What somebody else may have changed must not lead anywhere else, nor to journals without end.
_Name = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]
_Shards = Annotated[int, Field(ge=1, le=MOST_SHARDS)]


class RunOfShards(BaseModel):
    """A run that was begun, and whose shards may be at work.

    Attributes:
        number: Its number.
        started: When it was begun.
        label: What whoever began it calls it.
    """

    number: int
    label: str = ""
    started: datetime


class Layout(BaseModel):
    """How a journal is cut.

    Attributes:
        format: The form of all this.
        name: The folder of these shards; another cut has another one.
        shards: How many there are.
        depth: How many folders deep keys are told apart.
        last_run: Number of the last run that was begun.
        runs: The run that was begun for each source, and has not ended.
        garbage: Folders of cuts that were given up, and are to be deleted, with the number of their shards.
    """

    format: Literal[1] = 1
    name: _Name
    shards: _Shards
    depth: Annotated[int, Field(ge=0)]
    last_run: int = 0
    runs: dict[str, RunOfShards] = {}
    garbage: dict[_Name, _Shards] = {}


def read_layout(backend: Backend) -> Layout | None:
    """Read how a journal is cut; None if it is not.

    Raises:
        BackendError: If that cannot be read.
    """
    try:
        return Layout.model_validate_json(backend.get(_LAYOUT))
    except DoesNotExist:
        return None
    except ValidationError as error:
        raise BackendError(
            f"the journal of crawls in {backend.uri} is broken: {str(_LAYOUT)!r} cannot be read; delete it to begin "
            "anew: then each document that shards have fetched is fetched once more"
        ) from error


def write_layout(backend: Backend, layout: Layout) -> None:
    """Say how a journal is cut from now on."""
    backend.put(_LAYOUT, layout.model_dump_json().encode())


def shard_backend(backend: Backend, name: str, number: int) -> Backend:
    """Give the place of a shard's journal, below our own folder of the journal's store."""
    return PrefixBackend(backend, f"{_FOLDER}/{name}/{number:05d}")
