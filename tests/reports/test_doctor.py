"""What the doctor sees, on the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from analysis.doctor import Disease
from analysis.doctor.planted import planted
from reports.page import write
from tests.planted import planted_folder, planted_question
from tests.reports.test_page import Outline


def page(folder: Path, disease: Disease | None, seed: int = 3) -> str:
    case = planted(disease, np.random.default_rng(seed))
    question = planted_question([], seeds=case.question.seeds, target=None) | {"factors": []} | case.question.raw
    return write(planted_folder(folder, case.records, question)).read_text()


@pytest.mark.parametrize("disease", [Disease.OVERFITTING, Disease.DIVERGENCE, Disease.NO_PROGRESS])
def test_findings_stand_there_with_links_to_their_trials(tmp_path: Path, disease: Disease) -> None:
    html = page(tmp_path, disease)
    outline = Outline(html)
    assert "What the doctor sees" in outline.headings
    section = html[html.index('id="doctor"') : html.index("</section>", html.index('id="doctor"'))]
    assert disease.value.capitalize() in section
    linked = re.findall(r'href="#(trial-[^"]+)"', section)
    assert linked
    assert all(f'id="{target}"' in html for target in linked)


def test_a_healthy_sweep_has_no_such_section(tmp_path: Path) -> None:
    assert "What the doctor sees" not in page(tmp_path, None)


def test_an_end_of_a_range_is_said_once(tmp_path: Path) -> None:
    html = page(tmp_path, Disease.EDGE)
    assert "What the doctor sees" not in html
    assert Outline(html).text.count("tuned to the upper end") == 1
