"""What the page says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.judge import judge
from analysis.ledger import read_ledger, read_question
from analysis.records import Status, Turn
from reports import page as pages
from reports.page import render, write
from reports.policy import digest
from tests.planted import planted_folder, planted_question, planted_records
from tests.reports.conftest import six_levels


class Outline(HTMLParser):
    """The words of the page, its headings in order, and what stands in its inline scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.inline: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        kind = dict(attrs).get("type")
        if tag in ("script", "style"):
            self.open.append("data" if kind == "application/json" else tag)
            self.inline.append("")
        elif tag in ("h1", "h2"):
            self.headings.append("")
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "h1", "h2"):
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.inline[-1] += data
        elif not self.open or self.open[-1] != "data":
            self.words.append(data)
            if self.open:
                self.headings[-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def html(troubled_folder: Path) -> str:
    return write(troubled_folder).read_text()


def test_the_answer_comes_first_and_all_sections_follow(html: str, troubled_folder: Path) -> None:
    answer = json.loads((troubled_folder / "verdict.json").read_text())["answer"]
    headings = [re.sub(r"\s+", " ", heading).strip() for heading in Outline(html).headings]
    assert headings[0] == answer
    assert headings[1:] == [
        "The levels",
        "Differences from 64, the best mean",
        "Time to the target",
        "What it would take to know more",
        "What the doctor sees",
        "Learning curves",
        "The search",
        "Trials that gave no answer",
        "All trials",
        "What was asked",
        "Again",
    ]


def test_it_names_goal_seeds_confidence_conditions_environment_and_commands(html: str) -> None:
    text = Outline(html).text
    for words in (
        "highest accuracy",
        "Seeds a level 8",
        "95 %",
        "initialisation, data order and split",
        "conditional on the tuned point",
        "2 diverged",
        "1 lost",
        "of 8 reached it",
        "EMA(decay=0.99)",
        "log_uniform(0.0001, 0.03)",
        "planted CPU",
        "2.13.0",
        "0123456789ab",
        "python sweeps/planted.py",
        "python -m reports ",
        "ValueError: planted",
        "train/loss is nan at epoch 3",
        "max-T",
        "after 8 seeds",
    ):
        assert words in text.replace("\u00a0", " "), words


def test_the_policy_allows_exactly_what_the_page_carries(html: str) -> None:
    outline = Outline(html)
    policy = next(
        value for tag, name, value in outline.attributes if (tag, name) == ("meta", "content") and "src" in value
    )
    inline = [text for text in outline.inline if text]
    assert len(inline) == 3
    assert sorted(re.findall(r"'sha256-[^']+'", policy)) == sorted(digest(text) for text in inline)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not [
        attribute for attribute in outline.attributes if attribute[1] == "style" or attribute[1].startswith("on")
    ]
    addresses = [value for _, name, value in outline.attributes if name in ("src", "href", "xlink:href")]
    assert all(re.fullmatch("#trial-[0-9a-f]+", address) for address in addresses)


def test_headers_have_a_scope_and_figures_are_described(html: str) -> None:
    assert len(re.findall(r"<th\b", html)) == len(re.findall(r'<th [^>]*scope="(?:col|row)"', html)) > 0
    figures = re.findall(r"<figure [^>]*aria-label=\"([^\"]+)\"", html)
    assert len(figures) == html.count("<figcaption>") == 4
    assert '<html lang="en">' in html


def test_no_secret_and_no_markup_of_others_gets_in(hostile_folder: Path) -> None:
    html = write(hostile_folder).read_text()
    assert "hunter2" not in html
    assert "hunter2" not in (hostile_folder / "verdict.json").read_text()
    assert "https://…@mlflow.example.org/#/compare" in html
    assert "<script>alert(1)" not in html
    outline = Outline(html)
    assert "img" not in {tag for tag, _, _ in outline.attributes}
    assert len([text for text in outline.inline if "display:none}" in text.replace(" ", "")]) == 0
    addresses = [value for _, name, value in outline.attributes if name == "href"]
    assert not [value for value in addresses if not value.startswith(("https:", "#trial-"))]


def test_a_sweep_under_way_says_so_and_counts_its_live_epochs(tmp_path: Path) -> None:
    records = planted_records({64: six_levels()[64], 512: six_levels()[512]})
    running = replace(records[10], status=Status.RUNNING, metrics={}, history=(), epochs=0, best_epoch=None, ended=None)
    folder = planted_folder(tmp_path / "s", [*records[:10], running], planted_question([64, 512], seeds=8))
    rows = [{"id": running.id, "row": {"epoch": epoch, "val/accuracy": 0.5}} for epoch in (1, 2, 3)]
    (folder / "live.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"id": "torn')
    text = Outline(write(folder).read_text()).text
    assert "Not finished. 8 of 8 heats and 2 of 16 finals are done, 1 under way." in text
    cells = re.search(rf"{running.id} 64 final running (.*?) What was asked", text)
    assert cells is not None
    assert " 3 " in cells.group(1)


def test_segments_of_a_population_are_not_said_to_be_stopped_early(tmp_path: Path) -> None:
    heats = planted_records({64: six_levels()[64]}, heats=6)
    bred = [replace(one, until=3) if one.status is Status.STOPPED else one for one in heats]
    some = [replace(one, until=3) if one.id == bred[1].id else one for one in heats]
    assert sum(one.status is Status.STOPPED for one in heats) > 1
    for records, words in (
        (heats, "Hollow where the heat was stopped early."),
        (bred, "Hollow where it is a segment that ends before the run does."),
        (some, "Hollow where the heat was stopped early or it is a segment that ends before the run does."),
    ):
        folder = planted_folder(tmp_path / words[-30:].replace(" ", "-"), records, planted_question([64], seeds=8))
        assert words in Outline(write(folder).read_text()).text


def test_a_setting_that_changes_in_mid_run_is_shown_with_its_course(tmp_path: Path) -> None:
    turns = tuple(
        Turn(until=until, point={"batch_size": 64, "optimizer.lr": rate, "clip.norm": 1.0})
        for until, rate in ((2, 0.5), (4, 0.25))
    )
    records = [
        replace(one, point={**one.point, "clip.norm": 1.0}, earlier=turns) if one.stage == "final" else one
        for one in planted_records({64: six_levels()[64]})
    ]
    html = write(planted_folder(tmp_path / "s", records, planted_question([64], seeds=8))).read_text()
    assert 'title="optimizer.lr, changed after epoch 2, 4"><i>lr</i> 0.5 → 0.25 → 1e-3</span>' in html
    assert 'title="clip.norm"><i>norm</i> 1</span>' in html


@pytest.mark.parametrize("finals", [0, 3])
def test_few_or_no_finals(tmp_path: Path, finals: int) -> None:
    records = planted_records({level: values[: max(finals, 1)] for level, values in six_levels().items()})
    records = [record for record in records if finals or record.stage == "heat"]
    text = Outline(
        write(planted_folder(tmp_path, records, planted_question(list(six_levels()), seeds=8))).read_text()
    ).text
    assert "Not finished." in text


def test_an_empty_ledger_and_a_question_that_says_little(tmp_path: Path) -> None:
    question = {
        name: value
        for name, value in planted_question([16, 32], seeds=8).items()
        if name in ("sweep", "task", "goal", "factors", "seeds", "vary")
    }
    folder = planted_folder(tmp_path, [], question)
    text = Outline(write(folder).read_text()).text
    assert "0 heats and 0 of 16 finals are done." in text
    assert "The ledger holds no trial yet." in text


def test_keys_it_does_not_know_and_values_of_another_shape_do_no_harm(tmp_path: Path) -> None:
    question = planted_question([16, 32], seeds=8) | {
        "invented": [{"a": 1}],
        "hardware": "a box",
        "versions": None,
        "differences": None,
        "recipe": None,
        "space": None,
        "tracking": "none",
        "trials": None,
    }
    records = planted_records({16: [0.9] * 8, 32: [0.8] * 8})
    assert "a box" in write(planted_folder(tmp_path, records, question)).read_text()


def test_a_sweep_without_factors(tmp_path: Path) -> None:
    records = [
        replace(record, level={}, point={"optimizer.lr": record.point["optimizer.lr"]})
        for record in planted_records({64: six_levels()[64]})
    ]
    question = planted_question([], seeds=8) | {"factors": []}
    text = Outline(write(planted_folder(tmp_path, records, question)).read_text()).text
    assert "The result" in text
    assert "Not finished" not in text


def test_two_searched_holes_are_drawn_in_parallel_and_one_is_not(tmp_path: Path) -> None:
    records = planted_records({16: [0.9] * 8, 32: [0.8] * 8}, heats=6)
    second = [
        replace(record, point={**record.point, "optimizer": "AdamW" if index % 3 else "SGD"})
        for index, record in enumerate(records)
    ]
    question = planted_question([16, 32], seeds=8)
    assert 'id="parallel"' not in write(planted_folder(tmp_path, records, question)).read_text()
    assert 'id="parallel"' in write(planted_folder(tmp_path, second, question)).read_text()


def test_many_trials_are_reduced_and_the_page_says_so(tmp_path: Path) -> None:
    records = planted_records({level: values * 2 for level, values in six_levels(2).items()}, heats=60)
    folder = planted_folder(tmp_path, records, planted_question(list(six_levels()), seeds=4))
    question, known = read_question(folder), read_ledger(folder)
    html = render(question, known, judge(question, known))
    assert "Drawn are the best 30 and 60 of the others at random; 270 are left out." in html
    assert html.count('<tr><th scope="row"><code>') == len(known)  # the table has them all
    assert f"<summary>{len(known)} trials</summary>" in html


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    pages.replace(path, "before")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pages.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        pages.replace(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
