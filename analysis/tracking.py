"""Tracking a sweep in MLflow: one experiment a sweep, one flat run a trial, one for the sweep itself.

The runs are flat because MLflow folds children away under their parent, curves and all. The tracker lives in the driver and is the
only writer; the ledger stays the truth, MLflow is brought to agree with it.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from analysis.ledger import Question
from analysis.records import Row, TrialRecord
from analysis.tracking_links import Links, links
from analysis.tracking_place import Place, TrackingError, check, environment, explained
from analysis.tracking_writer import Event, Writer
from analysis.verdict import Verdict

__all__ = ["Links", "Tracker", "TrackingError", "check"]

_RETRY_AFTER = 30.0  # seconds of peace after an error
_LAST_WORDS = 60.0  # seconds that closing may take, and that an answer is waited for while nothing is written
_NEWS = 5.0  # seconds from one word on how far it is to the next
_TOGETHER = 0.3  # seconds in which what happens is written together: writing takes longer by the time than by the trial
# MLflow's own are 7 retries of 120 s: minutes for each request to a server that has gone.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Message:
    """An event for the writer, and where to put the links once it has been written; ``last`` ends the thread."""

    event: Event
    reply: Future[Links] | None = None
    last: bool = False

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for it."""
        return self.reply is not None or self.last


class Tracker:
    """Follows a sweep and writes it to MLflow on a thread of its own: no call waits but ``links``, ``finish`` and ``close``.

    An error while tracking never reaches the sweep: it is told once through ``warn``, tried again every half minute and at the
    end; what is missing then is named, and ``sync`` of the next run writes it. ``question.raw["created"]`` tells this sweep from
    another of the same name in the same store, so it must stay the same when a sweep is resumed. A trial gets its run when it has
    lasted ``linger`` seconds or has ended; its epochs are written every ``pace`` seconds, and what it notes within them where
    ``folder``, the sweep's, is named. Trials may end sooner than MLflow takes them in: who waits for the rest is told through
    ``say`` how much there is. MLflow is imported on the thread when the first run is due. Raises TrackingError when the URI cannot
    be used at all (``check`` says more).
    """

    def __init__(
        self,
        *,
        uri: str,
        question: Question,
        warn: Callable[[str], None] | None = None,
        say: Callable[[str], None] | None = None,
        linger: float = 10.0,
        pace: float = 4.0,
        folder: Path | None = None,
    ) -> None:
        self._place = Place.of(uri)
        self._warn, self._say = warn or _to_stderr, say
        self._pace = pace
        self._writer = Writer(place=self._place, question=question, linger=linger, pace=pace, folder=folder)
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._urgent = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = self._closed = False

    def started(self, record: TrialRecord) -> None:
        """A trial has begun, or goes on where it was cut short."""
        now = time.monotonic()
        self._tell(lambda writer: writer.started(record, now))

    def reported(self, record_id: str, row: Row) -> None:
        """An epoch of a trial that has begun."""
        self._tell(lambda writer: writer.reported(record_id, row))

    def ended(self, record: TrialRecord) -> None:
        """A trial has ended; its record holds the whole history."""
        self._tell(lambda writer: writer.ended(record))

    def sync(self, records: Sequence[TrialRecord]) -> None:
        """Make the store agree with the ledger, after a crash above all: call it when a sweep begins, with what the ledger holds.

        Trials that ended get their runs completed or written, duplicates go to MLflow's bin, runs under way whose trial is not
        are ended as KILLED until their trial goes on. Doing it again changes nothing.
        """
        records = list(records)
        self._tell(lambda writer: writer.sync(records))

    def links(self) -> Links:
        """Where the runs are, once all that has happened so far is written; fewer links where it could not be."""
        return self._ask(lambda _: None)

    def finish(self, folder: Path, verdict: Verdict) -> Links:
        """Attach the answer to the sweep's run: its note, tags, and the folder's report, verdict and table."""
        return self._ask(lambda writer: writer.answered(folder, verdict))

    def close(self) -> None:
        """Write what is due and end the thread; runs of trials still under way are ended as KILLED, so are unanswered sweeps.

        Takes no longer than a minute. Can be called twice; nothing is taken after it.
        """
        if self._closed:
            return
        if self._thread is not None:
            self._put(_Message(event=lambda writer: writer.closing(), last=True))
        self._closed = True
        if self._thread is None:
            return
        self._thread.join(_LAST_WORDS)
        lacking = "an unknown part" if self._thread.is_alive() else self._writer.lacking()
        if lacking:
            self._warn(f"MLflow at {self._place.shown} lacks {lacking}: run the same command again, and it is written")
        if not self._thread.is_alive() and self._writer.artifacts_elsewhere is not None:
            self._warn(
                f"the report is not attached in MLflow: {self._place.shown} was copied or moved, and keeps its files in "
                f"{self._writer.artifacts_elsewhere}"
            )

    def _ask(self, event: Event) -> Links:
        reply: Future[Links] = Future()
        self._tell(event, reply)
        owed, quiet = self._writer.owed, 0.0
        while quiet < _LAST_WORDS:
            try:
                return reply.result(_NEWS)
            except TimeoutError:
                before, owed = owed, self._writer.owed
                quiet = quiet + _NEWS if owed == before else 0.0
                if self._say is not None and owed:
                    self._say(f"MLflow is given {owed:,} more trial{'s' if owed > 1 else ''} …")
        return links(self._place, experiment=None, sweep_run=None, compared=(), view=None)

    def _tell(self, event: Event, reply: Future[Links] | None = None) -> None:
        if self._closed:
            if reply is not None:
                reply.set_result(links(self._place, experiment=None, sweep_run=None, compared=(), view=None))
            return
        self._put(_Message(event=event, reply=reply))

    def _put(self, message: _Message) -> None:
        self._messages.put(message)
        if message.urgent:
            self._urgent.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        """The thread: take what has happened, write what is due, answer who asked."""
        not_before = 0.0
        with environment(_PATIENCE):
            while True:
                messages = self._waiting()
                for message in messages:
                    message.event(self._writer)
                urgent = any(message.urgent for message in messages)
                if urgent or time.monotonic() >= not_before:
                    try:
                        self._writer.work(time.monotonic())
                    except Exception as error:  # whatever it is, it must not cost the sweep
                        not_before = time.monotonic() + _RETRY_AFTER
                        self._trouble(error)
                for message in messages:
                    if message.reply is not None:
                        message.reply.set_result(self._writer.links())
                if any(message.last for message in messages):
                    return

    def _waiting(self) -> list[_Message]:
        """All messages that are there and come at once; none when nothing has happened for the pace's seconds."""
        messages = []
        try:
            messages.append(self._messages.get(timeout=self._pace))
            self._urgent.wait(_TOGETHER)
            self._urgent.clear()
            while True:
                messages.append(self._messages.get_nowait())
        except queue.Empty:
            return messages

    def _trouble(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        self._warn(
            f"MLflow at {self._place.shown} cannot be written ({explained(error, self._place)}); the sweep goes on, "
            "and what is missing is written when it can be again"
        )


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
