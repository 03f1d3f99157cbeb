"""Augmentation: what the model sees is changed, by the seed, in training alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.small import recipe, task
from trainables import Augmentations, FrameDelay, Mirror, Noise
from trainables.augment import Augmentation
from trainables.fit import fit
from trainables.recipe import Part
from trainables.seeds import generator


def test_noise_has_its_size_and_leaves_the_target() -> None:
    x, y = torch.zeros(400, 50, dtype=torch.float64), torch.arange(400)
    noisy, target = Noise(std=0.3)((x, y), generator("a"))
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.03)
    assert target is y
    assert torch.equal(noisy, Noise(std=0.3)((x, y), generator("a"))[0])
    assert not torch.equal(noisy, Noise(std=0.3)((x, y), generator("b"))[0])


def test_a_mirror_flips_its_share_of_the_samples() -> None:
    x = torch.arange(600.0).view(200, 3)
    mirrored, _ = Mirror(share=0.25)((x, x), generator("a"))
    flipped = (mirrored == x.flip(-1)).all(1)
    assert torch.equal(mirrored[~flipped], x[~flipped])
    assert 30 < int(flipped.sum()) < 70
    assert torch.equal(Mirror(share=1.0)((x, x), generator("a"))[0], x.flip(-1))


def test_delayed_frames_repeat_the_first_and_come_late() -> None:
    x = torch.arange(10.0).expand(300, 10)[..., None]
    late, _ = FrameDelay(frames=2)((x, x), generator("a"))
    delays = 9 - late[:, -1, 0]
    assert set(delays.tolist()) == {0.0, 1.0, 2.0}
    expected = (torch.arange(10.0) - delays[:, None]).clamp(min=0)
    assert torch.equal(late[..., 0], expected)


def test_two_in_a_row() -> None:
    x = torch.arange(12.0).view(4, 3)
    both = Augmentations(Mirror(share=1.0), Noise(std=1e-6))
    changed, _ = both((x, x), generator("a"))
    torch.testing.assert_close(changed, x.flip(-1), rtol=0, atol=1e-4)
    assert not torch.equal(changed, x.flip(-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Watching:
    """A model that notes what it is shown."""

    def build(self) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(2, 3)
                self.seen: dict[bool, list[Tensor]] = {True: [], False: []}

            def forward(self, x: Tensor) -> Tensor:
                self.seen[self.training].append(x.clone())
                return self.layer(x)  # type: ignore[no-any-return]

        return Net()


def seen(**changes: object) -> dict[bool, Tensor]:
    *_, epoch = fit(task, recipe(model=Watching(), epochs=2, **changes))
    found: dict[bool, list[Tensor]] = epoch.run.module.seen  # type: ignore[assignment]
    return {mode: torch.cat(batches) for mode, batches in found.items()}


def test_the_loop_augments_training_batches_alone_and_anew_in_each_epoch() -> None:
    plain, changed, again = seen(), seen(augment=Noise(std=0.5)), seen(augment=Noise(std=0.5))
    assert torch.equal(plain[False], changed[False])
    noise = changed[True] - plain[True]
    assert float(noise.std()) == pytest.approx(0.5, rel=0.2)
    assert not torch.equal(noise[: len(noise) // 2], noise[len(noise) // 2 :])
    assert torch.equal(changed[True], again[True])


@pytest.mark.parametrize(
    "augment",
    [Noise(std=0.0), Mirror(dim=0), Mirror(share=0.0), FrameDelay(frames=0), Augmentations(Noise(std=-1.0), Mirror())],
)
def test_conflicts(augment: Augmentation) -> None:
    assert isinstance(augment, Part)
    assert len(list(augment.conflicts())) == 1


def test_what_is_no_augmentation_is_said() -> None:
    (said,) = Augmentations(Noise(), 3).conflicts()  # type: ignore[arg-type]
    assert "holds 3, a int" in said
