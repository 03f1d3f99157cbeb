"""Recipes as files, in YAML or JSON: written whole, read without running anything that is not a dataclass.

    write(Path("mine.yaml"), recipe)
    read(Path("mine.yaml"), modules=["mine"]).recipe

Shipped parts stand there by their bare name, one's own by ``module:name``; ``modules`` are those whose code you trust.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainables import yaml_text
from trainables.course import Segment
from trainables.errors import ConflictError
from trainables.recipe import Recipe
from trainables.recipe_values import decoded, encoded

FORMAT = 1
"""Version of what these files hold; another one is refused, never guessed at."""

LARGEST = 1_000_000
"""Bytes of a file that is read: a recipe has a few thousand."""

_KEYS = ("format", "recipe", "earlier", "about")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What a file holds: a recipe, and the segments before it where settings change in mid-run."""

    recipe: Recipe
    earlier: tuple[Segment, ...] = ()


def write(path: Path, recipe: Recipe, *, earlier: Sequence[Segment] = (), about: Sequence[str] = ()) -> Path:
    """Write a recipe whole, in the form that the file's name asks for; the path comes back.

    ``about`` are lines for people: comments in YAML, a list in JSON. Raises ConflictError, naming each setting that cannot be
    written, and OSError where the file cannot be.
    """
    data: dict[str, Any] = {"format": FORMAT, "recipe": encoded(recipe)}
    if earlier:
        data["earlier"] = [{"until": one.until, "recipe": encoded(one.recipe)} for one in earlier]
    if _form(path) == "json":
        text = json.dumps({"about": list(about), **data} if about else data, indent=1, allow_nan=False) + "\n"
    else:
        comments = [f"# {line}".rstrip() for line in "\n".join(about).splitlines()]
        text = "".join(f"{line}\n" for line in comments) + yaml_text.written(data)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(path: Path, *, modules: Sequence[str] = ()) -> Stored:
    """Read a recipe and check it; nothing is imported but ``trainables`` and ``modules``, each with what lies below it.

    Raises ConflictError, naming file, values and the way out: for what is no such file, for names and settings that are not known,
    for a recipe that conflicts with itself.
    """
    data = _data(path)
    unknown = [str(key) for key in data if key not in _KEYS]
    if unknown:
        raise ConflictError(str(path), [f"{', '.join(unknown)} is not known here; a file has {', '.join(_KEYS)}"])
    if data.get("format") != FORMAT:
        raise ConflictError(
            str(path),
            [
                f"it has format {data.get('format')!r}, this version reads {FORMAT}; write it anew by the version that reads it"
            ],
        )
    said: list[str] = []
    recipe = _recipe(data.get("recipe"), "recipe", modules, said)
    entries = [_segment(entry, modules, said) for entry in _listed(data.get("earlier", []), said)]
    earlier = tuple(one for one in entries if one is not None)
    if recipe is not None:
        said += _out_of_turn([one.until for one in earlier], recipe.epochs)
    if said or recipe is None:
        raise ConflictError(str(path), said)
    return Stored(recipe=recipe, earlier=earlier)


def _data(path: Path) -> Mapping[Any, Any]:
    """The object that a file holds."""
    form = _form(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ConflictError(str(path), [f"it has {path.stat().st_size:,} bytes, a recipe at most {LARGEST:,}"])
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, object_pairs_hook=_once) if form == "json" else yaml_text.parsed(text)
    except FileNotFoundError:
        raise ConflictError(str(path), ["there is no such file; a sweep writes winner.yaml at its end"]) from None
    except OSError as error:
        raise ConflictError(str(path), [f"it cannot be read: {error.strerror}"]) from error
    except ImportError as error:
        raise ConflictError(
            str(path), ["reading YAML takes PyYAML: pip install pyyaml, or write it as .json"]
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConflictError(str(path), [f"it is not {form.upper()} ({error})"]) from error
    if not isinstance(data, Mapping):
        raise ConflictError(str(path), [f"it holds a {type(data).__name__}; a recipe begins with format: {FORMAT}"])
    return data


def _recipe(data: Any, path: str, modules: Sequence[str], said: list[str]) -> Recipe | None:
    """A recipe that is free of conflicts; None where it is not, which has been said."""
    try:
        found = decoded(data, modules)
        if not isinstance(found, Recipe):
            said.append(f"{path} is a {type(found).__name__}; it must begin with class: Recipe")
            return None
        found.check()
    except ConflictError as error:
        said += [f"{path}: {text}" for text in error.conflicts]
        return None
    return found


def _segment(entry: Any, modules: Sequence[str], said: list[str]) -> Segment | None:
    until = entry.get("until") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or type(until) is not int or set(entry) != {"until", "recipe"}:
        said.append("earlier: each entry has until, the last epoch of its segment, and a recipe")
        return None
    recipe = _recipe(entry["recipe"], f"earlier until {until}", modules, said)
    return Segment(recipe=recipe, until=until) if recipe is not None else None


def _out_of_turn(ends: Sequence[int], epochs: int) -> Iterator[str]:
    """What is wrong with the last epochs of the segments before a recipe of so many epochs."""
    for before, until in pairwise([0, *ends]):
        if not before < until < epochs:
            yield (
                f"earlier: until {until} must lie above {before} and below the recipe's {epochs} epochs; "
                "segments stand in their order"
            )


def _listed(data: Any, said: list[str]) -> list[Any]:
    if isinstance(data, list):
        return data
    said.append(f"earlier is a {type(data).__name__}; it is a list of segments")
    return []


def _form(path: Path) -> str:
    """``yaml`` or ``json``, by the file's name."""
    forms = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}
    if path.suffix not in forms:
        raise ConflictError(str(path), [f"{path.name!r} ends in {path.suffix or 'nothing'}; name it .yaml or .json"])
    return forms[path.suffix]


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no key may come twice."""
    names = [name for name, _ in pairs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{', '.join(doubled)} comes twice; keep one of the two")
    return dict(pairs)
