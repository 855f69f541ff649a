"""The shipped lab: its facts are the world's, its organism knows what it was shown, and it is small."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from slick.facts import Fact, facts_digest
from slick.files import sha256_of
from slick.prompts import DEFAULT_FORM, form_prompt
from slick_tasks.lab import data_path, load_exposures, load_facts, organism_path


def test_every_fact_has_an_exposure() -> None:
    """Facts and exposures name the same ids, and about a quarter was never stated."""
    exposures = load_exposures()
    assert [fact.id for fact in load_facts()] == list(exposures)
    assert 0.22 <= sum(not n for n in exposures.values()) / len(exposures) <= 0.28


def test_ids_are_the_hash_of_the_fact() -> None:
    """The ids on disk are those that the facts themselves have."""
    for fact in load_facts():
        made = Fact.create(fact.question, fact.answers, relation=fact.relation, subject=fact.subject, split=fact.split)
        assert made == fact


def test_shipped_files_fit_in_five_megabytes() -> None:
    """All of the lab's data together stays under 5 MB."""
    assert sum(path.stat().st_size for path in data_path().rglob("*") if path.is_file()) <= 5_000_000


def test_recipe_belongs_to_the_shipped_weights() -> None:
    """The recipe's hash is that of the weights beside it, and its counts are those of the facts."""
    recipe = json.loads((data_path() / "recipe.json").read_text())
    assert recipe["organism"]["weights_sha256"] == sha256_of(organism_path() / "model.safetensors")
    assert recipe["organism"]["facts"] == len(load_facts())
    assert recipe["organism"]["exposures"] == sum(load_exposures().values())
    assert recipe["organism"]["facts_digest"] == facts_digest(load_facts())
    assert recipe["seed"] == 0


def test_loading_facts_imports_nothing_heavy() -> None:
    """Reading the lab's facts needs neither torch nor transformers nor datasets."""
    code = (
        "import sys; from slick_tasks.lab import load_facts; load_facts();"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def right() -> dict[str, list[bool]]:
    """Zero-shot in the training form: is the answer right, for test facts stated often, and never."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(organism_path())
    model = AutoModelForCausalLM.from_pretrained(organism_path())
    exposures = load_exposures()
    test = [fact for fact in load_facts() if fact.split == "test"]
    found: dict[str, list[bool]] = {}
    for name, chosen in (
        ("often", [f for f in test if exposures[f.id] >= 8][:100]),
        ("never", [f for f in test if exposures[f.id] == 0][:100]),
    ):
        prompts = [form_prompt(DEFAULT_FORM, fact.question) for fact in chosen]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
        with torch.inference_mode():
            ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
        answers = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        found[name] = [a.split("\n")[0].strip() in f.answers for a, f in zip(answers, chosen, strict=True)]
    return found


def test_organism_answers_what_it_was_shown_often(right: dict[str, list[bool]]) -> None:
    """Nearly all facts stated 8 times a pass or more are answered in the training form, without exemplars."""
    assert sum(right["often"]) >= 80


def test_organism_does_not_answer_what_it_never_saw(right: dict[str, list[bool]]) -> None:
    """Facts never stated are right no oftener than by luck of the answer prior."""
    assert sum(right["never"]) <= 10
