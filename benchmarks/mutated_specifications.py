"""Mutated presets through `sweep plan`: how many are planned, refused, or end in a way that none should.

    python benchmarks/mutated_specifications.py [--count 3000] [--seed 0]

Each mutation changes bytes, lines, numbers, lists, keys or aliases of a preset. `sweep plan` runs in this process,
with an alarm. Every answer must be a plan (0) or a refusal in readable lines (2). A trace, a long answer, a plan
that takes longer than the alarm, or memory that grows without bound is a fault; its text is printed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from click.testing import CliRunner

from sweep.cli import main as sweep
from sweep.specification.file import PRESETS

ALARM_S = 60
LONGEST_ANSWER = 20_000
VALUES = (
    *(
        "1e308",
        "-1",
        "0",
        "1e-300",
        "1e12",
        "1e9",
        "nan",
        ".inf",
        "null",
        "true",
        "'x'",
        "[]",
        "{}",
        "~",
        "1.0000001",
    ),
    *("[0, 1]", "0, 1", "[[1]]", "{64: {split: 1}}", "at_decline", "9" * 5000, "0x" + "f" * 2000, "1e400", "s3:/x"),
    *(
        "[" + ", ".join(map(str, range(3000))) + "]",
        "*anchor",
        "&anchor [*anchor]",
        "!!python/name:os.system",
        "2026-01-01",
    ),
    *("\u5b9e\u9a8c", "'" + "long" * 3000 + "'", "x" * 300, "auto", "-0.0", "1_000", "0o17", "'\\x1b[31m'"),
)


class TooLongError(BaseException):
    """The alarm rang; no code that catches errors catches this one."""


def mutated(text: str, random_: random.Random) -> str:
    """Return the text after one to three mutations."""
    for _ in range(random_.randint(1, 3)):
        text = random_.choice(MUTATIONS)(text, random_)
    return text


def _value(text: str, random_: random.Random) -> str:
    """Replace the value of a key, at any depth."""
    places = [place for place in range(len(text) - 1) if text[place : place + 2] == ": "]
    if not places:
        return text
    place = random_.choice(places) + 2
    ends = [end for end in (text.find(mark, place) for mark in ",}\n") if end >= 0]
    return text[:place] + random_.choice(VALUES) + text[min(ends, default=len(text)) :]


def _byte(text: str, random_: random.Random) -> str:
    place = random_.randrange(len(text))
    return (
        text[:place]
        + random_.choice("{}[]:,&*!#'\"\n \t0e-.|>%@`x\0\x1b\ufeff")
        + text[place + random_.randint(0, 1) :]
    )


def _line(text: str, random_: random.Random) -> str:
    """Remove, repeat or move a line."""
    lines = text.splitlines()
    line = lines.pop(random_.randrange(len(lines)))
    for _ in range(random_.choice((0, 1, 2, 2000))):
        lines.insert(random_.randint(0, len(lines)), line)
    return "\n".join(lines) + "\n"


def _key(text: str, random_: random.Random) -> str:
    """Add a key of a specification with any value."""
    key = random_.choice(
        [
            "weight_decay",
            "steps",
            "seeds",
            "epsilon",
            "extra_epsilons",
            "lanes",
            "processes",
            "model",
            "task",
            "drift",
            "cases",
            "case",
            "evaluate_ratio",
            "measure_ratio",
            "schedule",
            "batch_size",
            "spectral_start",
            "spectral_every",
            "spectral_entropy_weight",
            "learning_rate",
            "name",
            "results",
            "decline",
            "audit_share",
            "grokked_at",
            "device",
            "label_noise",
            "weight_noise",
            "x-any",
            "<<",
        ]
    )
    return f"{text.rstrip()}\n{key}: {random_.choice(VALUES)}\n"


def _cut(text: str, random_: random.Random) -> str:
    return text[: random_.randrange(1, len(text) + 1)] + "\n"


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    _value,
    _value,
    _value,
    _key,
    _key,
    _byte,
    _line,
    _cut,
)


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise `TooLongError` in the body once it has taken this many CPU seconds."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome_of(text: str, folder: Path) -> tuple[str, str]:
    """Plan a specification; return the outcome in a word, and what was printed."""
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        with alarm(ALARM_S):
            answer = CliRunner().invoke(sweep, ["plan", str(file), "--results", str(folder / "results")])
    except TooLongError:
        return "too long", ""
    printed = answer.stdout + answer.stderr
    if isinstance(answer.exception, TooLongError):
        return "too long", printed
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        return "trace", f"{type(answer.exception).__name__}: {answer.exception}"
    if len(printed) > LONGEST_ANSWER:
        return "unreadable", printed[:2000]
    return {0: "planned", 2: "refused"}.get(answer.exit_code, f"exit code {answer.exit_code}"), printed


def main() -> None:
    """Count the outcomes, and print what should not have happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    presets = [path.read_text(encoding="utf-8") for path in sorted(PRESETS.glob("*.yaml"))]
    counts: collections.Counter[str] = collections.Counter()
    slowest_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.count):
            random_ = random.Random(f"{chosen.seed} {number}")
            text = mutated(random_.choice(presets), random_)
            began_s = time.process_time()
            outcome, printed = outcome_of(text, Path(folder))
            took_s = time.process_time() - began_s
            slowest_s = max(slowest_s, took_s if number else 0.0)  # the first one imports everything
            counts[outcome] += 1
            if outcome not in ("planned", "refused") or (took_s > 10 and number):
                print(f"--- {number}, {outcome}, {took_s:.1f} CPU s: {printed[:500]}\n{text[:600]}", flush=True)
            if number % 250 == 249:
                print(f"{number + 1:,}: {dict(counts)}; slowest {slowest_s:.1f} CPU s", flush=True)
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{dict(counts)}; slowest {slowest_s:.1f} CPU s; {memory_mib:,.0f} MiB")


if __name__ == "__main__":
    main()
