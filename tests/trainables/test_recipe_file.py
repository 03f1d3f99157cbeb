"""Recipes as files: what is written is read back, and nothing else is let in."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum, StrEnum
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import trainables
from tests.trainables.test_every_field import CHANGED
from trainables import (
    SGD,
    AdamW,
    Augmentations,
    Balanced,
    ClipNorm,
    Clips,
    ClipValue,
    ConflictError,
    Constraint,
    CrossEntropy,
    Curriculum,
    Embedded,
    InMemory,
    LinearScaling,
    Maximise,
    MeanSquaredError,
    Minimise,
    Mirror,
    Noise,
    PerWorker,
    Plan,
    Recipe,
    SampleWeighted,
    Seeds,
    Shape,
    Splits,
    SquareRootScaling,
    Stacked,
    Sum,
    Task,
    WholeSet,
    accuracy,
    models,
)
from trainables.course import Segment
from trainables.describe import plain
from trainables.models import MLP
from trainables.presets import SHIPPED, Purpose, preset
from trainables.recipe_file import FORMAT, read, write
from trainables.recipe_values import decoded, encoded, modules
from trainables.yaml_text import parsed, written

HERE = __name__


class Colour(Enum):
    RED = 1
    BLUE = 2


class Word(StrEnum):
    YES = "yes"


def scaled(output: Any, target: Any, factor: float = 1.0) -> Any:
    return factor * (output - target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Net:
    """A model of one's own, with settings of every kind that a file can hold."""

    width: int = 8
    colour: Colour = Colour.RED
    word: Word = Word.YES
    inner: MLP | None = None
    call: Callable[..., Any] = scaled
    kind: type = SGD
    place: Path = Path("x/y")
    names: frozenset[str] = frozenset()
    table: Any = None
    text: str = ""
    number: float = 0.0

    def build(self) -> Any:
        return MLP(inputs=1, outputs=1).build()


@dataclass(frozen=True, kw_only=True, slots=True)
class Strict:
    """Refuses what it is given."""

    width: int

    def __post_init__(self) -> None:
        raise ValueError(f"width {self.width} is never right")


FULL = Net(
    width=3,
    colour=Colour.BLUE,
    inner=MLP(widths=(4, 5)),
    call=partial(scaled, factor=2.0),
    kind=AdamW,
    place=Path("a/b"),
    names=frozenset({"b", "a"}),
    table={"x": (1, 2.5), 3: [True, None]},
    text='a: "b" # c\n\u2028é😀',
    number=math.inf,
)

NEEDED: Mapping[type, Any] = {
    ClipNorm: ClipNorm(1.0),
    ClipValue: ClipValue(0.5),
    Constraint: Constraint(groups=((0, 1), (2, 3))),
    Clips: Clips(ClipValue(0.5), ClipNorm(1.0)),
    PerWorker: PerWorker(64),
    Augmentations: Augmentations(Mirror(), Noise(std=0.1)),
    LinearScaling: LinearScaling(64),
    SquareRootScaling: SquareRootScaling(64),
    SampleWeighted: SampleWeighted(CrossEntropy()),
    Sum: Sum(MeanSquaredError(), CrossEntropy()),
    Stacked: Stacked(front=MLP(widths=(4,)), head=MLP()),
    Recipe: Recipe(model=MLP()),
}
"""Parts whose settings have no defaults."""

OTHERS = {Task, Splits, Shape, InMemory, Plan, Embedded, Maximise, Minimise, WholeSet}
"""What is no part of a recipe."""

PUBLIC = {getattr(module, name) for module in (trainables, models) for name in module.__all__}
PARTS = sorted(
    (one for one in PUBLIC if isinstance(one, type) and is_dataclass(one) and one not in OTHERS),
    key=lambda one: one.__name__,
)


def through(value: Any, *own: str) -> Any:
    """A value through the text of a file, in both forms."""
    data = encoded(value)
    assert parsed(written({"it": data})) == {"it": data} == yaml.safe_load(written({"it": data}))
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    return decoded(data, own)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_shipped_part_comes_back(part: type) -> None:
    """As it stands, and with each of its numbers changed, so that no setting is left out."""
    one = NEEDED[part] if part in NEEDED else part()
    assert through(one) == one
    assert plain(through(one)) == plain(one)
    for field in fields(one):
        value = getattr(one, field.name)
        if field.init and type(value) in (int, float, bool):
            other = replace(one, **{field.name: not value if isinstance(value, bool) else value + 1})
            assert plain(through(other)) == plain(other) != plain(one)


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.__name__)
@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_every_preset_comes_back(purpose: Purpose, model: Any) -> None:
    for device in ("cpu", "cuda"):
        recipe = preset(purpose, model(), device=device)  # type: ignore[arg-type]
        assert plain(through(recipe)) == plain(recipe)


@pytest.mark.parametrize("name", CHANGED)
def test_every_field_of_the_recipe_comes_back(name: str) -> None:
    recipe = replace(Recipe(model=MLP()), **{name: CHANGED[name]})
    assert plain(through(recipe, "tests")) == plain(recipe)


def test_settings_of_every_kind_come_back() -> None:
    found = through(FULL, HERE)
    assert replace(found, call=scaled) == replace(FULL, call=scaled)
    assert (found.call.func, found.call.keywords) == (scaled, {"factor": 2.0})
    assert type(found.colour) is Colour
    assert plain(found) == plain(FULL)
    assert math.isnan(through(Net(number=math.nan), HERE).number)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_what_is_written_as_yaml_is_read_by_us_and_by_others(value: Any) -> None:
    text = written({"it": value})
    assert parsed(text) == {"it": value}
    assert yaml.safe_load(text) == {"it": value}


def test_yaml_is_read_as_it_is_meant() -> None:
    text = "lr: 1e-3\nb: no\nc: 1:30\nd: ~\ne: [0x10, .5, '7', True]\nf: -3\n# a remark\ng:\n"
    assert parsed(text) == {
        "lr": 0.001, "b": "no", "c": "1:30", "d": None, "e": ["0x10", 0.5, "7", True], "f": -3, "g": None
    }  # fmt: skip
    for broken, said in (
        ("a: 1\na: 2\n", "line 2, column 1: 'a' comes twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1, column 4: the tag"),
        ("a: &x [1]\nb: *x\n", "anchor"),
        ("a: [1\n", "line 2"),
        ("? [1]\n: 2\n", "a key is no text"),
        ("a: " + "[" * 5000, "too deeply"),
    ):
        with pytest.raises(ValueError, match=said):
            parsed(broken)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_file_holds_recipe_segments_and_remarks(tmp_path: Path, form: str) -> None:
    recipe = Recipe(model=FULL, optimizer=SGD(lr=1e-5), seed=Seeds(init=1))
    earlier = [Segment(recipe=replace(recipe, optimizer=SGD(lr=0.1)), until=3)]
    path = write(tmp_path / f"it.{form}", recipe, earlier=earlier, about=["A word\nof two lines."])
    stored = read(path, modules=[HERE])
    assert plain(stored.recipe) == plain(recipe)
    assert [(one.until, one.recipe.optimizer.lr) for one in stored.earlier] == [(3, 0.1)]
    assert "of two lines." in path.read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert modules(recipe) == [HERE]


def test_a_file_written_by_hand_may_leave_out_what_is_usual(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(
        f"format: {FORMAT}\nrecipe:\n  class: Recipe\n  model: {{class: MLP, widths: [32]}}\n"
        "  optimizer: {class: AdamW, lr: 3e-3}\n"
    )
    assert read(path).recipe == Recipe(model=MLP(widths=(32,)), optimizer=AdamW(lr=3e-3))


def refused(path: Path, text: str, *own: str) -> str:
    path.write_text(text)
    with pytest.raises(ConflictError) as raised:
        read(path, modules=own)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_what_is_not_known_is_refused_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    said = refused(
        path,
        f"format: {FORMAT}\nrecipe:\n  class: Recipe\n  model: {{class: MPL}}\n  optimizer: {{class: AdamW, lrr: 1}}\n"
        "  clip: {class: ClipNorm}\n"
        "  stop: {patience: 3}\n  colour: red\n",
    )
    for words in (
        "model: 'MPL' does not come with trainables (MLP",
        "optimizer: AdamW has no setting 'lrr'; did you mean lr?",
        "clip: ClipNorm needs norm",
        "stop holds patience, but not its class",
        "Recipe has no setting 'colour'; it has model, batch_size",
    ):
        assert words in said, words
    begun = f"format: {FORMAT}\nrecipe:\n  class: Recipe\n  model: "
    assert "batch_size 0 must be a whole number" in refused(path, f"{begun}{{class: MLP}}\n  batch_size: 0\n")
    assert "never right" in refused(path, f"{begun}{{class: {json.dumps(HERE + ':Strict')}, width: 3}}\n", HERE)
    assert "has no 'GREEN'; it has RED, BLUE" in refused(
        path, f'{begun}{{class: "{HERE}:Net", colour: {{enum: "{HERE}:Colour", member: GREEN}}}}\n', HERE
    )
    assert "it has format 7, this version reads" in refused(path, "format: 7\n")
    assert "recipes is not known here" in refused(path, f"format: {FORMAT}\nrecipes: 1\n")
    assert "recipe is a MLP; it must begin with class: Recipe" in refused(
        path, f"format: {FORMAT}\nrecipe: {{class: MLP}}\n"
    )
    assert "it is not YAML (line" in refused(path, "a: [\n")
    assert "it holds a list" in refused(path, "- 1\n")
    assert "comes twice" in refused(tmp_path / "x.json", '{"format": 1, "format": 1}')
    assert "bytes, a recipe at most 1,000,000" in refused(path, f"format: {FORMAT}\n# {1_000_000 * 'x'}\n")
    with pytest.raises(ConflictError, match="there is no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(ConflictError, match=r"ends in .txt; name it .yaml or .json"):
        read(tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed: x", "seed 'x' stands where int or Seeds belongs"),
        ("seed: 1.5", "seed 1.5 stands where int or Seeds belongs"),
        ("hooks: 3", "hooks 3 stands where a list of Hook belongs"),
        ("freeze: 3", "freeze 3 stands where a list of str belongs"),
        ("freeze: [3]", "freeze (3,) stands where a list of str belongs"),
        ("schedule:", "schedule None stands where Schedule belongs"),
        ("optimizer:", "optimizer None stands where Optimizer belongs"),
        ("micro_batch: auto", "micro_batch 'auto' stands where int or Auto or null belongs"),
        ("deterministic: 1", "deterministic 1 stands where bool belongs"),
        ("epochs: true", "epochs True stands where int belongs"),
        ("optimizer: {class: AdamW, lr: fast}", "optimizer.lr 'fast' stands where float belongs"),
        (
            "model: {class: MLP, activation: {class: MLP, widths: 3}}",
            "model.activation.widths 3 stands where a list of int",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_place(tmp_path: Path, setting: str, said: str) -> None:
    """Whoever builds a recipe in code has a type checker for that."""
    begun = "" if setting.startswith("model") else "  model: {class: MLP}\n"
    assert said in refused(tmp_path / "x.yaml", f"format: {FORMAT}\nrecipe:\n  class: Recipe\n{begun}  {setting}\n")


def test_numbers_may_be_whole_and_one_s_own_parts_are_taken_at_their_word() -> None:
    assert decoded({"class": "AdamW", "lr": 1}) == AdamW(lr=1)
    assert decoded({"class": f"{HERE}:Net", "width": 0.5}, [HERE]).width == 0.5


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("[0]", "earlier: until 0 must lie above 0 and below the recipe's 20 epochs"),
        ("[4, 4]", "earlier: until 4 must lie above 4 and below"),
        ("[8, 3]", "earlier: until 3 must lie above 8 and below"),
        ("[20]", "earlier: until 20 must lie above 0 and below the recipe's 20 epochs; segments stand in their order"),
        ("[true]", "earlier: each entry has until, the last epoch of its segment"),
    ],
)
def test_segments_follow_one_another_before_the_recipe_s_end(tmp_path: Path, ends: str, said: str) -> None:
    recipe = "{class: Recipe, model: {class: MLP}}"
    entries = "".join(f"  - {{until: {end}, recipe: {recipe}}}\n" for end in ends.strip("[]").split(", "))
    assert said in refused(tmp_path / "x.yaml", f"format: {FORMAT}\nrecipe: {recipe}\nearlier:\n{entries}")


def test_no_code_is_run_that_was_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not allowed is not even imported, and of one that is nothing is called but its dataclasses."""
    (tmp_path / "foreign.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        f"def touch(**_):\n    Path({str(tmp_path / 'called')!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "x.yaml"

    def model(text: str, *own: str) -> str:
        return refused(path, f"format: {FORMAT}\nrecipe: {{class: Recipe, model: {text}}}\n", *own)

    assert "foreign, which may not be imported; if you trust its code" in model('{class: "foreign:touch"}')
    assert "os, which may not be imported" in model('{reference: "os:system"}')
    assert not (tmp_path / "ran").exists()
    assert "is no dataclass, and nothing else is called" in model('{class: "foreign:touch"}', "foreign")
    assert (tmp_path / "ran").exists()
    assert not (tmp_path / "called").exists()
    assert "is pathlib's, which may not be imported" in model('{reference: "foreign:Path"}', "foreign")
    assert "no class or function 'json.loads'" in model('{reference: "trainables.describe:json.loads"}')
    assert "has no class or function '__loader__'" in model('{reference: "trainables.describe:__loader__"}')
    assert "does not come with trainables" in model("{class: eval}")


def unnamed() -> Any:
    return lambda output, target: output - target


class Bare:
    """No dataclass."""


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Inside:
        width: int = 1

    recipe = Recipe(model=Inside(), loss=unnamed(), hooks=(Bare(), Bare.__init__))  # type: ignore[arg-type]
    with pytest.raises(ConflictError) as raised:
        write(tmp_path / "x.yaml", recipe)
    said = str(raised.value)
    assert "model is test_what_cannot_be_written_is_named.<locals>.Inside, which is made inside a function" in said
    assert "loss is unnamed.<locals>.<lambda>" in said
    assert f"hooks.0 is a {HERE}.Bare, which has no form in a file" in said
    assert list(tmp_path.iterdir()) == []
    for secret in (Net(text="postgresql://me:hunter2@db/x"), partial(scaled, api_key="hunter2")):
        with pytest.raises(ConflictError, match="is a credential") as raised:
            encoded(Recipe(model=secret))  # type: ignore[arg-type]
        assert "hunter2" not in str(raised.value)
    assert through(Recipe(model=MLP(), loss=accuracy)).loss is accuracy  # type: ignore[arg-type, comparison-overlap]


def quiet(epochs: Iterator[Any]) -> Iterator[Any]:
    yield from epochs


def test_functions_are_referred_to_by_name() -> None:
    data = encoded((quiet, Curriculum, Balanced(groups=quiet)))  # type: ignore[arg-type]
    assert data[0] == {"reference": f"{HERE}:quiet"}
    assert data[1] == {"reference": "Curriculum"}
    assert decoded(data, [HERE])[2].groups is quiet


def test_a_script_s_own_class_is_found_again_by_the_script_and_by_others(tmp_path: Path) -> None:
    """In the file it has the script's name; the script finds its own class, a program beside it imports the script."""
    script, other = tmp_path / "mine.py", tmp_path / "other.py"
    script.write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\nfrom trainables import Recipe\n"
        "from trainables.recipe_file import read, write\n"
        "@dataclass(frozen=True)\nclass Net:\n    width: int = 3\n    def build(self): ...\n"
        "if __name__ == '__main__':\n"
        "    path = write(Path('mine.yaml'), Recipe(model=Net(5)))\n"
        "    assert read(path, modules=['mine']).recipe.model == Net(5)\n"
    )
    other.write_text(
        "from pathlib import Path\nfrom trainables.recipe_file import read\n"
        "print(read(Path('mine.yaml'), modules=['mine']).recipe.model)\n"
    )
    for program in (script, other):
        done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
    assert "mine:Net" in (tmp_path / "mine.yaml").read_text()
    assert "Net(width=5)" in done.stdout
