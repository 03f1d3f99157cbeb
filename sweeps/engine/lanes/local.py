"""Lane ``local``: one trial after the other in this process, without Ray's workers."""

from __future__ import annotations

from sweeps.engine.race import Race
from sweeps.engine.trial import Message, Runner


def run(race: Race, runner: Runner) -> None:
    """Run the whole sweep."""
    while (job := race.next()) is not None:
        job_id = job.id

        def tell(message: Message, job_id: str = job_id) -> bool:
            return race.told(job_id, message)

        runner(job, tell)
