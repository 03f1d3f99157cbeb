"""The description that MLflow shows above a sweep's runs: the answer first."""

from __future__ import annotations

import re

from analysis import units
from analysis.ledger import Question
from analysis.redact import redact
from analysis.verdict import LevelResult, Verdict


def note(question: Question, verdict: Verdict, *, page: str) -> str:
    """Markdown: the answer, the levels best first, what was varied, where the report is, and the command."""
    goal = verdict.goal
    lines = [f"**{_text(verdict.answer)}**", ""]
    if verdict.levels:
        factor = ", ".join(units.name(path) for path in verdict.factor) or "level"
        lines += [
            f"| {_text(factor)} | rank | test {_text(goal.metric)} | {verdict.confidence:.0%} interval | finals |",
            "|---|---|---|---|---|",
            *(_row(level, goal.metric) for level in verdict.levels),
            "",
        ]
    facts = [f"Goal: {goal.mode} {goal.metric} on {question.task}."]
    if verdict.varied:
        facts.append(f"Seeds draw {', '.join(verdict.varied)}.")
    if verdict.spread is None:
        facts.append("Levels of one rank are not distinguishable.")
    lines.append(f"{_text(' '.join(facts))} [The whole answer]({page}): report.html.")
    command = question.raw.get("command")
    if command:
        lines += ["", f"    {redact(str(command))}"]
    return "\n".join(lines)


def _row(level: LevelResult, metric: str) -> str:
    spread = units.half_width(level.interval)
    mean = units.value(level.mean, metric, spread=spread)
    ends = units.interval(level.interval, lambda end: units.number(end, metric, spread=spread)) or units.DASH
    finals = str(level.n)
    parts = [f"{count} {word}" for count, word in ((level.diverged, "diverged"), (level.lost, "lost")) if count]
    if parts:
        finals += f" ({', '.join(parts)})"
    return f"| {_text(level.label)} | {level.rank_group} | {mean} | {_text(ends)} | {finals} |"


def _text(text: str) -> str:
    """Text that Markdown takes as it is: no tables, no tags, no emphasis out of a label."""
    return re.sub(r"([|<>\[\]*_`\\])", r"\\\1", text).replace("\n", " ")
