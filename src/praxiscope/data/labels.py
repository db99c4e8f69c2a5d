"""Find pairs of labels that are probably two spellings of one label: typing errors, other case, plurals."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import combinations
from typing import NamedTuple

__all__ = ["SimilarLabels", "did_you_mean", "nearest_label", "same_spelling", "similar_labels"]

#: A label with this many clips or fewer may be a typing error.
FEW = 2


class SimilarLabels(NamedTuple):
    """Two labels that are probably one class: the rarer, the other, and the number of clips of each."""

    rare: str
    common: str
    rare_clips: int
    common_clips: int


def similar_labels(clips: Mapping[str, int]) -> list[SimilarLabels]:
    """Return pairs of labels that are probably one class, in alphabetical order of the rarer label.

    Labels that differ only in case, spaces, underscores, hyphens or the encoding of accents are always returned. Other
    labels are returned only if one of them has at most two clips and the other has more. They may then differ by an
    inserted, missing, replaced or transposed letter, or by a plural. Real classes can be as similar ("pour", "pours"),
    but they have more clips.

    Args:
        clips: number of clips by label.
    """
    spellings = defaultdict(list)
    for label in clips:
        spellings["".join(_words(label))].append(label)
    pairs = [pair for alike in spellings.values() for pair in combinations(alike, 2)]
    slips = [label for label, count in clips.items() if count <= FEW]
    common = [label for label, count in clips.items() if count > FEW]
    pairs += [(rare, other) for rare in slips for other in common if _misspelt(rare, other)]
    ordered = {tuple(sorted(pair, key=lambda name: (clips[name], name))) for pair in pairs}
    return sorted(SimilarLabels(rare, other, clips[rare], clips[other]) for rare, other in ordered)


def nearest_label(label: str, known: Iterable[str]) -> str | None:
    """Return the known label that ``label`` probably means, or None."""
    others = sorted(set(known) - {label})
    alike = [name for name in others if same_spelling(label, name)]
    return next(iter(alike or [name for name in others if _misspelt(label, name)]), None)


def did_you_mean(labels: Iterable[str], known: Collection[str]) -> str:
    """Return "Did you mean …? " for the first label that is similar to a known one, or an empty text."""
    for label in labels:
        if near := nearest_label(label, known):
            return f"Did you mean {near!r} instead of {label!r}? "
    return ""


def same_spelling(one: str, other: str) -> bool:
    """Whether two labels differ only in case, spaces, underscores, hyphens or the encoding of accents."""
    return "".join(_words(one)) == "".join(_words(other))


@cache
def _words(label: str) -> tuple[str, ...]:
    """Return the words of a label in lower case: "SkyDiving", "sky_diving" and "Sky Diving" have two."""
    text = unicodedata.normalize("NFKC", label)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = re.sub(r"(?<![^\s_])-(?=\d)", "\N{MINUS SIGN}", text)  # "turn -30" is not "turn 30"
    return tuple(word.casefold() for word in re.split(r"[\s_\-]+", text) if word)


@cache
def _numbers(label: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", label))


def _misspelt(one: str, other: str) -> bool:
    """Whether two labels differ by a typing error in each word, or by one in the whole label."""
    first, second = _words(one), _words(other)
    if _numbers(one) != _numbers(other):  # "take 1" and "take 2"
        return False
    if len(first) == len(second):
        return all(_near(a, b) for a, b in zip(first, second, strict=True))
    return _near("".join(first), "".join(second))


def _near(one: str, other: str) -> bool:
    """Whether two words are equal, singular and plural, or differ by one typing error. Fewer errors are accepted in
    short words, because different short words are often similar ("hit", "sit"; "walk", "talk")."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if len(short) > 1 and long in _plurals(short):
        return True
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    rest, longer_rest = short[start:], long[start:]
    if len(short) < len(long):
        return len(long) >= 4 and len(short) + 1 == len(long) and rest == longer_rest[1:]
    if rest[2:] == longer_rest[2:] and rest[:2] == longer_rest[1::-1]:  # transposed
        return len(long) >= 3
    return len(long) >= 5 and rest[1:] == longer_rest[1:]


def _plurals(word: str) -> tuple[str, ...]:
    return (f"{word}s", f"{word}es", f"{word[:-1]}ies" if word.endswith("y") else f"{word}s")
