"""Ensembles: what they say, how sure they are, what they gain."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from tests.trainables import small
from trainables import CrossEntropy, Splits
from trainables.ensemble import Ensemble, classified, regressed
from trainables.ensemble_summary import scalable, summary
from trainables.keep import BEST
from trainables.models import MLP
from trainables.train import train


def logits_of(*probabilities: list[list[float]]) -> Tensor:
    """Logits [K, B, C] of members with these probabilities."""
    return torch.tensor(probabilities, dtype=torch.float64).log()


def planted(members: int = 5, samples: int = 4000) -> tuple[Tensor, Tensor]:
    """Members that see one truth, each through noise of its own."""
    drawn = torch.Generator().manual_seed(1)
    truth = 2 * torch.randn(samples, 4, generator=drawn, dtype=torch.float64)
    target = torch.multinomial(truth.softmax(1), 1, generator=drawn).squeeze(1)
    return truth + 1.5 * torch.randn(members, samples, 4, generator=drawn, dtype=torch.float64), target


def test_probabilities_are_averaged_not_logits() -> None:
    said = classified(logits_of([[0.9, 0.1]], [[0.3, 0.7]]))
    assert said.probabilities.tolist() == [pytest.approx([0.6, 0.4], rel=1e-12)]


def test_members_that_agree_leave_only_the_noise_of_the_data() -> None:
    said = classified(logits_of([[0.5, 0.5], [0.8, 0.2]], [[0.5, 0.5], [0.8, 0.2]]))
    assert said.entropy[0].item() == pytest.approx(math.log(2), rel=1e-12)
    assert said.mutual_information.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert (said.mutual_information >= 0).all()
    assert said.disagreement.tolist() == [0.0, 0.0]
    torch.testing.assert_close(said.entropy, said.expected_entropy, rtol=1e-12, atol=0)


def test_sure_members_that_contradict_each_other_are_all_mutual_information() -> None:
    sure = torch.tensor([[[50.0, 0.0]], [[0.0, 50.0]]])
    said = classified(sure)
    assert said.expected_entropy.item() == pytest.approx(0.0, abs=1e-12)
    assert said.mutual_information.item() == pytest.approx(math.log(2), rel=1e-12)
    assert said.disagreement.item() == 1.0


def test_entropies_are_torch_s_and_disagreement_counts_pairs() -> None:
    logits, _ = planted(members=4, samples=50)
    said = classified(logits)
    whole: Tensor = Categorical(said.probabilities).entropy()  # type: ignore[no-untyped-call]
    own: Tensor = Categorical(logits=logits).entropy()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(said.entropy, whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(said.expected_entropy, own.mean(0), rtol=1e-10, atol=1e-12)
    chosen = logits.argmax(-1)
    pairs = [(chosen[a] != chosen[b]).double() for a in range(4) for b in range(a)]
    torch.testing.assert_close(said.disagreement, torch.stack(pairs).mean(0), rtol=1e-12, atol=1e-12)
    assert set(classified(logits[:1]).disagreement.tolist()) == {0.0}


def test_regressions_give_mean_and_variance_between_members() -> None:
    said = regressed(torch.tensor([[[1.0], [2.0]], [[3.0], [2.0]]]))
    assert said.mean.tolist() == [[2.0], [2.0]]
    assert said.variance.tolist() == [[1.0], [0.0]]
    assert regressed(torch.ones(1, 3)).variance.tolist() == [0.0, 0.0, 0.0]


def test_members_that_write_into_their_input_are_given_the_same() -> None:
    members = [nn.Sequential(nn.LeakyReLU(0.5, inplace=True), nn.Linear(2, 3)) for _ in range(3)]
    x = torch.randn(5, 2)
    before, alone = x.clone(), torch.stack([member(x.clone()) for member in members])
    torch.testing.assert_close(Ensemble(members)(x), alone)
    torch.testing.assert_close(x, before, rtol=0.0, atol=0.0)


def test_members_answer_in_evaluation_mode_and_are_left_as_they_were() -> None:
    dropping = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.9))
    fixed = nn.Linear(2, 3).eval()
    points = torch.randn(7, 2)
    both = Ensemble((dropping, fixed))
    answers = both.over((points,), size=3)
    assert answers.shape == (2, 7, 3)
    torch.testing.assert_close(answers[0], dropping[0](points))
    torch.testing.assert_close(answers, both(points))
    assert dropping.training
    assert not fixed.training
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble(())


def test_checkpoints_of_runs_become_an_ensemble(tmp_path: Path) -> None:
    """Three runs that differ in weights and order: what each best.safetensors answers is what its run measured."""
    paths, scores = [], []
    splits: Splits = small.task.load(3)
    for seed in (1, 2, 3):
        folder = tmp_path / str(seed)
        trained = train(small.task, small.recipe(seed=seed), folder=folder, report=lambda _: False, splits=splits)
        best = trained.history[(trained.best_epoch or 0) - 1]
        scores.append((best["test/accuracy"], best["test/loss"]))
        paths.append(folder / BEST)
    points, classes = splits.test

    def build() -> nn.Module:
        return MLP(widths=(8,)).adapted(splits.shape(CrossEntropy())).build().double()

    answers = Ensemble.loaded(build, paths).over((points.double(),))
    found = summary(answers, classes)
    assert [(m.accuracy, m.nll) for m in found.members] == [pytest.approx(score, rel=1e-9) for score in scores]
    assert len({m.nll for m in found.members}) == 3
    with pytest.raises(ValueError, match="does not exist"):
        Ensemble.loaded(build, [tmp_path / "none.pt"])
    with pytest.raises(ValueError, match="does not fit the model"):
        Ensemble.loaded(lambda: nn.Linear(2, 3), paths)


def test_the_gain_of_noisy_members_is_found_and_is_paired() -> None:
    logits, target = planted()
    found = summary(logits, target)
    assert found.samples == 4000
    assert len(found.members) == 5
    gain = found.accuracy_gain
    assert gain.value == pytest.approx(found.ensemble.accuracy - found.mean.accuracy, rel=1e-9)
    assert 0 < gain.low < gain.value < gain.high
    assert found.nll_gain.value == pytest.approx(found.ensemble.nll - found.mean.nll, rel=1e-9)
    assert found.nll_gain.low < found.nll_gain.value < found.nll_gain.high < 0
    # Paired: narrower than the accuracy's own interval.
    assert gain.high - gain.low < 0.7 * (found.accuracy.high - found.accuracy.low)
    assert found.ensemble.calibration_error < found.mean.calibration_error
    assert 0 < found.disagreement < 1
    assert found.mutual_information > 0


def test_the_interval_covers_the_gain_as_often_as_it_says() -> None:
    """60 sets of 300 samples against the gain on 60 times as many: 95 % are asked for; 6 misses and more are one case in 20."""
    logits, target = planted(members=3, samples=18_000)
    truth = summary(logits, target, draws=10).accuracy_gain.value
    found = [
        summary(each, classes, draws=300).accuracy_gain
        for each, classes in zip(logits.tensor_split(60, dim=1), target.tensor_split(60), strict=True)
    ]
    assert sum(gain.low <= truth <= gain.high for gain in found) >= 53


def test_a_temperature_from_validation_mends_the_ensemble() -> None:
    """Members that are not sure enough, averaged, are less so still; scaled they are as sure as they are right."""
    logits, target = planted()
    members, timid = logits[:, :2000], 0.3 * logits
    found = summary(timid[:, 2000:], target[2000:], validation=(timid[:, :2000], target[:2000]))
    assert found.temperature is not None
    assert found.scaled is not None
    assert found.temperature < 0.7
    assert found.scaled.calibration_error < 0.25 * found.ensemble.calibration_error
    assert found.scaled.nll < found.ensemble.nll
    assert found.scaled.accuracy == found.ensemble.accuracy
    assert summary(members, target[:2000]).scaled is None
    torch.testing.assert_close(scalable(members).softmax(1), classified(members).probabilities, rtol=1e-10, atol=1e-14)


def test_copies_of_one_member_gain_nothing() -> None:
    logits, target = planted(members=1, samples=300)
    found = summary(logits.repeat(3, 1, 1), target)
    assert (found.accuracy_gain.value, found.accuracy_gain.low, found.accuracy_gain.high) == (0.0, 0.0, 0.0)
    assert found.nll_gain.value == pytest.approx(0.0, abs=1e-12)
    assert found.disagreement == 0.0


def test_leaving_out_the_most_uncertain_helps() -> None:
    logits, target = planted()
    most, some, whole = summary(logits, target).coverage
    assert [each.samples for each in (most, some, whole)] == [3200, 3600, 4000]
    assert most.accuracy > some.accuracy > whole.accuracy
    assert whole.accuracy == summary(logits, target).ensemble.accuracy
    sure_and_right, torn_and_wrong = [[0.9, 0.1]] * 9, [[0.55, 0.45]]
    few = summary(logits_of(sure_and_right + torn_and_wrong), torch.tensor([0] * 9 + [1]), coverages=(0.9, 1.0))
    assert [each.accuracy for each in few.coverage] == [1.0, pytest.approx(0.9)]


def test_wilson_s_interval_has_a_width_where_all_is_right() -> None:
    found = summary(logits_of([[0.9, 0.1]] * 100), torch.zeros(100, dtype=torch.long))
    assert found.accuracy.high == 1.0
    assert found.accuracy.low == pytest.approx(1 - 1.96**2 / (100 + 1.96**2), abs=1e-4)
    half = summary(logits_of([[0.9, 0.1]] * 100), torch.arange(100) % 2)
    assert (half.accuracy.low, half.accuracy.high) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_the_bootstrap_is_governed_by_its_seed() -> None:
    logits, target = planted(members=2, samples=100)
    first, again, other = (summary(logits, target, seed=seed).nll_gain for seed in (0, 0, 1))
    assert first == again
    assert first.value == other.value
    assert first.low != other.low


def test_shapes_that_do_not_fit_are_said() -> None:
    with pytest.raises(ValueError, match=r"\(5, 2\) against targets \(5,\)"):
        summary(torch.zeros(5, 2), torch.zeros(5, dtype=torch.long))
