"""A study from end to end: what it writes, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.cli import run as run_command
from slick.dynamics import read_dynamics
from slick.errors import InputError, RunError
from slick.knowledge import Category
from slick.knowledge_file import read_knowledge, write_knowledge
from slick.provenance import library_versions
from slick.runs import read_run, read_samples
from slick_sft.study.grid import parse_grid
from slick_sft.study.jobs import Job, Setup, jobs_of
from slick_sft.study.run import Wish, plan_study, run_study, set_up
from slick_sft.study.state import State
from slick_tasks.lab import organism_path

Make = Callable[..., Wish]
GRID = """
training: {learning_rate: 3.0e-4, epochs: 2, batch_size: 10}
size: 20
watch_rows: all
variants: [known-only, unknown-50, only-Unknown]
"""
ARMS = ("known-only-seed0", "unknown-50-seed0", "unknown-100-seed0")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, wish: Make, inline: Any) -> Path:
    """A whole study, done in one process without a break."""
    out = tmp_path_factory.mktemp("study") / "out"
    run_study(wish(out), lambda place, *_: inline(place), 1, 1)
    return out


def tables(out: Path) -> dict[str, Any]:
    """Everything that a report can be made of, less times and places."""
    found: dict[str, Any] = {}
    for probe in sorted((out / "probe").iterdir()):
        found[f"probe/{probe.name}"] = [
            (k.fact.id, str(k.category), k.record()) for k in read_knowledge(probe).knowledge
        ]
    for mixed in sorted((out / "sets").iterdir()):
        found[f"sets/{mixed.name}"] = (mixed / "sidecar.jsonl").read_bytes()
    for tuned in sorted((out / "tuned").iterdir()):
        found[f"tuned/{tuned.name}"] = [replace(m, seconds=0) for m in read_dynamics(tuned)]
    for score in sorted((out / "scores").iterdir()):
        (samples,) = read_run(score).samples.values()
        found[f"scores/{score.name}"] = [(row["doc"]["id"], row["resps"]) for row in read_samples(samples)]
    found["ptrue"] = (out / "ptrue" / "ptrue.jsonl").read_bytes()
    return found


def probes(out: Path, *splits: str) -> dict[str, str]:
    """A study's probes, to be taken over by another."""
    return {split: str(out / "probe" / split) for split in splits or ("train", "dev", "test", "ood")}


def read(out: Path) -> Any:
    return json.loads((out / "study.json").read_text())


def test_a_study_leaves_what_its_report_needs(finished: Path) -> None:
    """Probes of four splits, a set and a tuning an arm, scores of base and arms in and out of distribution, P(True)."""
    study = read(finished)
    assert study["finished"] is True
    assert [arm["name"] for arm in study["arms"]] == list(ARMS)
    assert study["grid"]["same"] == {"only-Unknown": "unknown-100"}
    assert {path.name for path in (finished / "probe").iterdir()} == {"train", "dev", "test", "ood"}
    assert {path.name for path in (finished / "sets").iterdir()} == {*ARMS}
    for arm in study["arms"]:
        assert arm["conditions"] == {"device": "cpu", "precision": "fp32", "versions": library_versions()}
        assert read_dynamics(finished / arm["tuned"])[0].step == 0
        assert set(read_dynamics(finished / arm["tuned"])[-1].sets) == {"train", "dev", "test", "ood"}
        for places in arm["scores"].values():
            for split, place in places.items():
                run = read_run(finished / place)
                known = read_knowledge(finished / "probe" / split).knowledge
                (samples,) = run.samples.values()
                scored = {row["doc"]["id"]: row["category"] for row in read_samples(samples)}
                assert scored == {k.fact.id: str(k.category) for k in known}
        best = arm["early_stop"]["step"]
        assert arm["scores"]["early_stop"]["test"].endswith("base" if best == 0 else f"{arm['name']}-early_stop")
    rows = [json.loads(line) for line in (finished / "ptrue" / "ptrue.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} == {k.fact.id for k in read_knowledge(finished / "probe" / "test").knowledge}
    assert all(0 <= row["p_true"] <= 1 for row in rows)


def test_weights_go_when_they_are_scored(finished: Path) -> None:
    """What is kept of a tuning is its record and its dynamics."""
    for arm in ARMS:
        assert sorted(path.name for path in (finished / "tuned" / arm).iterdir()) == ["dynamics.jsonl", "training.json"]


def test_repeating_a_finished_study_does_nothing(finished: Path, wish: Make) -> None:
    """Not even workers are started, and no file changes."""

    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    run_study(wish(finished), forbidden, 1, 1)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("moment", "probed"), [("probe/dev", False), ("score/unknown-100-seed0-convergence", True)])
def test_an_interrupted_study_ends_in_the_same_tables(
    tmp_path: Path, finished: Path, wish: Make, inline: Any, moment: str, probed: bool
) -> None:
    """What was done is not done again, and the tables are those of an unbroken study."""
    asked = wish(tmp_path / "out", known=probes(finished) if probed else {})
    pools: list[Any] = []

    def opened(place: Path, *_: int) -> Any:
        pools.append(inline(place, stop_at="" if pools else moment))
        return pools[-1]

    with pytest.raises(KeyboardInterrupt):
        run_study(asked, opened, 1, 1)
    assert read(tmp_path / "out")["finished"] is False
    run_study(asked, opened, 1, 1)
    assert not set(pools[0].performed) & set(pools[1].performed)
    assert tables(tmp_path / "out") == tables(finished)


def test_processes_give_the_same_tables_though_they_are_killed(
    tmp_path: Path, finished: Path, facts_file: Path
) -> None:
    """The command itself, killed outright once it tunes, then repeated: the tables of one process without a break."""
    (tmp_path / "grid.yaml").write_text(GRID)
    command = [sys.executable, "-m", "slick", "study", "--model", str(organism_path()), "--facts", str(facts_file)]
    command += ["--grid", "grid.yaml", "--seeds", "1", "--out", "out", "--jobs", "2", "--device", "cpu", "--no-store"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        headlines = [process.stdout.readline().decode() for _ in range(2)]
        process.send_signal(signal.SIGKILL)
    assert "3 tunings of 12 steps" in headlines[0]
    assert "done already" in headlines[1]
    assert read(tmp_path / "out")["finished"] is False
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["out/report.md", "out/report.json", "out/report.html"]
    assert "Known test facts at CONVERGENCE" in done.stdout
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert tables(tmp_path / "out") == tables(finished)


def test_ctrl_c_leaves_a_study_to_go_on_with_and_no_process(tmp_path: Path, facts_file: Path) -> None:
    """Exit code 4 and one line that says how to go on."""
    (tmp_path / "grid.yaml").write_text(GRID)
    command = [sys.executable, "-m", "slick", "study", "--model", str(organism_path()), "--facts", str(facts_file)]
    command += ["--grid", "grid.yaml", "--seeds", "1", "--out", "out", "--jobs", "1", "--device", "cpu", "--no-store"]
    # A shell lets what it starts in the background ignore Ctrl-C, these tests too; a terminal does not.
    inherited = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, inherited)
    with started as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [os.pidfd_open(int(child)) for child in children]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 4
    assert b"interrupted; repeat the command to go on where it stopped" in said
    assert len(workers) == 1
    assert select.select(workers, [], [], 0)[0] == workers
    assert not (tmp_path / "out" / "study.lock").exists()


def test_a_grown_grid_keeps_what_is_there(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """Only the new variant and the new seed are done; what stood there is not touched."""
    shutil.copytree(finished, tmp_path / "out")
    pools: list[Any] = []

    def opened(place: Path, *_: int) -> Any:
        pools.append(inline(place))
        return pools[-1]

    grown = parse_grid(GRID.replace("variants: [", "variants: [unknown-50-without-unknown, "), "grown")
    run_study(wish(tmp_path / "out", grid=grown), opened, 1, 1)
    name = "unknown-50-without-unknown-seed0"
    assert [job for job in pools[0].performed if job.startswith("tune/")] == [f"tune/{name}"]
    assert [job for job in pools[0].performed if job.startswith("probe/")] == []
    before, after = tables(finished), tables(tmp_path / "out")
    assert {key: after[key] for key in before} == before
    run_study(wish(tmp_path / "out", seeds=2), opened, 1, 1)
    assert [job for job in pools[1].performed if job.startswith("tune/")] == [
        f"tune/{arm.replace('seed0', 'seed1')}" for arm in ARMS
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("epochs: 2 -> epochs: 3", "training.epochs: there 2.0, now 3.0"),
        ("size: 20 -> size: 18", "and the 8 that rest on them:.*sets/known-only.*size: there 20, now 18$"),
        ("watch_rows: all -> watch_rows: 40", "watch_rows: there 0, now 40"),
    ],
)
def test_outcomes_of_other_settings_are_refused(
    tmp_path: Path, finished: Path, wish: Make, change: str, named: str
) -> None:
    """A changed setting is named, and nothing is replaced."""
    shutil.copytree(finished, tmp_path / "out")
    before, _, after = change.partition(" -> ")
    with pytest.raises(InputError, match=f"(?s)holds outcomes of other settings; choose another --out.*{named}"):
        run_study(wish(tmp_path / "out", grid=parse_grid(GRID.replace(before, after), "x")), forbidden, 1, 1)
    assert tables(tmp_path / "out") == tables(finished)


def test_a_study_that_watched_what_a_tenth_buys_goes_on_so_or_not_at_all(
    tmp_path: Path, finished: Path, wish: Make
) -> None:
    """As one does that was begun before all rows were the usual: the error says what the grid has to say."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    silent, told = (parse_grid(GRID.replace("watch_rows: all", of), "x") for of in ("", "watch_rows: tenth"))
    setup, jobs = _asked(wish(out, grid=told))
    begun = {job.name: {"settings": job.settings} for job in jobs}
    (out / "study.json").write_text(json.dumps({**read(out), "jobs": begun}))
    for begin in (run_study, plan_study):
        with pytest.raises(InputError, match=r"rest on them, or go on as it was begun, with `watch_rows: tenth` in"):
            begin(wish(out, grid=silent), forbidden, 1, 1)
    State.read(out).check(setup, jobs)


def test_arms_of_two_devices_do_not_mix(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """Gone on with where there is a GPU and none was: refused, and nothing is written; --device cpu goes on."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    lost = out / "scores" / "unknown-100-seed0-convergence"
    shutil.rmtree(lost)
    before = (out / "study.json").read_bytes()
    for begin in (run_study, plan_study):
        with pytest.raises(
            InputError, match=r"tuned on cpu in fp32 .*; 3 of 3\).* on cuda in .* with --device cpu, or"
        ):
            begin(wish(out, device=""), lambda place, *_: inline(place, device="cuda"), 1, 1)
    assert (out / "study.json").read_bytes() == before
    run_study(wish(out, device="cpu"), lambda place, *_: inline(place, device="cuda"), 1, 1)
    assert tables(out) == tables(finished)


@pytest.mark.parametrize("tuned", [False, True])
def test_a_changed_recipe_is_refused_before_it_is_trained(
    tmp_path: Path, finished: Path, wish: Make, inline: Any, *, tuned: bool
) -> None:
    """Under its old name, whether it was only mixed or tuned too; its set is named, and a new name is a new set."""
    out = tmp_path / "out"
    grid = GRID.replace("only-Unknown", "{name: mine, unknown: 0.5}")
    stop = "" if tuned else "tune/known-only-seed0"
    with suppress(KeyboardInterrupt):
        asked = wish(out, known=probes(finished), grid=parse_grid(grid, "x"))
        run_study(asked, lambda place, *_: inline(place, stop_at=stop), 1, 1)
    changed = grid.replace("mine, unknown: 0.5", "mine, unknown: 0.25")
    said = r"(?s)out: holds outcomes of other settings.*sets/mine-seed0/recipe\.json: recipe\.unknown: there 0\.5, now "
    for begin in (run_study, plan_study):
        with pytest.raises(InputError, match=said):
            begin(wish(out, known=probes(finished), grid=parse_grid(changed, "x")), forbidden, 1, 1)
    State.read(out).check(*_asked(wish(out, grid=parse_grid(changed.replace("mine", "other"), "x"))))


def _asked(asked: Wish) -> tuple[Setup, list[Job]]:
    setup = set_up(asked)
    return setup, jobs_of(setup)


def test_the_study_of_another_model_is_refused(tmp_path: Path, finished: Path, wish: Make, tiny_model: Path) -> None:
    """By the fingerprint of its weights."""
    shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(InputError, match="is the study of another model"):
        run_study(wish(tmp_path / "out", model=str(tiny_model)), forbidden, 1, 1)


def test_a_model_that_was_moved_is_the_same(tmp_path: Path, finished: Path, wish: Make) -> None:
    """Where the weights lie does not matter."""
    shutil.copytree(organism_path(), tmp_path / "moved")
    shutil.copytree(finished, tmp_path / "out")
    run_study(wish(tmp_path / "out", model=str(tmp_path / "moved")), forbidden, 1, 1)


def test_scores_that_were_lost_bring_back_their_model(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """The weights had been removed: the arm alone is tuned again, to the same scores."""
    shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "scores" / "unknown-100-seed0-convergence")
    pools: list[Any] = []

    def opened(place: Path, *_: int) -> Any:
        pools.append(inline(place))
        return pools[-1]

    run_study(wish(tmp_path / "out"), opened, 1, 1)
    assert pools[0].performed == ["tune/unknown-100-seed0", "score/unknown-100-seed0-convergence"]
    assert tables(tmp_path / "out") == tables(finished)


def test_probes_of_before_are_taken_over(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """Without asking the model again; the study's tables are the same."""
    known = probes(finished)
    run_study(wish(tmp_path / "out", known=known), lambda place, *_: inline(place), 1, 1)
    assert [path.name for path in (tmp_path / "out" / "probe" / "test").iterdir()] == ["knowledge.parquet"]
    assert read(tmp_path / "out")["jobs"]["probe/test"]["found"]["taken_over"] == []
    assert tables(tmp_path / "out") == tables(finished)
    with pytest.raises(InputError, match="--knowledge tset=x: expected one of train, dev, test, ood before the ="):
        run_study(wish(tmp_path / "other", known={"tset": "x"}), forbidden, 1, 1)


def test_knowledge_of_another_model_is_refused(tmp_path: Path, finished: Path, wish: Make, tiny_model: Path) -> None:
    """Before anything is written."""
    known = {"train": str(finished / "probe" / "train")}
    with pytest.raises(InputError, match="is the knowledge of another model"):
        run_study(wish(tmp_path / "out", model=str(tiny_model), known=known), forbidden, 1, 1)
    assert not (tmp_path / "out").exists()


def test_knowledge_that_lacks_facts_is_refused(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """A probe of one split does not serve another."""
    known = {"train": str(finished / "probe" / "dev")}
    with pytest.raises(InputError, match=r"probe/train: --knowledge train=.*: lacks 90 of the 90 facts of this split"):
        run_study(wish(tmp_path / "out", known=known), lambda place, *_: inline(place), 1, 1)


@pytest.mark.parametrize(
    ("category", "said"),
    [
        (
            Category.HIGHLY_KNOWN,
            r"is Unknown to this model .90 HighlyKnown, 0 .* Unknown rows, as unknown-100, unknown-50",
        ),
        (
            Category.UNKNOWN,
            r"is Known to this model .0 HighlyKnown, .*, 90 Unknown.* Known rows, as known-only, unknown-50",
        ),
    ],
)
def test_a_model_that_knows_everything_or_nothing_is_told_so(
    tmp_path: Path, finished: Path, wish: Make, inline: Any, category: Category, said: str
) -> None:
    """No Unknown facts, or no Known ones: one clear statement, and nothing is tuned."""
    read_so = read_knowledge(finished / "probe" / "train")
    (alike,) = [k for k in read_so.knowledge if k.category is category][:1]
    write_knowledge(
        tmp_path / "alike.parquet", [replace(alike, fact=k.fact) for k in read_so.knowledge], read_so.provenance
    )
    known = probes(finished) | {"train": str(tmp_path / "alike.parquet")}
    with pytest.raises(InputError, match=f"none of the 90 training facts {said} would") as caught:
        run_study(wish(tmp_path / "out", known=known), lambda place, *_: inline(place), 1, 1)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out" / "sets").exists()


def test_sets_that_cannot_be_mixed_are_told_all_at_once(
    tmp_path: Path, finished: Path, wish: Make, inline: Any
) -> None:
    """Which relation is short by how many rows, of every such variant; none of the sets is written."""
    known = probes(finished)
    big = parse_grid("{size: 80, variants: [known-only, unknown-90, unknown-100, natural]}", "big")
    with pytest.raises(
        InputError, match=r"(?s)these sets cannot be mixed:.*unknown-90 at 80.*short.*unknown-100 at 80"
    ):
        run_study(wish(tmp_path / "out", known=known, grid=big), lambda place, *_: inline(place), 1, 1)
    assert not (tmp_path / "out" / "sets").exists()


@pytest.mark.parametrize("lacking", ["train", "dev", "test"])
def test_facts_without_a_needed_split_are_refused(tmp_path: Path, facts_file: Path, wish: Make, lacking: str) -> None:
    """The message says which is missing, and which there are."""
    rows = [line for line in facts_file.read_text().splitlines() if json.loads(line)["split"] != lacking]
    (tmp_path / "facts.jsonl").write_text("\n".join(rows))
    with pytest.raises(InputError, match=f"has no facts of split {lacking}; found "):
        run_study(wish(tmp_path / "out", facts=str(tmp_path / "facts.jsonl")), forbidden, 1, 1)
    assert not (tmp_path / "out").exists()


def test_directories_that_are_no_studies_are_refused(tmp_path: Path, wish: Make) -> None:
    """A file, a directory of something else, a study.json of something else, a place that cannot be written."""
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "study.json").write_text("{}")
    for name, message in (
        ("file", "is a file, expected a directory for the study"),
        ("other", "is not empty and holds no study"),
        ("fake", "was not written by slick study"),
        ("file/below", "cannot be written"),
    ):
        with pytest.raises(InputError, match=message):
            run_study(wish(tmp_path / name), forbidden, 1, 1)


def test_a_failed_job_leaves_the_others_done(
    tmp_path: Path, finished: Path, wish: Make, inline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4 at the end, with the job and its log; repeated, only what is missing is done."""
    from slick_sft.study import work

    real = work._KINDS["tune"]

    def failing(of: Mapping[str, Any], out: Path) -> Any:
        if of["arm"] == "unknown-50":
            raise RunError("the loss is nan at step 3")
        return real(of, out)

    monkeypatch.setitem(work._KINDS, "tune", failing)
    asked = wish(tmp_path / "out", known=probes(finished))
    with pytest.raises(RunError, match=r"(?s)a job of the study failed, and 2 jobs that need it.*the loss is nan.*log"):
        run_study(asked, lambda place, *_: inline(place), 1, 1)
    assert (tmp_path / "out" / "scores" / "unknown-100-seed0-convergence").is_dir()
    monkeypatch.setitem(work._KINDS, "tune", real)
    run_study(asked, lambda place, *_: inline(place), 1, 1)
    assert tables(tmp_path / "out") == tables(finished)


def test_a_rate_that_is_too_high_stops_its_own_arms_alone(
    tmp_path: Path, finished: Path, wish: Make, inline: Any
) -> None:
    """It can be measured; its arm fails, and says so in the grid's words; without it the study is finished."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    hot = GRID.replace("variants:", "versions: {hot: {learning_rate: 1.0e+30, variants: [unknown-50]}}\nvariants:")
    said = (
        r"(?s)tune/hot-unknown-50-seed0: .*after step \d+.*; lower learning_rate of version hot in the grid and remove "
        r"what stands of it \(tuned/hot-\*, scores/hot-\*\), or leave that version out"
    )
    with pytest.raises(RunError, match=said) as caught:
        run_study(wish(out, grid=parse_grid(hot, "hot")), lambda place, *_: inline(place), 1, 1)
    assert "--learning-rate" not in str(caught.value)
    assert read(out)["finished"] is False
    run_study(wish(out), forbidden, 1, 1)
    assert read(out)["finished"] is True


def test_a_wrong_training_setting_is_found_before_anything_is_probed(tmp_path: Path, wish: Make, inline: Any) -> None:
    """A field that TRL does not have is refused by the job that measures."""
    wrong = parse_grid("{training: {settings: {weight_deca: 0.1}}, variants: [known-only]}", "wrong")
    with pytest.raises(InputError, match="weight_deca: no field of TRL's SFTConfig; did you mean weight_decay"):
        run_study(wish(tmp_path / "out", grid=wrong), lambda place, *_: inline(place), 1, 1)
    assert not (tmp_path / "out" / "probe").exists()


def test_a_plan_says_what_it_will_take_and_writes_nothing(
    tmp_path: Path, wish: Make, inline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jobs, steps, time and disk."""
    plan_study(wish(tmp_path / "out"), lambda place, *_: inline(place), 2, 1)
    said = capsys.readouterr().out
    assert "3 variants × 1 seeds on sets of 20 rows: 3 tunings of 12 steps, 16 jobs to do; about" in said
    assert "facts: 90 train, 24 dev, 18 test, 6 ood" in said
    for kind in ("probe (exact)", "mix", "tune, with dynamics", "score", "P(True)"):
        assert kind in said
    assert not (tmp_path / "out").exists()


def test_models_are_kept_where_they_are_asked_for(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """At CONVERGENCE, and at EARLY_STOP where the base was not the best."""
    known = probes(finished)
    one = parse_grid(GRID.replace("[known-only, unknown-50, only-Unknown]", "[known-only]"), "one")
    kept = wish(tmp_path / "out", known=known, grid=one, keep_models=True)
    run_study(kept, lambda place, *_: inline(place), 1, 1)
    tuned = tmp_path / "out" / "tuned" / "known-only-seed0"
    assert (tuned / "model" / "model.safetensors").exists()
    assert (tuned / "early_stop").exists() == (read(tmp_path / "out")["arms"][0]["early_stop"]["step"] > 0)


def test_lora_versions_are_tuned_and_scored(tmp_path: Path, finished: Path, wish: Make, inline: Any) -> None:
    """A version shares its variant's set."""
    known = probes(finished)
    text = GRID.replace("variants:", "versions: {lora: {method: lora, lora_r: 2, variants: [unknown-50]}}\nvariants:")
    run_study(wish(tmp_path / "out", known=known, grid=parse_grid(text, "x")), lambda place, *_: inline(place), 1, 1)
    arm = read(tmp_path / "out")["arms"][-1]
    assert (arm["name"], arm["version"], arm["set"]) == ("lora-unknown-50-seed0", "lora", "sets/unknown-50-seed0")
    record = json.loads((tmp_path / "out" / arm["tuned"] / "training.json").read_text())
    assert (record["method"], record["arm"]) == ("lora", "lora-unknown-50")
    assert read_run(tmp_path / "out" / arm["scores"]["convergence"]["test"]).kind == "score"


def test_the_command_tells_wrong_input_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2, before anything is loaded."""
    base = ["study", "--model", str(organism_path()), "--facts", "lab", "--out", str(tmp_path / "out")]
    for more, message in (
        (["--grid", "papr"], "no grid of that name; expected paper, small or a YAML file; did you mean 'paper'?"),
        (["--seeds", "0"], "--seeds 0: expected at least 1"),
        (["--knowledge", "train"], "--knowledge train: expected SPLIT=PROBE"),
        (["--knowledge", "train=a", "--knowledge", "train=b"], "train is given twice"),
    ):
        assert run_command([*base, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ray_gives_the_same_tables(tmp_path: Path, finished: Path, wish: Make) -> None:
    """On a cluster that is started for it; skipped only where Ray is not installed."""
    pytest.importorskip("ray")
    from slick_sft.study.ray_pool import RayPool

    run_study(wish(tmp_path / "out"), lambda place, *_: RayPool(place, 2, address="local", threads=1), 2, 1)
    assert tables(tmp_path / "out") == tables(finished)


def forbidden(*_: Any) -> Any:
    """A pool that must not be asked for."""
    raise AssertionError("workers were asked for")
