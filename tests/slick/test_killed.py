"""A probe that is killed at any moment and resumed: the files of an unbroken run, and nothing asked twice.

The killed processes are forked off one that has imported everything and never loads a model.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Its arguments: a directory, and how many moments. Prints, as JSON, what was seen.
FORKER = r"""
import hashlib, json, os, random, select, signal, sys, threading, time
from pathlib import Path
import tqdm
import slick.probe
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.probe import Probe, run_probe
from slick.sampled import Sampled
from slick.store import Store
from slick.stored import Stored

tqdm.tqdm.monitor_interval = 0  # no thread beside the one that forks
tqdm.tqdm.set_lock(threading.RLock())  # its own is shared with what is forked: a killed one would hold it for ever
place, moments = Path(sys.argv[1]), int(sys.argv[2])
slick.probe.CHUNK = 3
facts = [Fact.create(f"{r}: who is {i}?", [f"name {r} {i}"], relation=r) for r in "ab" for i in range(30)]
probe = Probe(facts, exemplar_pools(facts, facts, seed=0), {}, Sampled(3, 2, 4, n_before=1))


def luck(*parts):
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 16**8


class Scripted:
    model = {"name": "scripted", "weights": "w"}
    independent_samples = False

    def __init__(self, log):
        self.log = log

    def note(self, *call):
        with self.log.open("a") as file:
            file.write(json.dumps(call) + "\n")

    def answer(self, prompt, *number):
        question = prompt.rsplit("Q: ", 1)[1].removesuffix("\nA:")
        right = next(f.answers[0] for f in facts if f.question == question)
        return f" {right}\nQ:" if luck(prompt, *number) < luck(question) ** 3 else f" wrong {luck(prompt, *number)}"

    def generate(self, requests):
        self.note(len(requests), [p for p, _ in requests])
        return [self.answer(p) for p, _ in requests]

    def sample(self, prompts, kwargs, n, seed):
        self.note(n * len(prompts), seed, prompts)
        return [[self.answer(p, seed, j) for j in range(n)] for p in prompts]

    def provenance(self):
        return {"name": "scripted", "args": {}, "batch_size": 8}


def work(name, log):
    with Store(place / name / "store") as store:
        run_probe(probe, Stored(Scripted(log), store), place / name / "run")


def forked(name, log, life=None, delay=None):
    # life: how many Python calls and returns until it kills itself. delay: seconds until the parent does.
    (place / name).mkdir(exist_ok=True)
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        lived = 0

        def count(frame, event, arg):
            nonlocal lived
            lived += 1
            if lived == life:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            if delay is None:
                sys.setprofile(count)
            work(name, place / name / log)
            sys.setprofile(None)
            os.write(into, b"%d" % lived)
            os._exit(0)
        except BaseException as error:
            sys.setprofile(None)
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(into)
    if delay is not None and not select.select([out], [], [], delay)[0]:
        os.kill(pid, signal.SIGKILL)
    told = os.read(out, 20)
    os.close(out)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status == 0, int(told or 0)


def held(name):
    path = place / name / "store"
    if not path.exists():
        return 0
    with Store(path) as store:
        return store.verify()


# Here, so that the processes import nothing, and agree on what the code is.
(place / "here").mkdir()
work("here", place / "here" / "asked")
chance = random.Random(0)
_, events = forked("unbroken", "asked")
seen = {"events": events, "held": held("unbroken"), "trials": [], "chain": []}
for i in range(moments):
    # One of each twentieth of the run, so that no part of it is left out.
    life = int(events * (i + chance.random()) / moments) + 1
    over, _ = forked(f"killed-{i}", "before", life=life)
    seen["trials"].append([f"killed-{i}", life, over, held(f"killed-{i}")])
    assert forked(f"killed-{i}", "after")[0]
start = time.monotonic()
forked("timed", "asked", delay=600)
seconds = time.monotonic() - start
over = False
while not over:
    # At the parent's leisure, also within a system call; killed again and again until it is through.
    last = len(seen["chain"]) == moments
    over, _ = forked("chain", f"part-{len(seen['chain'])}", delay=600 if last else seconds * chance.random() / 4)
    seen["chain"].append(held("chain"))
print(json.dumps(seen))
"""
MOMENTS = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def seen(place: Path) -> Any:
    command = [sys.executable, "-c", FORKER, str(place), str(MOMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def files(run: Path) -> dict[str, bytes]:
    """The final files by their names less the time at which the run began, the results less time and duration."""
    found = {}
    for path in sorted(run.iterdir()):
        if not path.name.startswith("."):
            content = path.read_bytes()
            if path.name.startswith("results_"):
                times = rb'("(date|total_evaluation_time_seconds)": )[^,]*'
                content, count = re.subn(times, rb"\1", content)
                assert count == 2
            found[re.sub(r"_\d{4}-[\dT.:-]+\.json", "_TIME.json", path.name)] = content
    return found


def asked(place: Path, *log: str) -> list[Any]:
    """The calls that reached the backend, in order; a line that was cut off was not a call."""
    found = []
    for name in log:
        path = place / name
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        found += [json.loads(line) for line in lines if line.endswith("\n")]
    return found


def stored_calls(calls: list[Any], held: int) -> int:
    """How many calls it takes to answer `held` requests; all of a call's answers are stored, or none."""
    total, count = 0, 0
    while total < held:
        total += calls[count][0]
        count += 1
    assert total == held
    return count


def test_an_unbroken_run_is_long_enough_to_be_killed(place: Path, seen: Any) -> None:
    """Several chunks of both stages, and all answers in the store."""
    calls = asked(place, "unbroken/asked")
    assert len(calls) >= 10
    assert seen["held"] == sum(size for size, *_ in calls)
    assert {len(call) for call in calls} == {2, 3}
    assert len(files(place / "unbroken" / "run")) == 3


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(place: Path, seen: Any) -> None:
    """At 20 moments spread over the whole run; samples, knowledge and results."""
    expected = files(place / "unbroken" / "run")
    assert len(seen["trials"]) == MOMENTS
    assert sum(not over for _, _, over, _ in seen["trials"]) >= MOMENTS - 1
    assert len({held for *_, held in seen["trials"]}) > MOMENTS / 3
    for name, life, _, _ in seen["trials"]:
        assert files(place / name / "run") == expected, f"killed after {life} events"


def test_no_answered_request_is_asked_again(place: Path, seen: Any) -> None:
    """Before the kill the calls of an unbroken run, after it the rest of them, from the first that was not stored."""
    unbroken = asked(place, "unbroken/asked")
    for name, life, over, held in seen["trials"]:
        before, after = asked(place / name, "before"), asked(place / name, "after")
        assert before == unbroken[: len(before)]
        stored = stored_calls(unbroken, held)
        assert len(before) - 1 <= stored <= len(before), f"killed after {life} events"
        assert after == ([] if over else unbroken[stored:]), f"killed after {life} events"


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(place: Path, seen: Any) -> None:
    """Whenever it got on at all; each time it goes on from what is stored."""
    assert files(place / "chain" / "run") == files(place / "unbroken" / "run")
    unbroken = asked(place, "unbroken/asked")
    held = [0, *seen["chain"]]
    assert len(held) > 3
    for i in range(len(held) - 1):
        calls = asked(place / "chain", f"part-{i}")
        first = stored_calls(unbroken, held[i])
        assert calls == unbroken[first : first + len(calls)]
        assert first + len(calls) - 1 <= stored_calls(unbroken, held[i + 1]) <= first + len(calls)
