"""The same trial without the product: Optuna alone, Ray Tune, and Ray Tune with Ray Train, as their manuals show it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.trial import HIGHEST_LR, LOWEST_LR, USUAL, Outcome, Trial, data, evaluated, marked, model, order

if TYPE_CHECKING:
    from ray.tune.search.optuna import OptunaSearch

    from trainables import Splits


def trained(
    splits: Splits, *, lr: float, seed: int, report: Callable[[Mapping[str, float]], None], trial: Trial = USUAL
) -> Outcome:
    """One process, batches by index, everything in memory: nothing here but training and validation."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    inputs, target = splits.train
    module = model(seed, trial.width)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, fused=True)
    steps, train_loss, val_loss = 0, 0.0, 0.0
    for epoch in range(1, trial.epochs + 1):
        module.train()
        loss_sum = torch.zeros((), dtype=torch.float64)
        for chosen in torch.split(order(len(target), seed=seed, epoch=epoch), trial.batch):
            loss = functional.cross_entropy(module(inputs[chosen]), target[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            loss_sum += loss.detach() * len(chosen)
            steps += 1
        train_loss = float(loss_sum) / len(target)
        val_loss, accuracy = evaluated(module, *splits.val)
        report({"train_loss": train_loss, "val_loss": val_loss, "accuracy": accuracy})
    return Outcome(lr=lr, seed=seed, steps=steps, train_loss=train_loss, val_loss=val_loss, trial=trial)


def optuna_alone(trials: int, marks: Path, scratch: Path, *, kind: Trial = USUAL) -> None:  # noqa: ARG001
    """Plain Optuna in one process, the data loaded once: what a trial costs where nobody manages it."""
    import optuna

    splits = data()

    def objective(trial: optuna.Trial) -> float:
        best = 0.0

        def report(row: Mapping[str, float]) -> None:
            nonlocal best
            best = max(best, row["accuracy"])

        lr = trial.suggest_float("lr", LOWEST_LR, HIGHEST_LR, log=True)
        marked(marks, trained(splits, lr=lr, seed=0, report=report, trial=kind))
        return best

    optuna.create_study(direction="maximize").optimize(objective, n_trials=trials)


def tune_function(trials: int, marks: Path, scratch: Path, *, kind: Trial = USUAL) -> None:
    """A Ray Tune function trainable that reports every epoch; all settings but the number at once are the default ones."""
    from ray import tune

    def trainable(config: Mapping[str, Any]) -> None:
        lr = config["lr"]
        marked(marks, trained(data(), lr=lr, seed=0, report=lambda row: tune.report(dict(row)), trial=kind))

    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"lr": tune.loguniform(LOWEST_LR, HIGHEST_LR)},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", search_alg=_search(), num_samples=trials, max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(name="stock", storage_path=str(scratch)),
    ).fit()


def tune_trainer(trials: int, marks: Path, scratch: Path, *, workers: int) -> None:
    """Ray Train's ``TorchTrainer`` inside a Ray Tune function, with a callback that hands its reports on."""
    import ray
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    def work(config: Mapping[str, Any]) -> None:
        distributed(marks, lr=config["lr"])

    def trainable(config: Mapping[str, Any]) -> None:
        trainer = TorchTrainer(
            work,
            train_loop_config=dict(config),
            scaling_config=train.ScalingConfig(num_workers=workers),
            run_config=train.RunConfig(
                name=f"train-trial_id={tune.get_context().get_trial_id()}",
                storage_path=str(scratch),
                callbacks=[TuneReportCallback()],
            ),
        )
        trainer.fit()

    # The function takes a CPU beside its workers': on two cores Ray would otherwise wait for a third for ever.
    ray.init(num_cpus=max(len(os.sched_getaffinity(0)), workers) + 1)
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"lr": tune.loguniform(LOWEST_LR, HIGHEST_LR)},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", search_alg=_search(), num_samples=trials, max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(name="stock", storage_path=str(scratch)),
    ).fit()


def distributed(marks: Path, *, lr: float) -> None:
    """What each of Ray Train's workers does: torch's own loader and DDP, prepared by Ray Train."""
    import torch
    from ray import train
    from ray.train.torch import prepare_data_loader, prepare_model
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    context = train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    splits = data()
    module = prepare_model(model(0))
    loader = prepare_data_loader(DataLoader(TensorDataset(*splits.train), batch_size=USUAL.batch // size, shuffle=True))
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, fused=True)
    steps, train_loss, val_loss = 0, 0.0, 0.0
    for epoch in range(USUAL.epochs):
        if size > 1:
            loader.sampler.set_epoch(epoch)
        module.train()
        loss_sum, seen = torch.zeros((), dtype=torch.float64), 0
        for inputs, target in loader:
            loss = functional.cross_entropy(module(inputs), target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            loss_sum += loss.detach() * len(target)
            seen += len(target)
            steps += 1
        train_loss = float(loss_sum) / seen
        val_loss, accuracy = evaluated(module, *splits.val)
        train.report({"train_loss": train_loss, "val_loss": val_loss, "accuracy": accuracy})
    if rank == 0:
        marked(marks, Outcome(lr=lr, seed=0, steps=steps, train_loss=train_loss, val_loss=val_loss))


def _search() -> OptunaSearch:
    """Optuna's sampler behind Ray Tune."""
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch()
