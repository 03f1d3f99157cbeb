"""From the ledger to findings: each level's finals are looked at together, then what all levels have is said once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from analysis.doctor import cost, learning, motion, runs
from analysis.doctor.course import Course, Group, ended
from analysis.doctor.finding import Disease, Finding
from analysis.finals import Finals, gather
from analysis.ledger import Question
from analysis.records import Scalar, Stage, TrialRecord

Rule = Callable[[Group], Finding | None]

DEADLY: Sequence[Rule] = (motion.divergence, learning.no_progress)
"""Where one of these holds, the curves say nothing more."""

RULES: Sequence[tuple[Rule, ...]] = (
    (motion.oscillation, motion.spikes),
    (learning.overfitting, learning.apart, learning.too_short),
    (motion.gradients,),
    (runs.seeds,),
)
"""Of each row the first that holds counts: one would be another's symptom."""

COSTS: Sequence[Rule] = (cost.slow_input, cost.idle_device)


def examine(
    question: Question, records: Sequence[TrialRecord], *, waits: Mapping[str, float] | None = None
) -> list[Finding]:
    """What is wrong with the runs of a sweep, the surest and weightiest first; empty where all is well, or nothing has finished.

    Finals at the tuned point are what is judged: a heat that diverges or creeps is how a search learns its range. Of the heats it
    is only said where many were wasted. ``waits`` are the shares of the time in which trials waited for their input, by id, where
    they were profiled (``cost.waits`` reads them).
    """
    levels = gather(question, records)
    findings = [one for level in levels for one in _of_level(_group(question, level, waits or {}), level, records)]
    known = [level for level in levels if level.finished]
    findings = [*_merged(findings, levels), *runs.ends(question, known, records)]
    return sorted(findings, key=lambda one: -one.weight)


def _of_level(group: Group, level: Finals, records: Sequence[TrialRecord]) -> Iterator[Finding]:
    """The findings of one level."""
    deadly = next((one for rule in DEADLY if group.size and (one := rule(group)) is not None), None)
    if deadly is not None:
        yield deadly
    whole = _without(group, deadly)
    if whole.courses:
        for row in RULES:
            first = next((one for rule in row if (one := rule(whole)) is not None), None)
            if first is not None:
                yield first
        yield from (one for rule in COSTS if (one := rule(group)) is not None)
    heats = [one for one in records if one.stage is Stage.HEAT and dict(one.level) == dict(level.level)]
    waste = runs.wasted(group, heats)
    if waste is not None:
        yield waste


def _without(group: Group, deadly: Finding | None) -> Group:
    """The group without the runs that a deadly disease explains; none where it has most of them."""
    if deadly is None:
        return group
    left = [course for course in group.courses if course.id not in deadly.trials]
    return replace(group, courses=left if 2 * len(left) > group.size else [])


def _group(question: Question, level: Finals, waits: Mapping[str, float]) -> Group:
    """A level's finals with its settings."""
    courses = [
        Course.of(level.finished[seed], question.goal) for seed in sorted(level.finished) if ended(level.finished[seed])
    ]
    courses = [course for course in courses if course.rows]
    return Group(
        question=question,
        label=level.label,
        settings=_settings(question, level.point),
        spaces=_spaces(question, level.level),
        courses=courses,
        diverged=[level.diverged[seed] for seed in sorted(level.diverged)],
        scores=runs.scores(level.finished, level.scores, courses),
        waits={course.id: waits[course.id] for course in courses if course.id in waits},
    )


def _settings(question: Question, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The recipe's settings by path, those of the resources too, the point's own in place of what it fills."""
    written, resources = question.raw.get("recipe"), question.raw.get("resources")
    found: dict[str, Scalar] = dict(written) if isinstance(written, Mapping) else {}
    found |= {f"resources.{path}": value for path, value in resources.items()} if isinstance(resources, Mapping) else {}
    return found | dict(point)


def _spaces(question: Question, level: Mapping[str, Scalar]) -> dict[str, str]:
    """What is searched at a level, in words, by path."""
    spaces = question.raw.get("spaces")
    if isinstance(spaces, list) and len(spaces) == len(question.levels):
        own = [space for space, named in zip(spaces, question.levels, strict=True) if named == dict(level)]
        return {str(path): str(text) for path, text in own[0].items()} if own else {}
    space = question.raw.get("space")
    return {str(path): str(text) for path, text in space.items()} if isinstance(space, Mapping) else {}


def _merged(findings: Sequence[Finding], levels: Sequence[Finals]) -> Iterator[Finding]:
    """What several levels have is said once, where one change would do for them or all have it: by the one that has it worst."""
    there = {level.label for level in levels if level.finished or level.diverged}
    for disease in Disease:
        own = [one for one in findings if one.disease is disease]
        everywhere = len(there) > 1 and len(own) == len(there) == len({one.level for one in own})
        for change in dict.fromkeys("" if everywhere else one.change for one in own):
            alike = [one for one in own if everywhere or one.change == change]
            yield alike[0] if len(alike) == 1 else _together(alike, len(there))


def _together(alike: Sequence[Finding], levels: int) -> Finding:
    """One finding for several levels; it has no level of its own."""
    worst = max(alike, key=lambda one: one.weight)
    names = ", ".join(str(one.level) for one in alike)
    where = f"all {levels} levels" if len(alike) == levels else f"{len(alike)} of {levels} levels ({names})"
    return replace(
        worst,
        level=None,
        trials=tuple(trial for one in alike for trial in one.trials),
        of=sum(one.of for one in alike),
        evidence=f"at {where}; at {worst.level}: {worst.evidence}",
    )
