"""What stops a sweep before anything is started."""

from __future__ import annotations


class QuestionError(Exception):
    """The question is wrong: the message names what, the rule, and the way out. Exit status 2, nothing was started."""
