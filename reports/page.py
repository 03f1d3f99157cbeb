"""The answer as one self-contained HTML page."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis import units
from analysis.ledger import Question, read_ledger, read_question
from analysis.records import Stage, TrialRecord
from analysis.redact import redact, redact_all
from analysis.target import apart
from analysis.verdict import Verdict, bounded
from reports import doctor, ensemble, facts, figures, front, profile, scaling, spread, step_chart, trials
from reports.bundle import javascript
from reports.effects import differences, speeds, without_speed
from reports.labels import Labels
from reports.levels import level_table
from reports.palette import swatches, swatches_dark
from reports.policy import policy
from reports.remarks import remarks
from reports.tally import tally
from reports.under_way import with_live_epochs

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
FOLDED = 40
"""A table of trials longer than this starts folded."""


def render(question: Question, records: Sequence[TrialRecord], verdict: Verdict, *, folder: str | None = None) -> str:
    """The whole page as HTML; ``folder`` is what the command that renders it again names, and where an ensemble may lie."""
    from markupsafe import Markup

    labels = Labels.of(question, records, verdict)
    learning = figures.learning(question, records, labels)
    learning += step_chart.section(Path(folder) if folder is not None else None, records, labels)
    search = figures.search(question, records, labels)
    scaled, traded = scaling.section(question, verdict, labels), front.section(question, records, labels)
    spreads = spread.section(verdict, labels)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    together = ensemble.section(Path(folder), labels) if folder is not None else None
    timed = profile.section(Path(folder), records, labels) if folder is not None else None
    drawn = learning or search or scaled or spreads or traded or (together and together.chart)
    scripts = [javascript(), script] if drawn else [script]
    style = _style()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy=Markup(policy(scripts=scripts, styles=[style])),
            style=Markup(style),
            scripts=[Markup(text) for text in scripts],
            question=question,
            verdict=verdict,
            confidence=f"{100 * verdict.confidence:g}\u00a0%",
            answer=_clauses(verdict.answer),
            needs=_needs(verdict),
            varied=_listed([units.DRAWN.get(name, name) for name in verdict.varied]),
            one_split="split" in question.varied and "split" not in verdict.varied,
            conditional=_listed(
                [f"this {units.DRAWN[name]}" if name in units.DRAWN else name for name in verdict.fixed]
            ),
            target=units.target(question.goal.target, question.goal.metric),
            smallest_gap=_gap(verdict),
            tally=tally(question, records),
            scaling=scaled,
            spread=spreads,
            ranked=verdict.spread is None,
            front=traded,
            ensemble=together,
            doctor=doctor.section(question, records, labels, folder),
            profile=timed,
            also=front.named(question),
            levels=level_table(verdict, labels),
            remarks=remarks(question, verdict, records),
            sought=question.raw.get("trials") != 0,
            against_best=differences(verdict, labels, best_only=True),
            all_pairs=differences(verdict, labels, best_only=False),
            speeds=speeds(verdict, labels, quickest_only=True),
            apart=apart(labels.grouped([record for record in records if record.stage is Stage.FINAL]).values()),
            all_speeds=speeds(verdict, labels, quickest_only=False),
            without_speed=without_speed(verdict),
            learning=learning,
            search=search,
            trial_head=trials.head(records, question.goal),
            trial_rows=trials.rows(records, question.goal, labels),
            lost=trials.rows(trials.lost(records), question.goal, labels),
            folded=len(records) > FOLDED,
            differences=facts.differences(question),
            recipe=facts.recipe(question),
            searched=facts.searched(question) if question.raw.get("trials") != 0 else [],
            environment=facts.environment(question, records),
            commands=facts.commands(question, folder),
            links=facts.links(question),
        )
    )


def write(folder: Path) -> Path:
    """Judge what the folder holds, write ``report.html`` and ``verdict.json`` there, and give the page's path.

    Both are replaced whole: a reader, or a crash, meets the old file or the new one. Raises FolderError for a folder that holds no
    sweep.
    """
    from analysis.judge import judge

    question = read_question(folder)
    records = read_ledger(folder)
    verdict = judge(question, records)
    page = render(question, with_live_epochs(folder, records), verdict, folder=str(folder))
    replace(folder / "verdict.json", json.dumps(redact_all(verdict.to_json()), indent=1, allow_nan=False) + "\n")
    return replace(folder / "report.html", page)


def replace(path: Path, text: str) -> Path:
    """Write a file whole: into a temporary one beside it, synced, then renamed over it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _clauses(answer: str) -> tuple[str, str]:
    """The leading clause of the answer, and the rest of it."""
    lead, separator, rest = _unbroken(answer).partition("; ")
    return lead + separator.strip(), rest


def _unbroken(text: str) -> str:
    """The text with a number and its unit, a p-value and an interval each kept on one line."""
    return re.sub(r" (?=%)|(?<=[=≥<]) (?=\d)|(?<=p) (?=[=≥<])|(?<=\d,) (?=[−\d.]+\])", "\u00a0", text)


def _needs(verdict: Verdict) -> str:
    why = verdict.needs.why
    if verdict.needs.seeds is None:
        return f"{why[:1].upper()}{why[1:]}."
    # Without an interval the number is the fewest that give one; else it is an estimate.
    groups = verdict.spread.groups if verdict.spread is not None else []
    spreads = [source.interval for group in groups for source in group.all]
    known = any(bounded(ends) for ends in (*(pair.interval for pair in verdict.comparisons), *spreads))
    return f"{'About' if known else 'At least'} {verdict.needs.seeds} seeds a level: {why}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _gap(verdict: Verdict) -> str:
    gap = verdict.smallest_detectable_gap
    return "" if gap is None else units.gap(gap, verdict.goal.metric)


def _style() -> str:
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    dark = swatches_dark()
    return f"{css}\n{swatches()}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return redact(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # whatever a template is called
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
