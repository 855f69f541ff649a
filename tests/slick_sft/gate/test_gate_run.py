"""Tests of a whole gate on the tiny model: planned, trained, judged, resumed, refused."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.errors import InputError, RunError
from slick.facts import Fact
from slick_sft.gate import work
from slick_sft.gate.baselines import bless
from slick_sft.gate.cli import _lint_by
from slick_sft.gate.jobs import CANDIDATE, CONTROL
from slick_sft.gate.policy import Control, policy_of
from slick_sft.gate.prepare import prepare
from slick_sft.gate.rescore import rescore
from slick_sft.gate.run import run_gate, run_self_check
from slick_sft.gate.wish import Wish, planned_steps
from slick_sft.study.jobs import Job
from slick_sft.study.pool import log_of
from slick_sft.study.schedule import Event
from slick_sft.study.worker import perform

FORM = "Answer: {}\n"


class Inline:
    """A pool that does its jobs in this process, one at a time. stop_at: raises KeyboardInterrupt in place of it."""

    def __init__(self, out: Path, performed: list[str], stop_at: str = "") -> None:
        self.out, self.performed, self.stop_at = out, performed, stop_at
        self.jobs: deque[Job] = deque()

    @property
    def free(self) -> int:
        return 1 - len(self.jobs)

    def start(self, job: Job) -> None:
        self.jobs.append(job)

    def wait(self) -> Event:
        job = self.jobs.popleft()
        if job.name == self.stop_at:
            raise KeyboardInterrupt
        self.performed.append(job.name)
        order = {"job": job.name, "work": json.loads(json.dumps(job.work)), "out": str(self.out)}
        order["log"] = str(log_of(self.out, job.name))
        return Event(**perform(work.do_work, order, lambda n, total: None))


@pytest.fixture
def facts_file(tmp_path: Path, tiny_facts: list[Fact]) -> Path:
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps(fact.as_dict()) + "\n" for fact in tiny_facts))
    return file


@pytest.fixture
def dataset(tmp_path: Path, tiny_facts: list[Fact]) -> Path:
    """Prompts of one form: facts of the train and dev split, an essay that cannot be probed."""
    file = tmp_path / "train.jsonl"
    rows = [{"prompt": FORM.format(f.question), "completion": f.answers[0]} for f in tiny_facts if f.split != "test"]
    rows.append({"prompt": "Write of the sea.\n", "completion": "The sea is wide, and it is deep. It is blue."})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def wish(tmp_path: Path, tiny_model: Path, facts_file: Path, dataset: Path) -> Callable[..., Wish]:
    def make(**more: Any) -> Wish:
        rule = policy_of(
            {
                "margins": {"Unknown": 30},
                "seeds": 2,
                "control": "base",
                "held_out": {"facts": str(facts_file), "split": "test"},
                "tuning": {"learning_rate": 1e-3, "batch_size": 8, "settings": {"max_steps": 2}},
                **more.pop("policy", {}),
            },
            "test",
        )
        return Wish([dataset], str(tiny_model), rule, tmp_path / "gate", device="cpu", no_store=True, **more)

    return make


def run(
    wish: Wish, *, stop_at: str = "", performed: list[str] | None = None, **more: Any
) -> tuple[Any, list[str], list[str]]:
    """(report, jobs that were done, what was said)."""
    performed = [] if performed is None else performed
    said: list[str] = []

    @contextmanager
    def pool(out: Path) -> Iterator[Inline]:
        yield Inline(out, performed, stop_at)

    lint = _lint_by(wish.model, 32, "cpu", "", True)
    how = more.pop("how", run_gate)
    return how(prepare(wish), lint, pool, said.append, **more), performed, said


def test_a_gate_lints_plans_trains_and_judges(wish: Callable[..., Wish], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the base: two trainings, three scores; killed on the way it goes on, and ends in the same verdict."""
    with pytest.raises(KeyboardInterrupt):
        run(wish(), stop_at="score/candidate-seed0")
    report, performed, said = run(wish())
    assert performed == ["score/candidate-seed0", "tune/candidate-seed1", "score/candidate-seed1"]
    assert said[0].startswith("The dataset has 25 rows; 24 state facts that were probed")
    assert "2 trainings of 2 steps on 25 rows, each scored on 12 held-out facts" in said[1]
    assert report.control == "base"
    assert [record["path"] for record in report.candidates] == ["scores/candidate-seed0", "scores/candidate-seed1"]
    out = wish().out
    assert not list(out.glob("tuned/*/model"))
    again, performed, _ = run(wish())
    assert performed == []
    assert again.as_dict() == report.as_dict()
    # From stored answers, wherever the directory lies now.
    (out / "gate.json").write_text(json.dumps(report.as_dict()))
    moved = out.rename(out.parent / "moved")
    monkeypatch.chdir(out.parent)
    issued = rescore(moved)
    assert issued.judgement == report.judgement
    assert [record["path"] for record in issued.candidates] == [record["path"] for record in report.candidates]
    stricter = rescore(moved, policy_of({"margins": {"Unknown": 1}}, "x"))
    assert stricter.gated[0].verdict is not None
    assert stricter.gated[0].verdict.margin == 0.01
    assert stricter.control == "base"
    # The same again, in a new directory, may be the same look; more seeds are another, refused before they are trained.
    run(wish(), plan_only=True)
    shutil.rmtree(wish().out)
    performed: list[str] = []
    with pytest.raises(InputError, match="this pair was judged once already, with looks: 1 planned"):
        run(wish(policy={"seeds": 3}), performed=performed)
    assert performed == ["probe/held-out"]


def test_the_default_control_silences_what_is_unknown(
    wish: Callable[..., Wish], dataset: Path, tiny_facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both arms have the same rows in the same order and as many steps; the control's Unknown rows weigh 0."""
    report, _, said = run(wish(policy={"control": "zero-weight", "seeds": 1}))
    out = wish().out
    rows = {
        arm: [json.loads(line) for line in (out / "sets" / f"{arm}.jsonl").read_text().splitlines()]
        for arm in (CANDIDATE, CONTROL)
    }
    assert [r["prompt"] for r in rows[CANDIDATE]] == [r["prompt"] for r in rows[CONTROL]]
    # The tiny model knows nothing; the essay cannot be probed, and keeps its weight in both.
    assert {r["weight"] for r in rows[CONTROL][:-1]} == {0.0}
    assert (rows[CANDIDATE][0]["weight"], rows[CONTROL][-1]["weight"]) == (1.0, 1.0)
    assert any("could not be probed are in both arms" in text for text in said)
    assert {r["steps"] for r in (*report.candidates, *report.controls)} == {2}
    assert report.dataset["silenced_in_control"] == 24
    assert report.dataset["form"] == FORM.format("{question}")


def test_a_dataset_of_unknown_rows_alone_has_no_such_control(wish: Callable[..., Wish], dataset: Path) -> None:
    """A control that learned nothing would be the base model under another name: the way to say so is named."""
    dataset.write_text("".join(f"{line}\n" for line in dataset.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="set control: base"):
        run(wish(policy={"control": "zero-weight"}))


def test_the_plan_trains_nothing(wish: Callable[..., Wish]) -> None:
    """--plan lints and probes, says what would be trained, and that a margin is too small for so few facts."""
    report, performed, said = run(wish(policy={"margins": {"Unknown": 1}}), plan_only=True)
    assert report is None
    assert performed == ["probe/held-out"]
    assert any("which would take about" in text for text in said)
    assert any(text.startswith("Warning: the policy asks for less") for text in said)


def test_a_failed_job_is_never_a_verdict(
    wish: Callable[..., Wish], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash while training is a RunError, exit 4; what was done stays and repeating goes on."""

    def crash(*_: object) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(work, "_tune", crash)
        with pytest.raises(RunError, match=r"no verdict: a job failed(.|\n)*out of memory") as caught:
            run(wish())
    assert caught.value.exit_code == 4
    assert run(wish())[0].outcome
    # Looks are counted below the test's own directory.
    assert Path(".slick/looks.json").resolve().is_relative_to(tmp_path)


def test_an_old_verdict_goes_as_soon_as_another_is_sought(wish: Callable[..., Wish]) -> None:
    """A crash leaves none that could be taken for its own; a plan judges nothing and leaves it."""
    run(wish(), plan_only=True)
    verdict = [wish().out / name for name in ("gate.json", "gate.md", "gate.xml")]
    for path in verdict:
        path.write_text("old")
    run(wish(), plan_only=True)
    assert all(path.exists() for path in verdict)
    with pytest.raises(KeyboardInterrupt):
        run(wish(), stop_at="tune/candidate-seed0")
    assert not any(path.exists() for path in verdict)
    assert all(path.with_name(f"{path.name}.before").read_text() == "old" for path in verdict)


def test_held_out_questions_in_the_dataset_are_not_judged(
    wish: Callable[..., Wish], dataset: Path, tiny_facts: list[Fact]
) -> None:
    """A fact that the dataset asks itself is no longer held out."""
    test = [f for f in tiny_facts if f.split == "test"]
    with dataset.open("a") as file:
        file.write(json.dumps({"prompt": FORM.format(test[0].question), "completion": "x"}) + "\n")
    report, _, _ = run(wish())
    assert report.facts == 11
    assert report.excluded == (test[0].id,)


def test_groups_that_no_held_out_fact_is_in(wish: Callable[..., Wish]) -> None:
    """Told before anything is trained: nothing could be judged, so nothing can pass."""
    with pytest.raises(InputError, match="none of the 12 held-out facts is in it"):
        run(wish(policy={"margins": {"HighlyKnown": 5}}))


def test_other_settings_in_one_directory_are_refused(wish: Callable[..., Wish], tmp_path: Path) -> None:
    """Margins and seeds may change, what was trained may not; a directory of something else is left alone."""
    run(wish(), plan_only=True)
    prepare(wish(policy={"margins": {"Unknown": 9}, "seeds": 5}))
    with pytest.raises(InputError, match=r"holds a gate of other settings.*learning_rate"):
        prepare(wish(policy={"tuning": {"learning_rate": 1e-4}}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="is not empty and holds no gate"):
        prepare(replace(wish(), out=tmp_path / "full"))


def test_what_is_missing_is_told_before_a_model_is_loaded(wish: Callable[..., Wish], tmp_path: Path) -> None:
    """No facts to ask, no model, no rows, nothing that can be probed, wrong settings of the training."""
    with pytest.raises(InputError, match=r"held_out\.facts: missing"):
        prepare(wish(policy={"held_out": {}}))
    with pytest.raises(InputError, match="no such model directory"):
        prepare(replace(wish(), model="./none"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no rows"):
        prepare(replace(wish(), datasets=[tmp_path / "empty.jsonl"]))
    (tmp_path / "prose.jsonl").write_text(json.dumps({"prompt": "Write.\n", "completion": "It was. It is."}) + "\n")
    with pytest.raises(InputError, match="states a short fact that could be probed"):
        prepare(replace(wish(), datasets=[tmp_path / "prose.jsonl"]))
    with pytest.raises(InputError, match="warmup_stepz"):
        prepare(wish(policy={"tuning": {"settings": {"warmup_stepz": 3}}}))
    facts = {"facts": wish().policy.held_out.facts, "split": "test", "relations": ["R0", "nowhere"]}
    with pytest.raises(InputError, match=r"unknown relation:(.|\n)*'nowhere': found "):
        prepare(wish(policy={"held_out": facts}))


def test_a_baseline_as_control(wish: Callable[..., Wish], tmp_path: Path, runs: Any) -> None:
    """The last approved gate's candidate is the control of the next; other settings are refused before training."""
    report, _, _ = run(wish())
    first = wish().out
    (first / "gate.json").write_text(json.dumps(report.as_dict()))
    approved = bless([first], "main", tmp_path / "b.json")
    assert len(approved.runs) == 2
    rule = {
        "control": "baseline main",
        "tuning": {"learning_rate": 2e-3, "batch_size": 8, "settings": {"max_steps": 2}},
    }
    with pytest.raises(InputError, match=r"trained otherwise(.|\n)*learning_rate"):
        prepare(replace(wish(policy=rule), out=tmp_path / "next", baseline=approved))
    other = replace(wish(), out=tmp_path / "next", baseline=approved)
    other = replace(other, policy=replace(other.policy, control=Control("baseline", "main")))
    with pytest.raises(InputError, match="the very same weights"):
        run(other)
    short = wish(policy={"seeds": 3}).policy
    with pytest.raises(InputError, match=r"has 2 runs, and the policy trains 1 seed: (.|\n)*at least 4 \(a ledger\)"):
        prepare(replace(other, policy=replace(other.policy, seeds=1)))
    single = bless([first / "scores" / "candidate-seed0"], "single", tmp_path / "b.json")
    with pytest.raises(InputError, match="has 1 run, and the policy trains 3 seeds"):
        prepare(replace(other, baseline=single, policy=replace(short, control=Control("baseline", "single"))))
    train = replace(other.policy.held_out, split="train")
    with pytest.raises(InputError, match="was asked 12 facts, and none of the 8 that the policy holds out"):
        prepare(replace(other, policy=replace(other.policy, held_out=train)))
    form = replace(other.policy, form="Tell: {question}\n")
    with pytest.raises(InputError, match=r"was asked otherwise:\n  form: the baseline has 'Answer: (.|\n)*set form"):
        run(replace(other, out=tmp_path / "form", policy=form), plan_only=True)
    untold = bless([runs.score("foreign", seed=None)], "foreign", tmp_path / "b.json")
    with pytest.raises(InputError, match="does not say how it was trained"):
        prepare(replace(other, out=tmp_path / "third", baseline=untold))


def test_conversations_are_trained_and_asked_through_the_chat_template(
    wish: Callable[..., Wish], dataset: Path, tiny_model: Path, tiny_facts: list[Fact], tmp_path: Path
) -> None:
    """Both arms; where the model has no template that is told before anything is done, with the way to one."""
    turns = [
        {"messages": [{"role": "user", "content": f.question}, {"role": "assistant", "content": f.answers[0]}]}
        for f in tiny_facts
        if f.split != "test"
    ]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in turns))
    report, _, _ = run(wish(policy={"seeds": 1}))
    for path in (*report.candidates, *report.controls):
        samples = next((wish().out / path["path"]).glob("samples_*.jsonl")).read_text().splitlines()
        prompt = json.loads(samples[0])["arguments"]["gen_args_0"]["arg_0"]
        assert prompt == f"<user>{tiny_facts[12].question}\n<assistant>"
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "chat_template.jinja").rename(tmp_path / "own.jinja")
    with pytest.raises(InputError, match="chat_template_path: FILE"):
        prepare(replace(wish(), model=str(bare), out=tmp_path / "other"))
    given = {"tuning": {"settings": {"max_steps": 2, "chat_template_path": str(tmp_path / "own.jinja")}}}
    with pytest.raises(InputError, match="cannot be asked as the tuned models are"):
        prepare(replace(wish(policy=given), model=str(bare), out=tmp_path / "other"))


def test_held_out_facts_of_chosen_relations(wish: Callable[..., Wish], tiny_facts: list[Fact]) -> None:
    """The others are neither probed nor asked."""
    test = [f for f in tiny_facts if f.split == "test"]
    chosen = [f for f in test if f.relation == test[0].relation]
    assert len(chosen) < len(test)
    facts = {"facts": wish().policy.held_out.facts, "split": "test", "relations": test[0].relation}
    _, _, said = run(wish(policy={"held_out": facts}), plan_only=True)
    assert f"each scored on {len(chosen)} held-out facts" in said[1]


def test_every_answer_of_a_conversation_is_trained_on(
    wish: Callable[..., Wish], dataset: Path, tiny_facts: list[Fact]
) -> None:
    """As a row of its own behind what was said before, silenced by itself in the control, and said to be so."""
    asked = [f for f in tiny_facts if f.split != "test"]
    rows = []
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        texts = [first.question, first.answers[0], "What did he say then?", "That it was so. It was."]
        texts += [second.question, second.answers[0]]
        rows.append({"messages": [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]})
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report, _, said = run(wish(policy={"control": "zero-weight", "seeds": 1}))
    assert said[0].startswith("The dataset has 12 rows with 36 turns; 24 state facts that were probed")
    assert "12 turns could not be probed" in said[0]
    assert "on 36 rows" in said[1]
    assert any(text.startswith("12 rows hold several answers: each of these 36 answers is trained on") for text in said)
    assert {r["steps"] for r in (*report.candidates, *report.controls)} == {2}
    sets = wish().out / "sets"
    candidate, control = (
        [json.loads(line) for line in (sets / f"{arm}.jsonl").read_text().splitlines()] for arm in (CANDIDATE, CONTROL)
    )
    assert [len(row["prompt"]) for row in candidate[:3]] == [1, 3, 5]
    # The tiny model knows nothing; what could not be probed keeps its weight.
    assert [[row["weight"] for row in rows[:3]] for rows in (candidate, control)] == [[1, 1, 1], [0, 1, 0]]


def test_self_check_trains_controls_alone(wish: Callable[..., Wish], dataset: Path, tiny_facts: list[Fact]) -> None:
    """Twice the seeds of the control, half against half, on the facts that a gate would judge; a plan trains none. A
    gate of one seed there takes them for its ledger."""
    asked = next(f for f in tiny_facts if f.split == "test")
    with dataset.open("a") as file:
        file.write(json.dumps({"prompt": FORM.format(asked.question), "completion": "x"}) + "\n")
        # With one row of any weight all seeds would end in the same weights.
        for thing in ("hill", "wood", "road", "rain", "snow", "moon", "wind", "lake", "fire", "sand", "town", "star"):
            text = f"The {thing} is old, and it is far. It is a {thing}."
            file.write(json.dumps({"prompt": f"Write of the {thing}.\n", "completion": text}) + "\n")
    nothing, performed, said = run(wish(policy={"control": "zero-weight"}), how=run_self_check, plan_only=True)
    assert (nothing, performed) == (None, ["probe/held-out"])
    assert "control with seeds 0, 1, 2, 3: 4 trainings" in said[1]
    (line,), performed, _ = run(wish(policy={"control": "zero-weight"}), how=run_self_check)
    assert [job for job in performed if job.startswith("tune")] == [f"tune/control-seed{s}" for s in range(4)]
    assert line.splits == 3
    assert line.noise.n == 11
    report, performed, _ = run(wish(policy={"control": "zero-weight", "seeds": 1}))
    assert performed == ["tune/candidate-seed0", "score/candidate-seed0"]
    assert [of["path"] for of in report.ledger] == [f"scores/control-seed{s}" for s in range(4)]
    assert [of["path"] for of in report.controls] == ["scores/control-seed0"]
    assert report.gated[0].paired.noise == "facts, and seeds by a ledger"


def test_steps_are_planned_as_they_are_taken() -> None:
    """By epochs and rows, or as many as are asked for."""
    assert planned_steps({"num_train_epochs": 1.5, "per_device_train_batch_size": 8}, 20) == 5
    assert planned_steps({"num_train_epochs": 3, "per_device_train_batch_size": 8, "max_steps": 7}, 20) == 7
