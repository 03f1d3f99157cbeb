"""What a reader needs to judge and to repeat a sweep: its configuration, where it ran, and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from analysis import units
from analysis.ledger import Question
from analysis.records import TrialRecord
from reports import front

Fact = tuple[str, str]
"""A name and its value in words."""


def differences(question: Question) -> list[tuple[str, str, str]]:
    """(path, default, value) for what the recipe sets apart from its defaults."""
    listed = question.raw.get("differences")
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    return [(str(e.get("path", "")), text(e.get("default")), text(e.get("value"))) for e in entries]


def recipe(question: Question) -> list[Fact]:
    """What all trials shared, by path."""
    return _pairs(question.raw.get("recipe"))


def searched(question: Question) -> list[Fact]:
    """The holes with their distributions, how they were searched and when a heat was stopped."""
    facts = _spaces(question)
    also = front.named(question)
    facts += [("second goal", also[1])] if also is not None else []
    raw, heats = question.raw, question.raw.get("heats")
    if isinstance(heats, list) and len(set(heats)) > 1:
        raw = {**raw, "trials": ", ".join(map(str, heats))}
    named = (("search", "search"), ("early_stop", "early stopping"), ("trials", "heats a level"), ("budget", "budget"))
    return facts + [(name, text(raw[key])) for key, name in named if raw.get(key) is not None]


def environment(question: Question, records: Sequence[TrialRecord]) -> list[Fact]:
    """Hardware, versions, source and lanes; what the question does not say is taken from the trials."""
    raw = question.raw
    facts: list[Fact] = []
    hardware = raw.get("hardware")
    if isinstance(hardware, Mapping):
        facts += [
            (name.removesuffix("_bytes").replace("_", " "), _hardware(name, value)) for name, value in hardware.items()
        ]
    elif hardware is not None:
        facts.append(("hardware", text(hardware)))
    else:
        facts += [("hardware", name) for name in _seen([record.hardware for record in records])]
    versions = raw.get("versions")
    if not isinstance(versions, Mapping):
        versions = {name: version for record in records for name, version in record.versions.items()}
    facts += [(str(name), text(version)) for name, version in versions.items()]
    facts += [
        (name, text(raw[name])) for name in ("source", "lane", "concurrency", "threads") if raw.get(name) is not None
    ]
    lanes = _seen([record.lane for record in records])
    if lanes and lanes != [raw.get("lane")]:
        facts.append(("lanes used", ", ".join(lanes)))
    sources = _seen([record.source for record in records])
    if len(sources) > 1:
        facts.append(("sources of the trials", ", ".join(sources)))
    return facts


def commands(question: Question, folder: str | None) -> list[Fact]:
    """(what for, command): how to run the sweep again, render the page again, and see its trials in MLflow."""
    listed: list[Fact] = []
    if question.raw.get("command"):
        listed.append(("Run it again, or go on", text(question.raw["command"])))
    where = shlex.quote(folder) if folder else f"runs/{question.sweep}"
    listed.append(("Render this page again", f"python -m reports {where}"))
    tracking = question.raw.get("tracking")
    if isinstance(tracking, Mapping) and tracking.get("command"):
        listed.append(("See the trials in MLflow", text(tracking["command"])))
    return listed


def links(question: Question) -> list[Fact]:
    """(words, address) of the sweep's pages in MLflow; only web addresses, so that no other scheme can be slipped in."""
    tracking = question.raw.get("tracking")
    if not isinstance(tracking, Mapping):
        return []
    named = (
        ("url", "All trials in MLflow"),
        ("run_url", "The sweep in MLflow"),
        ("compare_url", "The best ten compared in MLflow"),
    )
    found = [(words, text(tracking[key])) for key, words in named if tracking.get(key)]
    return [(words, url) for words, url in found if url.startswith(("http://", "https://"))]


def text(value: Any) -> str:
    """A value of the question as words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return units.label(value)
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items())
    return str(value)


def _spaces(question: Question) -> list[Fact]:
    """The holes with their distributions; one that differs by level with each of them, where the question says so."""
    spaces = question.raw.get("spaces")
    if not isinstance(spaces, list):
        return _pairs(question.raw.get("space"))
    found: dict[str, dict[str, None]] = {}
    for space in spaces:
        for path, words in _pairs(space):
            found.setdefault(path, {})[words] = None
    return [(path, " or ".join(words) + (", by level" if len(words) > 1 else "")) for path, words in found.items()]


def _pairs(value: Any) -> list[Fact]:
    return [(str(path), text(item)) for path, item in value.items()] if isinstance(value, Mapping) else []


def _hardware(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int | float):
        return units.size(value)
    return text(value)


def _seen(values: Sequence[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))
