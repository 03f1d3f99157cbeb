"""Lightning's Trainer: it has the loop."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from benchmarks.loops.loader import held_out, training
from benchmarks.loops.work import CLIP, DECAY, LR, PARTS, Lap, Scores, Work


class Model(LightningModule):  # type: ignore[misc]
    """The model with its steps; Lightning asks for a subclass."""

    def __init__(self, net: nn.Module, work: Work, epochs: int) -> None:
        super().__init__()
        self.net, self.work, self.epochs = net, work, epochs

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a micro-batch, logged as the epoch's mean."""
        x, y = batch
        loss = functional.cross_entropy(self.net(x), y)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(y))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Loss and accuracy; the weights are the averaged ones then."""
        x, y = batch
        output = self.net(x)
        self.log("val/loss", functional.cross_entropy(output, y), batch_size=len(y))
        self.log("val/accuracy", (output.argmax(1) == y).float().mean(), batch_size=len(y))

    def configure_optimizers(self) -> Any:
        """AdamW, and the schedule step by step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=LR, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.work.multiplier(step, self.epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Laps(Callback):  # type: ignore[misc]
    """Tells of each epoch's end; Lightning asks for a subclass."""

    def __init__(self, lap: Lap) -> None:
        self._lap = lap

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """After the epoch's validation."""
        self._lap()


def run(work: Work, epochs: int, lap: Lap) -> Scores:
    """``accumulate_grad_batches``, ``gradient_clip_val`` and its own averaging; logger, checkpoints, bar and summary are off."""
    splits = work.data()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        accumulate_grad_batches=PARTS,
        gradient_clip_val=CLIP,
        callbacks=[WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(DECAY)), Laps(lap)],  # type: ignore[no-untyped-call]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Model(work.module(), work, epochs), training(work, *splits.train), held_out(*splits.val))
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return Scores(train_loss=values["train/loss"], val_loss=values["val/loss"], accuracy=values["val/accuracy"])
