"""Errors for unknown names."""

from __future__ import annotations

from praxiscope.errors import unknown_name


def test_of_many_names_only_the_nearest_are_listed() -> None:
    known = [f"net{number:03}" for number in range(200)]
    told = str(unknown_name("network", "net0077", known))
    assert "'net007'" in told or "'net077'" in told
    assert "200" in told
    assert told.count("net") < 10
    assert str(unknown_name("network", "qqq", known)).count("net0") <= 5


def test_few_names_are_listed_sorted_or_in_their_order() -> None:
    known = ["stem", "layer1", "head"]
    assert "head, layer1, stem" in str(unknown_name("layer", "lyer1", known))
    assert "stem, layer1, head" in str(unknown_name("layer", "lyer1", known, in_order=True))
