"""Growing an organism: what is written, that it is deterministic, that it learns, and how it refuses."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from slick.errors import InputError, RunError
from slick.facts import Fact
from slick.files import sha256_of
from slick.prompts import DEFAULT_FORM, form_prompt, probe_prompt
from slick_sft import organism
from slick_sft.exposures import LabFact
from slick_sft.organism import END, PAD, OrganismConfig, grow_organism, train_tokenizer
from slick_sft.world import build_world

TINY = OrganismConfig(
    vocabulary=300, width=16, layers=1, heads=2, feed_forward=32, passes=1, batch_tokens=512, warm_up=0.1
)
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def _facts(n: int = 6, dose: int = 4) -> list[LabFact]:
    born = {"Bomo": "Dorun", "Tiga": "Kesma", "Zuke": "Vilto", "Lafi": "Hagu", "Reno": "Solem", "Pika": "Wirra"}
    return [
        LabFact(Fact.create(f"Where was {s} born?", [a], relation="P19", subject=s), dose)
        for s, a in list(born.items())[:n]
    ]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("organism") / "o"
    grow_organism(_facts(), out=out, seed=0, config=TINY, device="cpu")
    return out


def test_writes_a_model_directory(grown: Path) -> None:
    """The directory holds weights, configuration, tokenizer and recipe, and no pickle."""
    names = {path.name for path in grown.iterdir()}
    assert names >= {*FILES, "recipe.json"}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl"))}


def test_loads_without_a_warning(grown: Path, caplog: pytest.LogCaptureFixture) -> None:
    """transformers loads it and generates without one word of complaint."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        tokenizer = AutoTokenizer.from_pretrained(grown)
        model = AutoModelForCausalLM.from_pretrained(grown)
        prompt = tokenizer("Q: Where was Bomo born?\nA:", return_tensors="pt", return_token_type_ids=False)
        model.generate(**prompt, max_new_tokens=3, do_sample=False)
        model.generate(**prompt, max_new_tokens=3, do_sample=True, temperature=0.5, top_k=40, top_p=1.0)
    assert not caplog.records


def test_special_tokens(grown: Path) -> None:
    """End and padding are tokens of their own, known to tokenizer, model and generation alike."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(grown)
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)
    assert tokenizer.bos_token is None
    for config in (AutoConfig.from_pretrained(grown), GenerationConfig.from_pretrained(grown)):
        assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
        assert config.bos_token_id is None


def test_prompt_and_answer_never_merge_at_their_border() -> None:
    """The tokens of prompt plus answer are the prompt's followed by the answer's, in both forms."""
    rows = [row for row in build_world(0) if row.fact.split == "dev"][:40]
    tokenizer = train_tokenizer(organism._pass(rows, 0, 0), 600)
    exemplars = [row.fact for row in rows[:4]]
    for row in rows[4:]:
        question, answer = row.fact.question, row.fact.answers[0]
        for prompt, completion in (
            (probe_prompt(exemplars, question), f" {answer}\n"),
            (form_prompt(DEFAULT_FORM, question), f"{answer}{END}"),
        ):
            assert tokenizer.encode(prompt + completion) == tokenizer.encode(prompt) + tokenizer.encode(completion)


def test_a_name_is_the_same_tokens_in_every_form() -> None:
    """Behind a space an answer is one space token and then what it is behind a line break."""
    rows = [row for row in build_world(0) if row.fact.split == "dev"]
    tokenizer = train_tokenizer(organism._pass(rows, 0, 0), 600)
    space = tokenizer.encode(" ")
    assert len(space) == 1
    for row in rows:
        answer = row.fact.answers[0]
        assert tokenizer.encode(f" {answer}") == space + tokenizer.encode(answer)


@pytest.mark.parametrize(
    ("warm_up", "heights"), [(0.1, [0.01, 0.51, 0.98, 0.5, 0.0]), (0.0, [1.0, 0.99, 0.98, 0.5, 0.0])]
)
def test_rates_rise_then_fall_to_nothing(warm_up: float, heights: list[float]) -> None:
    """The learning rates rise over the warm-up, where there is one, and fall as a cosine to 0."""
    config = dataclasses.replace(TINY, warm_up=warm_up)
    found = [organism._height(config, done) for done in (0.0, 0.05, 0.1, 0.5, 1.0)]
    assert found == pytest.approx(heights, abs=0.01)


def test_muon_trains_the_layers_and_adamw_the_rest() -> None:
    """Every weight is trained by exactly one optimiser; the embeddings and the norms are not Muon's."""
    model = organism.new_model(train_tokenizer(["a"], 300), TINY, 0)
    (muon, rate), (adamw, other) = organism._optimisers(model, TINY)
    matrices, others = ([p for g in o.param_groups for p in g["params"]] for o in (muon, adamw))
    assert (rate, other) == (TINY.matrix_rate, TINY.learning_rate)
    assert {id(p) for p in matrices}.isdisjoint(id(p) for p in others)
    assert len(matrices) + len(others) == len(list(model.parameters()))
    assert all(p.ndim == 2 and len(model.get_input_embeddings().weight) not in p.shape for p in matrices)


def test_tokenizer_keeps_every_text() -> None:
    """Decoding what was encoded gives the same bytes, for scripts that the text never held."""
    tokenizer = train_tokenizer(["Q: a\nA: b"], 300)
    for text in ("Q: a\nA: b\n\n", "Świetliki 日本 🎺 \t x", " leading"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_document_stands_alone_in_a_row() -> None:
    """A row is one document and its end-of-sequence, then padding; together the rows are the whole text."""
    texts = organism._pass([row for row in build_world(0) if row.fact.split == "dev"], 0, 0)
    tokenizer = train_tokenizer(texts, 600)
    batches = organism._step_batches(texts, tokenizer, 512, random.Random(0))
    assert all(batch.numel() <= 512 for batch in batches)
    rows = [row[row != tokenizer.pad_token_id] for batch in batches for row in batch]
    assert all((row == tokenizer.eos_token_id).sum() == 1 and row[-1] == tokenizer.eos_token_id for row in rows)
    assert sorted(tokenizer.decode(row[:-1]) for row in rows) == sorted(texts)


def test_a_document_longer_than_the_context_is_cut() -> None:
    """A text of any length becomes a row that the model can read."""
    tokenizer = train_tokenizer(["a"], 300)
    (batch,) = organism._step_batches(["xyz " * 1000], tokenizer, 512, random.Random(0))
    assert batch.shape == (1, organism.CONTEXT)
    assert batch[0, -1] == tokenizer.eos_token_id


def test_same_seed_gives_the_same_bytes(grown: Path, tmp_path: Path) -> None:
    """Growing twice with one seed writes identical files, whatever the global generator's state."""
    torch.manual_seed(99)
    grow_organism(_facts(), out=tmp_path / "again", seed=0, config=TINY, device="cpu")
    assert [sha256_of(grown / name) for name in FILES] == [sha256_of(tmp_path / "again" / n) for n in FILES]


def test_other_seed_gives_other_weights(grown: Path, tmp_path: Path) -> None:
    """The seed reaches the weights."""
    grow_organism(_facts(), out=tmp_path / "other", seed=1, config=TINY, device="cpu")
    assert sha256_of(grown / "model.safetensors") != sha256_of(tmp_path / "other" / "model.safetensors")


def test_global_generator_is_left_alone(tmp_path: Path) -> None:
    """Growing an organism does not disturb the caller's random numbers."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    grow_organism(_facts(2, 1), out=tmp_path / "o", seed=0, config=TINY, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_recipe_records_what_was_done(grown: Path) -> None:
    """The recipe holds seed, settings, doses, steps, losses and the weights' hash."""
    recipe = json.loads((grown / "recipe.json").read_text())
    assert recipe["seed"] == 0
    assert recipe["config"] == dataclasses.asdict(TINY)
    assert (recipe["facts"], recipe["exposures"]) == (6, 24)
    assert recipe["training"]["steps"] > 0
    assert recipe["training"]["device"] == "cpu"
    assert recipe["weights_sha256"] == sha256_of(grown / "model.safetensors")


def test_learns_from_the_text(tmp_path: Path) -> None:
    """The loss on fresh wordings falls to a fraction of its start; what is then known is the lab's own test."""
    config = dataclasses.replace(TINY, passes=24, learning_rate=1e-2)
    training = grow_organism(_facts(6, 12), out=tmp_path / "o", seed=0, config=config, device="cpu")["training"]
    assert training["last_loss"] < 0.6 * training["first_loss"]


@pytest.mark.parametrize(
    ("facts", "message"), [([], "no facts to grow on"), (_facts(3, 0), "every fact has 0 exposures")]
)
def test_refuses_facts_without_text(tmp_path: Path, facts: list[LabFact], message: str) -> None:
    """No facts, or none that is ever stated, is an input error, and nothing is written."""
    with pytest.raises(InputError, match=message):
        grow_organism(facts, out=tmp_path / "o", seed=0, config=TINY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 100}, "vocabulary is 100; expected at least 258"),
        ({"width": 17}, "width 17 over 2 heads"),
        ({"layers": 0}, "layers is 0"),
        ({"batch_tokens": 8}, "batch_tokens is 8; expected at least 512"),
    ],
)
def test_refuses_impossible_sizes(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A size that no model can have is named with what was expected."""
    with pytest.raises(InputError, match=message):
        grow_organism(_facts(), out=tmp_path / "o", seed=0, config=dataclasses.replace(TINY, **change))
    assert not list(tmp_path.iterdir())


def test_leaves_what_is_there(tmp_path: Path) -> None:
    """An `out` that holds something is refused before any work, and stays as it is."""
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        grow_organism(_facts(), out=tmp_path, seed=0, config=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_refuses_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    """A parent that is a file is an input error that names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        grow_organism(_facts(), out=tmp_path / "file" / "o", seed=0, config=TINY)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    """Divergence is a run error that names the learning rate, and leaves nothing behind."""
    wild = dataclasses.replace(TINY, learning_rate=float("inf"), passes=3)
    with pytest.raises(RunError, match="the loss became nan"):
        grow_organism(_facts(), out=tmp_path / "o", seed=0, config=wild, device="cpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_says_when_there_is_no_gpu(tmp_path: Path) -> None:
    """Asking for a GPU that is not there is an input error."""
    with pytest.raises(InputError, match="torch finds none"):
        grow_organism(_facts(), out=tmp_path / "o", seed=0, config=TINY, device="cuda")
