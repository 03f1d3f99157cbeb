"""The description that MLflow shows above a sweep's runs: the answer first."""

from __future__ import annotations

import re

from analysis.ledger import Question
from analysis.redact import redact
from analysis.verdict import Interval, LevelResult, Verdict


def note(question: Question, verdict: Verdict) -> str:
    """Markdown: the answer, the levels best first, what was varied, and the command."""
    goal = verdict.goal
    lines = [f"**{_text(verdict.answer)}**", ""]
    factor = ", ".join(verdict.factor)
    if verdict.levels:
        lines += [
            f"| rank | {_text(factor) or 'level'} | test {_text(goal.metric)} | {verdict.confidence:.0%} interval | finals |",
            "|---:|---|---:|---|---:|",
            *(_row(level) for level in verdict.levels),
            "",
        ]
    facts = [f"Goal: {goal.mode} {goal.metric} on `{question.task}`."]
    if verdict.varied:
        facts.append(f"Seeds draw {', '.join(verdict.varied)}.")
    facts.append("Levels of one rank are not distinguishable; the whole answer is `report.html` in the artifacts.")
    lines.append(_text(" ".join(facts)))
    command = question.raw.get("command")
    if command:
        lines += ["", f"    {redact(str(command))}"]
    return "\n".join(lines)


def _row(level: LevelResult) -> str:
    mean = "–" if level.mean is None else f"{level.mean:.4g}"
    finals = str(level.n)
    if level.diverged or level.lost:
        finals += f" ({level.diverged} diverged, {level.lost} lost)"
    return f"| {level.rank_group} | {_text(level.label)} | {mean} | {_interval(level.interval)} | {finals} |"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    low, high = ("…" if end is None else f"{end:.4g}" for end in interval)
    return f"[{low}, {high}]"


def _text(text: str) -> str:
    """Text that Markdown takes as it is: no tables, no tags, no emphasis out of a label."""
    return re.sub(r"([|<>\[\]*_])", r"\\\1", text).replace("\n", " ")
