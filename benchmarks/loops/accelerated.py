"""Hugging Face Accelerate: its words around a loop of one's own."""

from __future__ import annotations

from benchmarks.loops.loader import training
from benchmarks.loops.work import CLIP, DECAY, LR, PARTS, Lap, Scores, Work, evaluated


def run(work: Work, epochs: int, lap: Lap) -> Scores:
    """``prepare``, ``accumulate``, ``backward``, and ``clip_grad_norm_`` where gradients are whole, as its guide has them."""
    import torch
    from accelerate import Accelerator
    from torch.nn import functional
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    splits = work.data()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=PARTS)
    plain = work.module()
    average = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
    made = torch.optim.AdamW(plain.parameters(), lr=LR, fused=True)
    planned = torch.optim.lr_scheduler.LambdaLR(made, lambda step: work.multiplier(step, epochs))
    model, optimizer, loader, schedule = accelerator.prepare(plain, made, training(work, *splits.train), planned)
    scores = None
    for _ in range(epochs):
        loss_sum, norm_sum = torch.zeros(()), torch.zeros(())
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
                loss_sum += loss.detach()
                if accelerator.sync_gradients:
                    norm_sum += accelerator.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                if accelerator.sync_gradients:
                    average.update_parameters(plain)
        train_loss, _ = (torch.stack([loss_sum / PARTS, norm_sum]) / work.steps).tolist()
        val_loss, accuracy = evaluated(average, *splits.val)
        scores = Scores(train_loss=train_loss, val_loss=val_loss, accuracy=accuracy)
        lap()
    assert scores is not None
    return scores
