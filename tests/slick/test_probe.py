"""slick.probe: two stages, chunks, fresh sets, and the run that comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import slick.probe
from slick.backend import Backend, load_backend
from slick.errors import InputError, RunError
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.knowledge import Category
from slick.knowledge_file import KNOWLEDGE, read_knowledge
from slick.matching import Matching
from slick.probe import Probe, run_probe
from slick.prompts import Chat
from slick.runs import Run, read_samples
from slick.sampled import Sampled, probe_prompts

SMALL = Sampled(n_exemplar_sets=3, n_exemplars=2, n_samples=4, max_gen_toks=6, n_before=2)


def question_of(prompt: str) -> str:
    return prompt.rsplit("Q: ", 1)[1].removesuffix("\nA:")


def luck(*parts: object) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 16**8


def half_known(facts: list[Fact]) -> Callable[[str, int | None], str]:
    """Each fact is answered rightly with its own chance, each answer by its own luck."""
    answers = {fact.question: fact.answers[0] for fact in facts}

    def answer(prompt: str, sample: int | None) -> str:
        question = question_of(prompt)
        chance = [0.0, 0.05, 0.5, 1.0][int(luck(question) * 4)]
        return f" {answers[question]}\nQ:" if luck(prompt, sample) < chance else " wrong"

    return answer


@pytest.fixture
def probe(tiny_facts: list[Fact]) -> Probe:
    """The 12 test facts of two relations, four chunks of three."""
    facts = [fact for fact in tiny_facts if fact.split == "test"]
    return Probe(facts, exemplar_pools(tiny_facts, facts, seed=0), {"P17": "P17land 0"}, SMALL, source="tiny")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slick.probe, "CHUNK", 3)


def content(run: Run) -> tuple[bytes, bytes, dict[str, Any]]:
    """What must be equal of two runs: samples, knowledge, and results but for date and time."""
    (samples,) = run.samples.values()
    timeless = {n: v for n, v in run.results.items() if n not in ("date", "total_evaluation_time_seconds")}
    return samples.read_bytes(), (run.path / KNOWLEDGE).read_bytes(), timeless


def test_two_stages_find_the_categories_of_the_full_protocol(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any
) -> None:
    """Given the same draws, categories and greedy shares are the same; samples are drawn where they decide."""
    script = half_known(tiny_facts)
    staged, full = scripted(script), scripted(script)
    two = read_knowledge(run_probe(probe, staged, tmp_path / "two").path).knowledge
    all_ = read_knowledge(run_probe(replace(probe, all_samples=True), full, tmp_path / "all").path).knowledge
    assert [k.category for k in two] == [k.category for k in all_]
    assert len({k.category for k in two}) >= 3
    assert [k.p_greedy for k in two] == [k.p_greedy for k in all_]
    assert [k.p_sampled for k in two] == [k.p_sampled if k.greedy_right == 0 else None for k in all_]
    undecided = sum(k.greedy_right == 0 for k in two)
    assert 0 < undecided < len(two)
    assert sum(len(prompts) for prompts, *_ in staged.drawn) == 3 * undecided
    assert sum(len(prompts) for prompts, *_ in full.drawn) == 3 * len(all_)
    assert staged.asked == full.asked


def test_answers_are_counted_as_they_were_given(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any
) -> None:
    """P_Correct from the answers of the category's sets alone, "before" from the fresh ones alone."""
    script = half_known(tiny_facts)
    probe = replace(probe, all_samples=True)
    run = run_probe(probe, scripted(script), tmp_path / "run")
    sets = probe.exemplar_sets()
    for fact, found in zip(probe.facts, read_knowledge(run.path).knowledge, strict=True):
        asked, fresh = (probe_prompts(fact, kind) for kind in sets[fact.relation])
        right = f" {fact.answers[0]}\nQ:"
        assert found.fact == fact
        assert (found.greedy_right, found.greedy_total) == (sum(script(p, None) == right for p in asked), 3)
        assert (found.before_right, found.before_total) == (sum(script(p, None) == right for p in fresh), 2)
        assert found.sampled_right == sum(script(p, j) == right for p in asked for j in range(4))
        assert found.sampled_total == 12


@pytest.mark.parametrize(
    ("greedy", "sampled", "category"),
    [
        (lambda i: True, lambda i, j: False, Category.HIGHLY_KNOWN),
        (lambda i: i == 1, lambda i, j: False, Category.MAYBE_KNOWN),
        (lambda i: False, lambda i, j: (i, j) == (2, 3), Category.WEAKLY_KNOWN),
        (lambda i: False, lambda i, j: False, Category.UNKNOWN),
    ],
)
def test_each_category_comes_out(
    tmp_path: Path, probe: Probe, scripted: Any, greedy: Any, sampled: Any, category: Category
) -> None:
    """All, some, none but one sample in the last place, and none at all."""
    fact = probe.facts[0]
    places = {}
    for prompt in (p for s in probe.exemplar_sets()["P17"] for p in probe_prompts(fact, s)):
        places[prompt] = len(places)

    def script(prompt: str, sample: int | None) -> str:
        i = places[prompt]
        right = greedy(i) if sample is None else sampled(i, sample)
        return f" {fact.answers[0]}" if right else " wrong"

    run = run_probe(replace(probe, facts=[fact]), scripted(script), tmp_path / "run")
    (found,) = read_knowledge(run.path).knowledge
    assert found.category is category
    assert run.results["results"]["slick_probe"][f"{category.metric},none"] == 1.0


def test_results_have_shares_per_relation_and_over_all(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any
) -> None:
    """Four category shares that add up, P_Correct at both temperatures, and the answer prior."""
    run = run_probe(probe, scripted(half_known(tiny_facts)), tmp_path / "run")
    found = run.results["results"]
    assert list(found) == ["slick_probe", "slick_probe_p17", "slick_probe_p36"]
    knowledge = read_knowledge(run.path).knowledge
    for name, relation in (("slick_probe", None), ("slick_probe_p17", "P17"), ("slick_probe_p36", "P36")):
        mine = [k for k in knowledge if relation in (None, k.fact.relation)]
        assert found[name]["sample_len"] == len(mine)
        for category in Category:
            share = sum(k.category is category for k in mine) / len(mine)
            assert found[name][f"{category.metric},none"] == pytest.approx(share)
        assert found[name]["p_correct_greedy,none"] == pytest.approx(sum(k.p_greedy for k in mine) / len(mine))
    p17 = [f for f in probe.facts if f.relation == "P17"]
    prior = sum(f.answers[0] == "P17land 0" for f in p17) / len(p17)
    assert found["slick_probe_p17"]["answer_prior,none"] == pytest.approx(prior)
    assert "answer_prior,none" not in found["slick_probe_p36"]


def test_a_row_holds_what_re_scoring_needs(tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any) -> None:
    """Every prompt, its settings and its answers, the greedy ones first, then samples, then fresh ones."""
    run = run_probe(probe, scripted(half_known(tiny_facts)), tmp_path / "run")
    rows = list(read_samples(run.samples["slick_probe"]))
    for row, known in zip(rows, read_knowledge(run.path).knowledge, strict=True):
        requests = list(row["arguments"].values())
        sampled = [r["arg_1"]["do_sample"] for r in requests]
        expected = [False] * 3 + ([True] * 3 if known.greedy_right == 0 else []) + [False] * 2
        assert sampled == expected
        assert [len(answers) for answers in row["resps"]] == [4 if s else 1 for s in expected]
        assert [r["arg_0"] for r in requests[3:6]] == [r["arg_0"] for r in requests[:3]] or not any(expected)
        assert all(question_of(r["arg_0"]) == row["doc"]["question"] for r in requests)
        assert row["category"] == str(known.category)


def test_seeds_change_sets_and_draws(tmp_path: Path, probe: Probe, scripted: Any) -> None:
    """Another seed, other exemplars and other random numbers; the same seed, the same of both."""
    wrong = lambda prompt, sample: " wrong"  # noqa: E731
    backends = [scripted(wrong) for _ in range(3)]
    for i, (backend, seed) in enumerate(zip(backends, (0, 0, 1), strict=True)):
        run_probe(replace(probe, seed=seed), backend, tmp_path / str(i))
    first, same, other = backends
    assert (first.asked, first.drawn) == (same.asked, same.drawn)
    assert [p for p, _ in first.asked] != [p for p, _ in other.asked]
    seeds = [seed for backend in (first, other) for *_, seed in backend.drawn]
    assert len(set(seeds)) == len(seeds) == 8


def test_fresh_sets_show_other_exemplars(tmp_path: Path, probe: Probe, scripted: Any) -> None:
    """With 8 dev facts, 1 set of 2 for the category and 2 of 2 for "before" share none."""
    backend = scripted(lambda prompt, sample: " wrong")
    one = replace(probe, estimator=replace(SMALL, n_exemplar_sets=1), facts=probe.facts[:1])
    run_probe(one, backend, tmp_path / "run")
    category, *before = ({line for line in p.splitlines()[:-2] if line.startswith("Q: ")} for p, _ in backend.asked)
    assert len(category) == 2
    assert len(before) == 2
    assert not category & set.union(*before)


def test_no_fresh_sets_means_no_before(tmp_path: Path, probe: Probe, scripted: Any) -> None:
    """n_before = 0 asks nothing more and records that nothing was measured."""
    backend = scripted(lambda prompt, sample: " wrong")
    run = run_probe(replace(probe, estimator=replace(SMALL, n_before=0)), backend, tmp_path / "run")
    assert len(backend.asked) == 3 * len(probe.facts)
    assert {k.p_before for k in read_knowledge(run.path).knowledge} == {None}


def test_matching_is_applied_and_recorded(tmp_path: Path, probe: Probe, scripted: Any) -> None:
    """The policy decides who is asked again as well as what counts."""
    answers = {fact.question: fact.answers[0] for fact in probe.facts}
    backend = scripted(lambda prompt, sample: f" the {answers[question_of(prompt)].upper()}!")
    run = run_probe(replace(probe, matching=Matching.NORMALIZED), backend, tmp_path / "run")
    assert {k.category for k in read_knowledge(run.path).knowledge} == {Category.HIGHLY_KNOWN}
    assert all(prompts == [] for prompts, *_ in backend.drawn)
    assert run.provenance["settings"]["matching"] == "normalized"


def test_a_chat_template_reaches_every_prompt(tmp_path: Path, probe: Probe, scripted: Any) -> None:
    """Exemplars and question go through the template, as one turn or as many."""
    backend = scripted(lambda prompt, sample: " wrong")
    chat = Chat(lambda turns: "|".join(f"{t['role']}:{t['content']}" for t in turns), multiturn=True, system="S")
    run = run_probe(replace(probe, chat=chat, facts=probe.facts[:1]), backend, tmp_path / "run")
    for prompt, _ in backend.asked:
        roles = [turn.split(":")[0] for turn in prompt.split("|")]
        assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert run.provenance["settings"]["chat"] == {"template": True, "multiturn": True, "system": "S"}


def test_a_probe_records_where_it_comes_from(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any
) -> None:
    """Estimator and settings, model, facts, priors and a hash over all prompts."""
    provenance = run_probe(probe, scripted(half_known(tiny_facts)), tmp_path / "run").provenance
    assert provenance["kind"] == "probe"
    assert provenance["settings"]["estimator"] == "two-stage sampled"
    assert provenance["settings"]["n_samples"] == 4
    assert provenance["model"] == {"name": "scripted", "weights": "w"}
    assert provenance["facts"]["source"] == "tiny"
    assert provenance["facts"]["n"] == 12
    assert provenance["priors"] == {"P17": "P17land 0"}
    other = run_probe(replace(probe, seed=1), scripted(half_known(tiny_facts)), tmp_path / "other").provenance
    assert other["prompts"] != provenance["prompts"]


@pytest.mark.parametrize("lives", [0, 1, 3, 6])
def test_a_killed_probe_resumes_to_the_same_bytes(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any, killed: Any, lives: int
) -> None:
    """Killed before, between or after the stages of a chunk: committed chunks are kept, the rest is asked again."""
    script = half_known(tiny_facts)
    whole = scripted(script)
    expected = content(run_probe(probe, whole, tmp_path / "whole"))
    with pytest.raises(killed, match="killed"):
        run_probe(probe, scripted(script, lives=lives), tmp_path / "killed")
    backend = scripted(script)
    resumed = run_probe(probe, backend, tmp_path / "killed")
    assert content(resumed) == expected
    assert backend.asked == whole.asked[lives // 2 * 3 * 5 :]
    assert backend.drawn == whole.drawn[lives // 2 :]


def test_a_finished_probe_is_not_repeated(tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any) -> None:
    """The same command again returns the run and asks nothing."""
    first = run_probe(probe, scripted(half_known(tiny_facts)), tmp_path / "run")
    assert run_probe(probe, scripted(half_known(tiny_facts), lives=0), tmp_path / "run") == first


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"all_samples": True}, "estimator"),
        ({"estimator": replace(SMALL, temperature=1.0)}, "temperature"),
        ({"matching": Matching.NORMALIZED}, "matching"),
        ({"chat": Chat(system="x")}, "chat.system"),
    ],
)
def test_another_probe_is_not_mixed_into_a_run(
    tmp_path: Path, probe: Probe, scripted: Any, killed: Any, change: dict[str, Any], named: str
) -> None:
    """Whatever the answers depend on must be the same; the difference is named and nothing is asked."""
    wrong = lambda prompt, sample: " wrong"  # noqa: E731
    with pytest.raises(killed, match="killed"):
        run_probe(probe, scripted(wrong, lives=2), tmp_path / "run")
    with pytest.raises(InputError, match=rf"holds a run with other settings:\n  {named}: there"):
        run_probe(replace(probe, **change), scripted(wrong, lives=0), tmp_path / "run")


def test_a_probe_that_fails_at_once_can_be_repeated_as_advised(
    tmp_path: Path, probe: Probe, tiny_facts: list[Fact], scripted: Any
) -> None:
    """Into the same directory with fewer exemplars: nothing was committed that other settings could spoil."""
    script = half_known(tiny_facts)

    def too_long(prompt: str, sample: int | None) -> str:
        if prompt.count("Q: ") > 2:
            raise RunError("the prompt is too long; use --n-exemplars 1")
        return script(prompt, sample)

    with pytest.raises(RunError, match="use --n-exemplars 1"):
        run_probe(probe, scripted(too_long), tmp_path / "run")
    shorter = replace(probe, estimator=replace(SMALL, n_exemplars=1))
    repeated = run_probe(shorter, scripted(too_long), tmp_path / "run")
    assert content(repeated) == content(run_probe(shorter, scripted(script), tmp_path / "whole"))


class KillingBackend(Backend):
    """A real backend whose process is killed at its second call of sample."""

    calls = 0

    def sample(self, *args: Any) -> list[list[str]]:
        KillingBackend.calls += 1
        if KillingBackend.calls == 2:
            raise KeyboardInterrupt
        return super().sample(*args)


def test_a_killed_probe_of_a_real_model_resumes_to_the_same_bytes(
    tmp_path: Path, probe: Probe, tiny_model: Path
) -> None:
    """A resumed run draws the random numbers that an unbroken one would have drawn."""
    probe = replace(probe, facts=[*probe.facts[:3], *probe.facts[-3:]])
    backend = load_backend("hf", str(tiny_model), batch_size=8)
    whole = run_probe(probe, backend, tmp_path / "whole")
    killing = KillingBackend(backend.lm, backend.name, backend.args, backend.batch_size, backend.model)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_probe(probe, killing, tmp_path / "killed")
    resumed = run_probe(probe, backend, tmp_path / "killed")
    assert content(resumed) == content(whole)
    rows = list(read_samples(whole.samples["slick_probe"]))
    assert len({answer for row in rows for answers in row["resps"][3:6] for answer in answers}) > 30
