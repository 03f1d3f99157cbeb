"""Lightning Fabric: its words around a loop of one's own."""

from __future__ import annotations

from benchmarks.loops.loader import training
from benchmarks.loops.work import CLIP, DECAY, LR, PARTS, Lap, Scores, Work, evaluated


def run(work: Work, epochs: int, lap: Lap) -> Scores:
    """Set-up, ``no_backward_sync`` while accumulating, ``backward`` and ``clip_gradients`` as its guide has them."""
    import torch
    from lightning.fabric import Fabric
    from torch.nn import functional
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    splits = work.data()
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    plain = work.module()
    average = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
    made = torch.optim.AdamW(plain.parameters(), lr=LR, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(made, lambda step: work.multiplier(step, epochs))
    model, optimizer = fabric.setup(plain, made)
    loader = fabric.setup_dataloaders(training(work, *splits.train))
    scores = None
    for _ in range(epochs):
        loss_sum, norm_sum = torch.zeros(()), torch.zeros(())
        for number, (x, y) in enumerate(loader, start=1):
            accumulating = number % PARTS != 0
            with fabric.no_backward_sync(model, enabled=accumulating):
                loss = functional.cross_entropy(model(x), y) / PARTS
                fabric.backward(loss)
            loss_sum += loss.detach()
            if accumulating:
                continue
            norm_sum += fabric.clip_gradients(model, optimizer, max_norm=CLIP, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            average.update_parameters(plain)
        train_loss, _ = (torch.stack([loss_sum, norm_sum]) / work.steps).tolist()
        val_loss, accuracy = evaluated(average, *splits.val)
        scores = Scores(train_loss=train_loss, val_loss=val_loss, accuracy=accuracy)
        lap()
    assert scores is not None
    return scores
