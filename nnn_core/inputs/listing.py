"""From a pattern to described input shards: what is read together, and what identifies its bytes."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby

from nnn_core import storage
from nnn_core.errors import ConfigError, InputError
from nnn_core.inputs._table_logs import current_files
from nnn_core.inputs.readers import Format, format_of
from nnn_core.inputs.readers._caption_files import SUFFIX, image_beside
from nnn_core.inputs.readers._known import formats, suffix_of
from nnn_core.inputs.readers._unread import remedy_for
from nnn_core.inputs.readers._webdataset import TAR_SUFFIXES
from nnn_core.inputs.shards import CONTENT_BYTES, GROUP, InputShard, ShardName, cut_groups, natural_key

#: Single images are read in groups of about this many, and never of more than eight times as many.
IMAGES_PER_SHARD = 1024

_METADATA = re.compile(r"(\.parquet|_stats\.json)\Z")

_THREADS = 16

#: Files of text that are asked whether they lie beside an image.
_LOOKED_BESIDE = 8

_HIDDEN, _NOT_IN_LOG = "hidden", "not in the log of the table"

#: A bracket or brace that stands for itself, as in ``[[]`` and ``[{]``.
_LITERAL = re.compile(r"\[([\[{}])\]")

_BRACES = re.compile(r"(?<!\[)\{([^{}]*)\}(?!\])")
_RANGE = re.compile(r"(\d+)\.\.(\d+)\Z")
_MAX_EXPANSION, _MAX_BRACES, _MAX_DIGITS = 1_000_000, 100, 18


@dataclass(frozen=True)
class _Listing:
    """What a pattern names.

    Attributes:
        shards: the input shards, in natural order: a file each, but single images in groups.
        files: how many files they have.
        left_out: how many further files match but are no input, by the reason.
    """

    shards: tuple[ShardName, ...]
    files: int
    left_out: dict[str, int]


def list_input(pattern: str, flag: str) -> _Listing:
    """The input shards that ``pattern`` names.

    What wildcards find below hidden folders, or under hidden names, is no input: those that begin with a dot, as macOS
    leaves them beside files, and folders and files that begin with an underscore, as Spark's do. An image may begin
    with one, as cameras name them. Of a Delta table the files count that its log names.

    Args:
        pattern: a URI with globs and brace ranges.
        flag: the flag that the pattern was typed after, for messages.

    Raises:
        InputError: no file matches, a file is of no known format or has a name that cannot be stored, a file is the
            metadata of another one, or the log of a table cannot be followed.
    """
    pattern = _spelled(pattern)
    found, hidden = _find(pattern, flag)
    _refuse_metadata(found, pattern, flag)
    current = current_files(found)
    if not current:
        raise InputError(
            f"{flag} {pattern!r} matches only files that are no longer in the log of their table. Name files that are."
        )
    names: list[ShardName] = []
    beside = _lie_beside_images([uri for uri in current if uri.endswith(SUFFIX)])
    unclear = _told_by_bytes(current)

    def is_grouped(uri: str) -> bool:
        return (unclear.get(uri) or format_of(uri)).grouped or (beside and uri.endswith(SUFFIX))

    for grouped, run in groupby(current, key=is_grouped):
        uris = list(run)
        names += _group_members(_fixed_folder(pattern), uris) if grouped else [ShardName(uri) for uri in uris]
    for name in names:
        _check_name(name.uri, flag)
    left_out = {_HIDDEN: hidden, _NOT_IN_LOG: len(found) - len(current)}
    return _Listing(tuple(names), len(current), {reason: count for reason, count in left_out.items() if count})


def _told_by_bytes(uris: Iterable[str]) -> dict[str, Format]:
    """The formats of those files whose names say nothing, which are looked into side by side."""
    unclear = [uri for uri in uris if suffix_of(uri) is None]
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(unclear, pool.map(format_of, unclear), strict=True))


def _lie_beside_images(uris: Sequence[str]) -> bool:
    """Whether files of text are captions of images of the same names, as far as a few of them tell."""
    some = uris[:: max(1, len(uris) // _LOOKED_BESIDE)]
    return any(image_beside(uri) for uri in some)


def list_shards(pattern: str, flag: str) -> list[ShardName]:
    """The input shards that ``pattern`` names, see ``list_input``."""
    return list(list_input(pattern, flag).shards)


def list_uris(pattern: str, flag: str) -> list[str]:
    """The files that ``pattern`` (a URI with globs and brace ranges) names, hidden ones left out.

    Args:
        pattern: a URI with globs and brace ranges, as the user typed it.
        flag: the flag that the pattern was typed after, for the message.

    Returns:
        URIs in natural order, each once.

    Raises:
        InputError: the whole pattern, or one explicit name of a brace range, matches nothing.
    """
    return _find(_spelled(pattern), flag)[0]


def _find(pattern: str, flag: str) -> tuple[list[str], int]:
    """(URIs, how many more are hidden)."""
    matches, hidden = [(name, storage.find(name)) for name in _expand_braces(pattern)], set[str]()
    if missing := [name for name, found in matches if not found]:
        raise InputError(_missing_message(pattern, flag, missing, len(matches)))
    for name, found in matches:
        hidden.update(_hidden(found, name))
    uris = {uri for _, found in matches for uri in found} - hidden
    if not uris:
        raise InputError(
            f"{flag} {pattern!r} matches only hidden names, such as {min(hidden)!r}. Wildcards skip names that "
            "begin with a dot or an underscore. To include them, write the dot or underscore in the pattern."
        )
    return sorted(uris, key=natural_key), len(hidden)


def _hidden(uris: Iterable[str], pattern: str) -> Iterator[str]:
    """Those in whose path a wildcard, not a name in the pattern, stands for a part that is hidden."""
    if not any(mark in pattern for mark in "*?["):
        return
    folder = _fixed_folder(pattern)
    segments = [segment for segment in pattern.split("/") if segment[:1] in (".", "_")]
    yield from (uri for uri in uris if _is_hidden(uri.removeprefix(folder).lstrip("/").split("/"), segments))


def _is_hidden(names: Sequence[str], segments: Sequence[str]) -> bool:
    for place, name in enumerate(names):
        hidden = name.startswith(".") or (name.startswith("_") and "=" not in name)
        if name.startswith("_") and place == len(names) - 1 and (suffix := suffix_of(name)):
            hidden = not formats()[suffix].grouped
        if hidden and not any(fnmatchcase(name, segment) for segment in segments):
            return True
    return False


def _check_name(uri: str, flag: str) -> None:
    """Refuse a name that no artefact could hold: it would end the job after all was embedded."""
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise InputError(f"{flag} names {uri!r}, whose name is not UTF-8. Rename it.") from None


def _spelled(pattern: str) -> str:
    """``pattern`` with the brackets and braces marked as literal that are part of the name of what is there.

    Only names in front of the first real wildcard can be looked up.
    """
    done: list[str] = []
    for segment in (segments := pattern.split("/")):
        literal = "/".join([*done, segment])
        if re.search(r"[*?]", segment):
            break
        if re.search(r"[\[{]", _LITERAL.sub("", segment)) and not storage.exists(literal):
            break
        done.append(_LITERAL.sub(r"\1", segment))
    escaped = [re.sub(r"([\[{}])", r"[\1]", segment) for segment in done]
    return "/".join([*escaped, *segments[len(done) :]])


def _expand_braces(pattern: str) -> list[str]:
    """``a{1..3}.tar`` and ``{a,b}.tar`` as a shell would expand them; ranges keep their zeros.

    Raises:
        ConfigError: an unbalanced brace, more braces than anybody writes, or an expansion beyond a million names.
    """
    if pattern.count("{") > _MAX_BRACES:
        raise ConfigError(f"{pattern[:80]!r}... has more than {_MAX_BRACES} braces. Use a glob.")
    match = _BRACES.search(pattern)
    if match is None:
        if set("{}") & set(_LITERAL.sub("", pattern)):
            raise ConfigError(
                f"unbalanced brace in {pattern!r}. Write a range as {{00000..00012}}, and a literal brace as [{{]."
            )
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    names: list[str] = []
    for choice in _choices(match.group(1), pattern):
        names.extend(_expand_braces(head + choice + tail))
        if len(names) > _MAX_EXPANSION:
            raise ConfigError(f"{pattern!r} expands to more than {_MAX_EXPANSION:,} names. Use a glob.")
    return names


def _choices(body: str, pattern: str) -> list[str]:
    if match := _RANGE.match(body):
        first, last = match.groups()
        # Python takes no longer texts for numbers than it has time for.
        low, high = (int(end[:_MAX_DIGITS]) for end in (first, last))
        if abs(high - low) >= _MAX_EXPANSION or max(len(first), len(last)) > _MAX_DIGITS:
            raise ConfigError(f"{pattern!r} expands to more than {_MAX_EXPANSION:,} names. Use a glob.")
        padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
        width = max(len(first), len(last)) if padded else 0
        step = 1 if high >= low else -1
        return [str(number).zfill(width) for number in range(low, high + step, step)]
    return body.split(",")


def _refuse_metadata(uris: list[str], pattern: str, flag: str) -> None:
    """Refuse to take what img2dataset writes beside each tar for input of its own."""
    present = set(uris)
    for uri in uris:
        stem, beside = _METADATA.sub("", uri), _METADATA.search(uri)
        tar = next((f"{stem}{suffix}" for suffix in TAR_SUFFIXES if beside and f"{stem}{suffix}" in present), None)
        if tar:
            raise InputError(
                f"{flag} {pattern!r} matches {tar!r} and also {uri!r}, which holds its metadata. The job finds "
                "that metadata by itself. Name only the tars, for example with *.tar."
            )


def _missing_message(pattern: str, flag: str, missing: list[str], expanded: int) -> str:
    if expanded == 1 and storage.is_folder(missing[0]):
        return (
            remedy_for(missing[0])
            or f"{flag} {pattern!r} is a folder. Name the files in it, {_suggestion(missing[0])}."
        )
    if expanded == 1:
        relative = storage.is_local(pattern) and not os.path.isabs(pattern) and "://" not in pattern
        where = f" below {os.getcwd()!r}" if relative else ""
        return (
            f"no files found for {flag} {pattern!r}{where}. Check the path, and quote the glob so that the shell does "
            "not expand it."
        )
    shown = ", ".join(repr(name) for name in missing[:3])
    return (
        f"{flag} {pattern!r} stands for {expanded} names, and {len(missing)} of them match no file (first: "
        f"{shown}). Their rows would be missing from the table. Correct the range, or use a glob."
    )


def _suggestion(folder: str) -> str:
    """The globs of what lies in ``folder`` or one level below it, as far as there is a reader for it."""
    globs = _globs_in(folder)
    for name in storage.list_names(folder) if not globs else ():
        below = storage.join(folder, name)
        globs += _globs_in(below) if storage.is_folder(below) else []
    if not globs:
        return f"for example {storage.join(folder, '*.tar')!r} (no file in it has a known format)"
    return "for example " + " or ".join(repr(glob) for glob in globs[:3])


def _globs_in(folder: str) -> list[str]:
    """A glob for each suffix of the files of known formats directly in ``folder``, the most frequent first."""
    suffixes = Counter(suffix for name in storage.list_names(folder) if (suffix := suffix_of(name)))
    return [storage.join(folder, f"*{suffix}") for suffix, _ in suffixes.most_common()]


def _fixed_folder(pattern: str) -> str:
    """The folder in ``pattern`` below which all that it matches lies, as ``list_uris`` spells it."""
    marks = re.finditer(rf"{_LITERAL.pattern}|[*?\[{{]", pattern)
    end = next((mark.start() for mark in marks if len(mark[0]) == 1), None)
    fixed = _LITERAL.sub(r"\1", pattern[:end])
    return storage.normal(fixed.rstrip("/") if end is not None and fixed.endswith("/") else storage.parent(fixed))


def _group_members(folder: str, uris: Sequence[str]) -> Iterator[ShardName]:
    """Cut single files into groups, each of which ends after a file of which the hash of the name says so."""
    members = (uri.removeprefix(folder).lstrip("/") for uri in uris)
    return (ShardName(folder, group) for group in cut_groups(members, _ends_group, 8 * IMAGES_PER_SHARD))


def _ends_group(member: str) -> bool:
    digest = hashlib.blake2b(member.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % IMAGES_PER_SHARD == 0


def describe_shard(name: ShardName | str, fresh: bool = False) -> InputShard:
    """Look at one input shard: its size, the digest of its bytes, and its companion.

    Args:
        name: name of the shard, from ``list_shards``, or the URI of a file.
        fresh: whether to look at the store itself, not at a listing that may be at hand.

    Raises:
        InputError: the file is gone, or has no companion and needs one.
    """
    if isinstance(name, str):
        name = ShardName(name)
    if name.members:
        return _describe_members(name, fresh)
    companion = format_of(name.uri).companion(name.uri)
    digest = storage.content_digest(name.uri, fresh)
    if companion is not None:
        digest += "+" + storage.content_digest(companion, fresh)
    return InputShard(name.uri, digest, storage.size(name.uri), companion)


def _describe_members(name: ShardName, fresh: bool) -> InputShard:
    digest, size, contents = hashlib.sha256(), 0, b""
    for member in name.members:
        uri = storage.join(name.uri, member)
        content = storage.content_digest(uri, fresh)
        beside = f"\0{storage.basename(image_beside(uri) or '')}" if member.endswith(SUFFIX) else ""  # the pair id
        digest.update(f"{member}\0{content}{beside}\n".encode(errors="surrogateescape"))
        if not beside:
            contents += hashlib.blake2b(content.encode(), digest_size=CONTENT_BYTES).digest()
        size += storage.size(uri)
    return InputShard(name.uri, f"{GROUP}{digest.hexdigest()}", size, members=name.members, contents=contents)


def check_unchanged(shard: InputShard) -> None:
    """Refuse a result of a file whose bytes are not those that were described before it was read.

    Raises:
        InputError: it changed.
    """
    if describe_shard(ShardName(shard.uri, shard.members), fresh=True).digest != shard.digest:
        raise InputError(
            f"{shard.uri!r} changed while it was read, so its rows were not used. Run the same command again "
            "when no program writes to it."
        )
