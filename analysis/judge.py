"""From the ledger to the verdict: which levels are best, which differences are real, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis import spread_answer, units
from analysis.answer import sentence
from analysis.finals import Finals, gather, shared_seeds
from analysis.front import front, second_goal
from analysis.heats import without_finals
from analysis.ledger import Goal, Question
from analysis.looks import CONFIDENCE, Occasion, declared_looks, occasion
from analysis.power import MOST_SEEDS, equivalent_tests, seeds_needed
from analysis.records import Stage, TrialRecord
from analysis.scaling import scaling
from analysis.signflip import EXACT_UP_TO, FlipTest, compare, fewest_seeds, mean_interval, sign_patterns
from analysis.sources import sources
from analysis.spread import VARY, spread
from analysis.target import compare_speed, cost_to_target, like_with_like
from analysis.verdict import Comparison, Interval, LevelResult, Needs, Verdict

DRAWN = ("init", "order", "split")
"""What a final's seed can draw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """The levels that can be compared, best first, on the seeds that count now; ``pairs`` index them, ``test`` has a row each.

    ``left_out`` are seeds that some level finished and another lost, ``waiting`` those beyond the look that counts.
    """

    levels: Sequence[Finals]
    seeds: Sequence[int]
    occasion: Occasion
    pairs: Sequence[tuple[int, int]]
    test: FlipTest | None
    left_out: Sequence[int]
    waiting: int

    def distinguishable(self, a: int, b: int) -> bool:
        """True when the interval of the difference of two levels, by their places, excludes 0."""
        if self.test is None:
            return False
        return bool(self.test.distinguishable[self.pairs.index((min(a, b), max(a, b)))])


def judge(question: Question, records: Sequence[TrialRecord], *, confidence: float = CONFIDENCE) -> Verdict:
    """The verdict on the finals of a sweep; without a final that finished, one that says so.

    Levels come in three parts: those that can be compared, best mean first; those without a finished final; those with a
    diverged one, the most diverged last. Means are compared on the seeds that all comparable levels finished, seed by seed
    (``signflip``); a rank group is a best level with all that cannot be told from it. ``confidence`` is that of the family
    of all comparisons over all looks; speed and scaling are families of their own. Levels whose seeds draw different things are
    not compared, but how far their scores spread is told. Raises ValueError for a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: it lies between 0 and 1; set it to, say, {CONFIDENCE}")
    alpha = round(1 - confidence, 12)
    finals = gather(question, records)
    contest = _contest(question, finals, alpha)
    silent = [level for level in finals if not level.finished and not level.diverged]
    diverged = sorted(
        (level for level in finals if level.diverged),
        key=lambda level: (level.share_diverged, _worse_last(level.mean, question.goal)),
    )
    timed = like_with_like(finals)
    spreads = spread(question, finals, seeds=contest.seeds, alpha=contest.occasion.alpha)
    results = [
        _result(level, group, question.goal, timed=timed, confidence=confidence)
        for level, group in zip([*contest.levels, *silent, *diverged], _groups(contest, silent, diverged), strict=True)
    ]
    seeds, varied = contest.seeds, _varied(question, records)
    verdict = Verdict(
        sweep=question.sweep,
        goal=question.goal,
        factor=tuple(question.factors),
        levels=results,
        comparisons=_comparisons(contest),
        speed=compare_speed(contest.levels, question.goal, seeds, alpha=contest.occasion.alpha)
        if timed and spreads is None
        else [],
        varied=varied,
        fixed=(*(what for what in DRAWN if what not in varied), _point(question)),
        method=_method(contest) if spreads is None else spread_answer.method(spreads),
        looks=contest.occasion.looks,
        smallest_detectable_gap=_smallest_gap(contest),
        answer="",
        confidence=confidence,
        needs=_needs(
            contest, _needed_seeds(contest, question.goal) if spreads is None else spread_answer.needs(spreads)
        ),
        scaling=scaling(question, finals, seeds=seeds, alpha=contest.occasion.alpha),
        spread=spreads,
        also=second_goal(question),
        front=front(question, records),
        sources=sources(records),
    )
    fewest, without = fewest_seeds(contest.occasion.alpha), without_finals(question, records)
    return replace(verdict, answer=sentence(verdict, seeds=len(seeds), fewest=fewest, without=without))


def _varied(question: Question, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """What the finals' seeds draw: not a split that all of them had, whatever was asked for, since the data ignores its seed."""
    finals = [r for r in records if r.stage is Stage.FINAL and r.status.settled and not r.status.lost]
    same = len({record.data for record in finals}) == 1 and None not in {record.data for record in finals}
    several = len({record.seed for record in finals}) > 1
    return tuple(what for what in question.varied if not (what == "split" and same and several))


def _point(question: Question) -> str:
    """What the finals ran at: without a heat nothing was tuned."""
    return "the recipe" if question.raw.get("trials") == 0 else "the tuned point"


def _contest(question: Question, finals: Sequence[Finals], alpha: float) -> Contest:
    clean = [level for level in finals if level.clean]
    # A lost final has had its turn: it takes its seed out of the comparison, but does not keep a look from being taken.
    turns = [level.scores.keys() | level.lost.keys() for level in clean]
    had = sorted(set.intersection(*map(set, turns))) if turns else []
    now = occasion(declared_looks(question), done=len(had), alpha=alpha)
    counted = had[: now.seeds]
    shared = set(shared_seeds(clean))
    seeds = [seed for seed in counted if seed in shared]
    ordered, pairs = clean, []
    if VARY not in question.factors:
        ordered = sorted(clean, key=lambda level: _worse_last(level.mean_over(seeds or level.scores), question.goal))
        pairs = [(i, j) for i in range(len(ordered)) for j in range(i + 1, len(ordered))]
    test = None
    if pairs and seeds:
        scores = np.array([[level.scores[seed] for seed in seeds] for level in ordered])
        first, second = np.array(pairs).T
        test = compare(scores[first] - scores[second], alpha=now.alpha)
    return Contest(
        levels=ordered,
        seeds=seeds,
        occasion=now,
        pairs=pairs,
        test=test,
        left_out=[seed for seed in counted if seed not in shared and any(seed in level.scores for level in clean)],
        waiting=len(had) - len(counted),
    )


def _worse_last(mean: float, goal: Goal) -> float:
    """A key that puts the better mean first and one that is not there last."""
    return math.inf if math.isnan(mean) else -goal.sign * mean


def _groups(contest: Contest, silent: Sequence[Finals], diverged: Sequence[Finals]) -> list[int]:
    """Rank groups: each led by the best level not yet in one, with all that cannot be told from it.

    After them one group of the levels without a finished final, then one for each share of diverged finals.
    """
    groups: dict[int, int] = {}
    count = 0
    for leader in range(len(contest.levels)):
        if leader in groups:
            continue
        count += 1
        groups[leader] = count
        for other in range(leader + 1, len(contest.levels)):
            if other not in groups and not contest.distinguishable(leader, other):
                groups[other] = count
    after_silent = count + bool(silent)
    shares = sorted({level.share_diverged for level in diverged})
    return [
        *(groups[place] for place in range(len(contest.levels))),
        *(after_silent for _ in silent),
        *(after_silent + 1 + shares.index(level.share_diverged) for level in diverged),
    ]


def _result(level: Finals, group: int, goal: Goal, *, timed: bool, confidence: float) -> LevelResult:
    scores = [level.scores[seed] for seed in sorted(level.scores)]
    every = {**dict.fromkeys(level.diverged), **dict.fromkeys(level.lost), **level.scores}
    alpha = round(1 - confidence, 12)
    return LevelResult(
        level=level.level,
        label=level.label,
        point=level.point,
        n=len(scores),
        mean=level.mean if scores else None,
        interval=_ends(*mean_interval(np.array(scores), alpha=alpha)) if scores else None,
        rank_group=group,
        diverged=len(level.diverged),
        lost=len(level.lost),
        scores={str(seed): every[seed] for seed in sorted(every)},
        cost_to_target=cost_to_target(level, goal, timed=timed, confidence=confidence),
        heats=level.heats,
        stopped=level.stopped,
        earlier=level.earlier,
    )


def _comparisons(contest: Contest) -> list[Comparison]:
    test = contest.test
    if test is None:
        return []
    return [
        Comparison(
            a=contest.levels[a].label,
            b=contest.levels[b].label,
            difference=float(test.mean[i]),
            interval=_ends(test.low[i], test.high[i]),
            p=float(test.p[i]),
            p_adjusted=float(test.p_adjusted[i]),
        )
        for i, (a, b) in enumerate(contest.pairs)
    ]


def _ends(low: float, high: float) -> Interval:
    return (float(low) if math.isfinite(low) else None, float(high) if math.isfinite(high) else None)


def _smallest_gap(contest: Contest) -> float | None:
    """The widest half-width of the intervals with the best level; None where one is unbounded.

    A gap of that size to the best would have been called a difference in any level; a true gap of that size is called one about
    half of the time or more.
    """
    if contest.test is None:
        return None
    with_best = [i for i, pair in enumerate(contest.pairs) if pair[0] == 0]
    widths = (contest.test.high - contest.test.low)[with_best] / 2
    widest = float(np.max(widths))
    return widest if math.isfinite(widest) else None


def _method(contest: Contest) -> str:
    n, alpha = len(contest.seeds), contest.occasion.alpha
    if contest.test is None:
        return "No two levels could be compared on a shared seed."
    flips = f"all {units.count(2**n)}" if n <= EXACT_UP_TO else f"{units.count(len(sign_patterns(n)))} random"
    pairs = len(contest.pairs)
    return (
        f"Sign flips of paired differences ({flips} flips of {_plural(n, 'shared seed')}), joint over "
        f"{_plural(pairs, 'comparison')} by the studentised maximum (max-T, Westfall and Young 1993) at a two-sided alpha of "
        f"{alpha:.4g}; the simultaneous intervals invert the same test."
    )


def _needs(contest: Contest, needs: Needs) -> Needs:
    """What it would take to know more, and which seeds did not count."""
    notes = [needs.why]
    if contest.left_out:
        seeds = ", ".join(map(str, contest.left_out))
        notes.append(
            f"left out, since not every level finished them: {'seed' if len(contest.left_out) == 1 else 'seeds'} {seeds}"
        )
    if contest.waiting:
        notes.append(f"{_plural(contest.waiting, 'further seed')} wait for the next look that was declared")
    first = contest.occasion.looks[0].seeds
    if contest.occasion.early and contest.seeds:
        notes.append(f"judged early, with {len(contest.seeds)} of the {_plural(first, 'seed')} that were declared")
    return replace(needs, why="; ".join(notes))


def _needed_seeds(contest: Contest, goal: Goal) -> Needs:
    """What it would take to tell the best from the runner-up."""
    levels, test, n, alpha = contest.levels, contest.test, len(contest.seeds), contest.occasion.alpha
    if len(levels) < 2:
        return Needs(seeds=None, why="there are no two levels to tell apart")
    fewest = fewest_seeds(alpha)
    if test is None or n < fewest:
        return Needs(seeds=fewest, why=f"with fewer, no pattern of signs is rare enough at alpha {alpha:.4g}")
    best, second = levels[0].label, levels[1].label
    if contest.distinguishable(0, 1):
        return Needs(seeds=None, why=f"{best} and {second} are already told apart")
    gap, se = abs(float(test.mean[0])), float(test.se[0])
    if gap <= 1e-12:
        return Needs(
            seeds=None, why=f"{best} and {second} score the same on average, so no number of seeds can be named"
        )
    sd = se * math.sqrt(n)
    at = f"at the observed gap of {units.gap(gap, goal.metric, spread=gap)} between {best} and {second}"
    if sd == 0:
        return Needs(seeds=n + 1, why=f"{at}, which no seed changed")
    half = float(test.high[0] - test.low[0]) / 2
    tests = equivalent_tests(half / se, n=n, alpha=alpha, comparisons=len(contest.pairs))
    seeds = seeds_needed(effect=gap / sd, alpha=alpha, tests=tests, fewest=max(fewest, n + 1))
    spread = f"with an sd of {units.gap(sd, goal.metric, spread=gap)} over seeds"
    if seeds is None:
        return Needs(seeds=None, why=f"{at}, {spread}, more than {units.count(MOST_SEEDS)} seeds")
    return Needs(seeds=seeds, why=f"for 80 % power {at}, {spread}")


def _plural(n: int, noun: str) -> str:
    return f"{units.count(n)} {noun}{'' if n == 1 else 's'}"
