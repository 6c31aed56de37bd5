"""Two stores that a mirror may have at its ends: neither is in the other."""

from anystore.backend import Backend
from anystore.errors import InvalidOption
from anystore.keys import Selection, parse_prefix


def check_apart(source: Backend, target: Backend, selection: Selection, exclude_prefix: str | None) -> None:
    """Refuse a mirror of a store onto itself, or into itself.

    Args:
        source: The backend that is read.
        target: The backend that is filled.
        selection: Which keys are mirrored.
        exclude_prefix: The folder that is left out.

    Raises:
        InvalidOption: If what is read and what is written overlap.
    """
    (medium, read), (other, written) = source.extent(), target.extent()
    if medium != other:
        return
    if read == written:
        raise InvalidOption(f"{source.uri} and {target.uri} are the same store; there is nothing to mirror")
    excluded = parse_prefix(exclude_prefix)
    read_from, write_to = read + selection.folder, written + selection.folder
    if excluded and (write_to.startswith(read + excluded) or read_from.startswith(written + excluded)):
        return
    if read_from.startswith(write_to) or write_to.startswith(read_from):
        raise InvalidOption(
            f"{source.uri} and {target.uri} overlap: what is copied would be listed and copied again, or deleted; "
            "choose a folder beside the other, or leave the inner one out by exclude_prefix (--exclude-prefix)"
        )
