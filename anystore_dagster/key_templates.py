"""The names of values by a template of the user's, of which none gives two values one key.

``{asset}[.partitions/{partition}].value`` is the template that is used where none is given. What stands in brackets is
for partitioned assets. ``{asset}`` is the path of the asset's key, ``{partition}`` the partition, with a folder for
each dimension, ``{partition[day]}`` one dimension of it, and ``{extension}`` the usual ending of the annotated type.

Names are escaped as in :mod:`anystore_dagster.asset_keys`; a name that ends like a part of the template is, too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anystore.errors import CodecError, InvalidKey, InvalidOption
from anystore.keys import parse_key
from anystore_dagster.asset_keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, RUNS_FOLDER, escape_name, shorten_key

DEFAULT_TEMPLATE = "{asset}[.partitions/{partition}].value"
"""The template of keys where none is given."""

PLAIN_EXTENSION = "value"
"""What ``{extension}`` is for a type that has no usual ending."""

_OWN_ENDINGS = ("value", "partitions", "runs", "hashed", "versions", "files")
_RESERVED = ("runs", "hashed", "versions", "files")
_FIELD = re.compile(r"\{([^{}]*)\}")
_BRACKETS = re.compile(r"\[(?![^{}]*\]\})([^\[\]]*(?:\[[^\[\]{}]*\][^\[\]]*)*)\]")
_DIMENSION = re.compile(r"partition\[([^\[\]]+)\]\Z")
_MARK = re.compile(r"\.(?:[A-Za-z0-9_-]{1,16}|\{extension\})\Z")
_EXTENSION = re.compile(r"[a-z0-9]{1,12}\Z")
_LITERAL = re.compile(r"[^{}\[\]/\x00-\x1f\\]{0,32}\Z")
_ADVICE = f"write, for example, {DEFAULT_TEMPLATE!r} or '{{asset}}[.partitions/{{partition}}].{{extension}}'"


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a template: a text, a field, an ending; each may be empty."""

    before: str
    field: str
    ending: str
    room: int
    """The bytes that a name may take between the two."""


@dataclass(frozen=True, slots=True)
class TemplateKey:
    """A key, and whether it still tells the names it was made of.

    Attributes:
        key: The key.
        is_shortened: Whether a name was too long, and a hash stands for it.
    """

    key: str
    is_shortened: bool


class KeyTemplate:
    """Makes the keys of assets.

    Args:
        text: The template.

    Raises:
        InvalidOption: If it is none, or two values could get one key; the message says what to write.

    Example:
        >>> template = KeyTemplate("{asset}[.partitions/{partition}].{extension}")
        >>> template.key(["raw", "orders"], extension="parquet").key
        'raw/orders.parquet'
        >>> template.key(["orders"], partition=[("day", "2024-01-01"), ("area", "eu")], extension="json").key
        'orders.partitions/eu/2024-01-01.json'
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._has_brackets = bool(_BRACKETS.search(text))
        parted = _parse(text, _BRACKETS.sub(r"\1", text))
        whole = _parse(text, _BRACKETS.sub("", text))
        has_partition = any(segment.field.startswith("partition") for segment in parted)
        self._parted = parted if has_partition else None
        self._whole = whole if self._has_brackets or not has_partition else None
        self._dimensions = [
            match[1] for segment in parted for match in [_DIMENSION.match(segment.field)] if match is not None
        ]
        _check(text, self._whole, self._parted, has_brackets=self._has_brackets)
        marks = {segment.ending.removeprefix(".") for segment in (*parted, *whole) if segment.ending}
        if "{extension}" in marks:
            marks = (marks - {"{extension}"}) | {_EXTENSION.pattern.removesuffix(r"\Z")}
        alternatives = [mark if "{" in mark else re.escape(mark) for mark in sorted(marks.union(_OWN_ENDINGS))]
        self._endings = re.compile(rf"\.(?=(?:{'|'.join(alternatives)})\Z)", re.IGNORECASE)

    @property
    def has_extension(self) -> bool:
        """Whether keys end by the type of the value."""
        return "{extension}" in self.text

    def key(
        self,
        asset: Sequence[str],
        *,
        partition: Sequence[tuple[str | None, str]] | None = None,
        extension: str = PLAIN_EXTENSION,
    ) -> TemplateKey:
        """Name a value.

        Args:
            asset: The path of the asset's key.
            partition: The name of each dimension, or None where it has none, with its text; None for no partition.
            extension: What ``{extension}`` stands for.

        Returns:
            The key.

        Raises:
            CodecError: If the template does not say where such an asset's values lie.
        """
        variant = self._variant(asset, partition)
        if not _EXTENSION.match(extension) or extension in _RESERVED or extension == "partitions":
            raise CodecError(f"{extension!r} cannot be the {{extension}} of a key; use a few small letters and digits")
        texts = dict(partition or ())
        ordered = [text for _, text in sorted(partition or (), key=lambda pair: pair[0] or "")]
        segments: list[str] = []
        shortened = False
        for segment in variant:
            if segment.field == "asset":
                names: Sequence[str] = asset
            elif segment.field == "partition":
                # without a text of its own behind the asset, a partition has to be one segment to be told from it
                names = ordered if variant[_place_of_asset(variant)].ending else ["|".join(ordered)]
            elif segment.field:
                names = [texts[segment.field[len("partition[") : -1]]]
            else:
                segments.append(segment.before)
                continue
            written = [escape_name(name, endings=self._endings, room=segment.room) for name in names]
            shortened = shortened or any(name.endswith(".hashed") for name in written)
            written[0] = segment.before + written[0]
            written[-1] += segment.ending.replace("{extension}", extension)
            segments += written
        key = "/".join(segments)
        if len(key.encode()) <= MAX_KEY_BYTES:
            return TemplateKey(key, shortened)
        ending = variant[-1].ending.replace("{extension}", extension)
        fixed = [segment.before for segment in variant[: _place_of_asset(variant)]]
        return TemplateKey("/".join([*fixed, shorten_key(segments[len(fixed)], key, ending=ending)]), is_shortened=True)

    def _variant(self, asset: Sequence[str], partition: Sequence[tuple[str | None, str]] | None) -> Sequence[_Segment]:
        """Choose the form of the template that has a place for each dimension."""
        name = "/".join(asset)
        if partition is None:
            if self._whole is None:
                raise CodecError(
                    f"asset {name!r} is not partitioned, and key_template={self.text!r} has no form without a "
                    "partition; put what partitions need into brackets, as in '{asset}[.partitions/{partition}].value'"
                )
            return self._whole
        if self._parted is None:
            raise CodecError(
                f"asset {name!r} is partitioned, and key_template={self.text!r} says nothing of partitions, so that "
                "all of them would share a key; add {partition}, as in '{asset}[.partitions/{partition}].value'"
            )
        dimensions = sorted(name or "" for name, _ in partition)
        if self._dimensions and dimensions != sorted(self._dimensions):
            wanted = "/".join(f"{{partition[{name}]}}" for name in dimensions) if all(dimensions) else "{partition}"
            raise CodecError(
                f"key_template={self.text!r} does not name the partitions of asset {name!r} as they are; write {wanted}"
            )
        return self._parted

    def owns(self, key: str) -> bool:
        """Tell whether a key may be one of this template, and of no other program.

        Args:
            key: A key.

        Returns:
            Whether it begins and ends as the template does.

        Example:
            >>> KeyTemplate("{asset}.value").owns("a/b.value"), KeyTemplate("{asset}.value").owns("a/b.txt")
            (True, False)
        """
        for variant in (self._whole, self._parted):
            if variant is None:
                continue
            fixed = "".join(f"{segment.before}/" for segment in variant[: _place_of_asset(variant)])
            ending = re.escape(variant[-1].ending).replace(r"\{extension\}", _EXTENSION.pattern.removesuffix(r"\Z"))
            if key.startswith(fixed) and re.search(rf"{ending}\Z", key):
                return True
        return False


def _parse(text: str, variant: str) -> list[_Segment]:
    """Cut one form of a template into segments."""
    segments = []
    for part in variant.split("/"):
        fields = [match for match in _FIELD.finditer(part) if match[1] != "extension"]
        unknown = [
            match[1] for match in fields if match[1] not in ("asset", "partition") and not _DIMENSION.match(match[1])
        ]
        if unknown:
            raise InvalidOption(
                f"key_template={text!r}: {{{unknown[0]}}} is none of {{asset}}, {{partition}}, {{partition[NAME]}}, "
                f"{{extension}}; {_ADVICE}"
            )
        if len(fields) > 1:
            raise InvalidOption(f"key_template={text!r}: {part!r} has two names; put a slash between them; {_ADVICE}")
        if fields:
            before, field, ending = part[: fields[0].start()], fields[0][1], part[fields[0].end() :]
        else:
            before, field, ending = part, "", ""
        if not _LITERAL.match(before) or (ending and not _MARK.match(ending)):
            raise InvalidOption(
                f"key_template={text!r}: behind a name may stand an ending such as '.value' or '.{{extension}}', and "
                f"before it up to 32 letters; {part!r} has something else; {_ADVICE}"
            )
        taken = len(before.encode()) + len(ending.encode())
        room = MAX_SEGMENT_BYTES - max(0, taken - len(".partitions"))
        segments.append(_Segment(before, field, ending, room))
    return segments


def _place_of_asset(variant: Sequence[_Segment]) -> int:
    return next(place for place, segment in enumerate(variant) if segment.field == "asset")


def _check(
    text: str, whole: Sequence[_Segment] | None, parted: Sequence[_Segment] | None, *, has_brackets: bool
) -> None:
    """Refuse a template by which two values could get one key, or a value the name of a folder."""
    for variant in (whole, parted):
        if variant is not None:
            _check_variant(text, variant)
    if whole is not None:
        last = whole[-1]
        if last.field != "asset" or not last.ending:
            raise InvalidOption(
                f"key_template={text!r}: for assets without partitions {{asset}} has to come last, with an ending, so "
                f"that no value has the name of a folder; {_ADVICE}"
            )
    if parted is None:
        return
    place = _place_of_asset(parted)
    behind = parted[place + 1 :]
    mark = parted[place].ending
    if not behind or not behind[-1].ending or not all(segment.field or segment.before for segment in behind):
        raise InvalidOption(
            f"key_template={text!r}: a partition is a file of its own below its asset, with an ending; {_ADVICE}"
        )
    if has_brackets and (mark in ("", ".{extension}") or (whole is not None and mark == whole[-1].ending)):
        raise InvalidOption(
            f"key_template={text!r}: the partition b of an asset a could get the key of the asset a/b; put an ending "
            f"of its own between {{asset}} and the slash; {_ADVICE}"
        )


def _check_variant(text: str, variant: Sequence[_Segment]) -> None:
    fields = [segment.field for segment in variant]
    if fields.count("asset") != 1:
        raise InvalidOption(f"key_template={text!r}: {{asset}} has to be there once; {_ADVICE}")
    place = fields.index("asset")
    if any(fields[:place]) or variant[place].before:
        raise InvalidOption(f"key_template={text!r}: {{asset}} begins a segment, and names follow it; {_ADVICE}")
    named = [field for field in fields if field.startswith("partition")]
    if len(set(named)) != len(named) or ("partition" in named and len(named) > 1):
        raise InvalidOption(f"key_template={text!r}: each part of a partition is named once; {_ADVICE}")
    if any(segment.field == "partition" and segment.before for segment in variant):
        raise InvalidOption(
            f"key_template={text!r}: {{partition}} can be several folders, so that it begins a segment; for a text "
            "before it name a dimension, as in 'day={partition[day]}'"
        )
    endings = [segment.ending.removeprefix(".").lower() for segment in variant]
    if any(ending in _RESERVED for ending in endings):
        raise InvalidOption(f"key_template={text!r}: {', '.join('.' + name for name in _RESERVED)} are ours; {_ADVICE}")
    fixed = "/".join(segment.before for segment in variant[:place])
    if not place:
        return
    try:
        parse_key(fixed)
    except InvalidKey as error:
        raise InvalidOption(f"key_template={text!r} begins with no folder: {error}; {_ADVICE}") from error
    if fixed.split("/", 1)[0] == RUNS_FOLDER:
        raise InvalidOption(f"key_template={text!r}: {RUNS_FOLDER!r} is the folder of what ops hand on; {_ADVICE}")
