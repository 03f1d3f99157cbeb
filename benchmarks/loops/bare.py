"""The loop as one would write it by hand, with the best parts that torch has."""

from __future__ import annotations

import copy

from benchmarks.loops.work import CLIP, DECAY, LR, PARTS, Lap, Scores, Work, batches, evaluated


def run(work: Work, epochs: int, lap: Lap) -> Scores:
    """Fused AdamW, foreach clip, averaging by one foreach call, index batches in memory, running sums, no framework."""
    import torch
    from torch.nn import functional
    from torch.nn.utils import clip_grad_norm_

    splits = work.data()
    inputs, target = splits.train
    model = work.module()
    average = copy.deepcopy(model).requires_grad_(False)
    parameters = list(model.parameters())
    weights, averaged = ([one.detach() for one in module.parameters()] for module in (model, average))
    optimizer = torch.optim.AdamW(parameters, lr=LR, fused=True)
    (group,) = optimizer.param_groups
    step, best, scores = 0, 0.0, None
    for epoch in range(1, epochs + 1):
        loss_sum, norm_sum = torch.zeros(()), torch.zeros(())
        model.train()
        for number, (x, y) in enumerate(batches(inputs, target, work.order(epoch), work.micro), start=1):
            loss = functional.cross_entropy(model(x), y) / PARTS
            loss.backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
            if number % PARTS:
                continue
            norm_sum += clip_grad_norm_(parameters, CLIP, foreach=True)
            group["lr"] = LR * work.multiplier(step, epochs)
            optimizer.step()
            optimizer.zero_grad()
            torch._foreach_lerp_(averaged, weights, 1 - DECAY if step else 1.0)
            step += 1
        train_loss, _ = (torch.stack([loss_sum, norm_sum]) / work.steps).tolist()
        val_loss, accuracy = evaluated(average, *splits.val)
        # As the product does: the raw weights beside the averaged ones, and the test set at each best.
        evaluated(model, *splits.val)
        if accuracy > best:
            best = accuracy
            evaluated(average, *splits.test)
        scores = Scores(train_loss=train_loss, val_loss=val_loss, accuracy=accuracy)
        lap()
    assert scores is not None
    return scores
