"""What tests share: a scripted backend, runs of made-up rows, and small random models in `hf` and `slick-hf`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from slick.backend import quiet
from slick.exact import ExactRequest
from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.run_writer import RunWriter
from slick.runs import Row, Run, sample_row
from slick.sampled import Sampled, greedy_kwargs

Request = tuple[str, Mapping[str, Any]]


class Killed(BaseException):
    """What a killed process would not live to see."""


@dataclass
class ScriptedBackend:
    """Stands for `slick.backend.Backend`.

    answer: from prompt and number of the sample (None for a greedy answer) to what the model writes.
    lives: calls of generate and sample until it is killed; None for ever.
    asked, drawn: the requests and (prompts, n, seed) seen so far.
    """

    answer: Callable[[str, int | None], str]
    lives: int | None = None
    independent_samples: bool = False
    tie: float = 1e-3
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "scripted", "weights": "w"})
    asked: list[Request] = field(default_factory=list)
    drawn: list[tuple[list[str], Mapping[str, Any], int, int]] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> list[str]:
        self._live()
        self.asked += requests
        return [self.answer(prompt, None) for prompt, _ in requests]

    def sample(self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int) -> list[list[str]]:
        self._live()
        self.drawn.append((list(prompts), kwargs, n, seed))
        return [[self.answer(prompt, j) for j in range(n)] for prompt in prompts]

    def provenance(self) -> dict[str, Any]:
        return {"name": "scripted", "args": {}, "batch_size": 8}

    def _live(self) -> None:
        if self.lives is not None:
            if self.lives == 0:
                raise Killed("killed")
            self.lives -= 1


@pytest.fixture
def scripted() -> type[ScriptedBackend]:
    return ScriptedBackend


@pytest.fixture
def killed() -> type[Killed]:
    """What a scripted backend raises when its lives are used up."""
    return Killed


@dataclass(frozen=True)
class MadeUpRuns:
    """Runs of a few made-up rows, whole or in the making; every one has the same contents."""

    total: int = 8
    chunk: int = 3
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {"seed": 0, "model": {"weights": "w"}, "matching": "strict"}
    )
    greedy: Mapping[str, Any] = field(default_factory=lambda: {"until": ["\n"], "do_sample": False})

    @property
    def facts(self) -> list[Fact]:
        return [
            Fact.create(f"Where is {i}?", ["Ä", "b"], relation=f"r{i % 2}", split="test") for i in range(self.total)
        ]

    def knowledge(self, i: int) -> Knowledge:
        return Knowledge(self.facts[i], i, self.total, i, self.total, 1, 5)

    def row(self, i: int) -> Row:
        """A row whose second answer is there for odd facts only, as a probe's samples are."""
        requests = [(f"Q: {i}\nA:", self.greedy)] * (1 + i % 2)
        answers = [[f" answer\u2028 {i}"]] * len(requests)
        return sample_row(i, self.facts[i], requests, answers, {"exact_match": float(i % 2)})

    def writer(self, out: Path, **changed: Any) -> RunWriter:
        return RunWriter(out, "closed_book", {**self.settings, **changed}, total=self.total, chunk=self.chunk)

    def commit_rest(self, run: RunWriter) -> None:
        for first in range(run.done, self.total, self.chunk):
            run.commit([self.row(i) for i in range(first, min(first + self.chunk, self.total))])

    def finish(self, run: RunWriter) -> Run:
        versions = {"lm_eval": "0"}
        return run.finish(
            {"sample_len": self.total, "exact_match,none": 0.5, "exact_match_stderr,none": 0.2},
            provenance={"schema": 1, "kind": "score", "model": {"name": "m", "weights": "w"}, "versions": versions},
            knowledge=[self.knowledge(i) for i in range(self.total)],
            per_relation={r: {"sample_len": 4, "exact_match,none": 0.5} for r in ("r0", "r1")},
            seconds=1.5,
        )

    def whole(self, out: Path) -> Run:
        run = self.writer(out)
        self.commit_rest(run)
        return self.finish(run)


@pytest.fixture(scope="session")
def made_up() -> MadeUpRuns:
    return MadeUpRuns()


# Small models of every kind that the engine is tried on: names of their configuration and class, and their shape.
_SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_GROUPED = _SHAPE | {"num_key_value_heads": 1, "head_dim": 16}
WINDOW = 64
_KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama": ("Llama", "LlamaForCausalLM", _SHAPE),
    "Qwen3": ("Qwen3", "Qwen3ForCausalLM", _GROUPED),
    "Gemma3": (
        "Gemma3Text",
        "Gemma3ForCausalLM",
        _GROUPED | {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "Mistral": ("Mistral", "MistralForCausalLM", _GROUPED | {"sliding_window": WINDOW}),
    "GPT2": ("GPT2", "GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512}),
    "GPTNeoX": ("GPTNeoX", "GPTNeoXForCausalLM", _SHAPE),
    "Mixtral": ("Mixtral", "MixtralForCausalLM", _GROUPED | {"num_local_experts": 4, "sliding_window": None}),
    "Bloom": ("Bloom", "BloomForCausalLM", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
    "MPT": ("Mpt", "MptForCausalLM", {"d_model": 32, "n_heads": 2, "n_layers": 2, "max_seq_len": 512}),
    "Mamba": ("Mamba", "MambaForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="session")
def random_model(tiny_tokenizer: Any) -> Callable[..., Any]:
    """Builds a small random model of a kind, by default over the tiny model's tokenizer; the same one is built once.

    Its weights are large, so that its next-token logits lie far apart and depend on the whole prompt. It likes to
    end a line, and prints ASCII, so that its answers read like answers.
    """
    from slick.vocabulary import read_vocabulary

    built: dict[str, tuple[Any, Any]] = {}

    def build(kind: str, tokenizer: Any = tiny_tokenizer, seed: int = 1, **changes: Any) -> Any:
        import torch
        import transformers

        key = repr((kind, id(tokenizer), seed, changes))
        if key in built:
            return built[key][0]
        config, name, shape = _KINDS[kind]
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        settings = {"vocab_size": len(tokenizer), "tie_word_embeddings": False, **ends, **shape, **changes}
        settings["pad_token_id"] = tokenizer.pad_token_id
        torch.manual_seed(seed)
        model = getattr(transformers, name)(getattr(transformers, f"{config}Config")(**settings)).eval()
        for which, parameter in model.named_parameters():
            if parameter.dim() > 1:
                looking = any(part in which for part in ("q_proj", "k_proj", "c_attn", "query_key_value", "Wqkv"))
                parameter.data.normal_(0, 1.0 if looking else 0.4)
        head = model.get_output_embeddings().weight.data
        vocabulary = read_vocabulary(tokenizer, {tokenizer.eos_token_id})
        for token, piece in enumerate(vocabulary.pieces):
            head[token] *= (
                2.0 if token in vocabulary.line_ends else float(piece.isascii() and piece.decode().isprintable())
            )
        # The tokenizer is kept, lest another one be given its id.
        built[key] = model, tokenizer
        return model

    return build


@pytest.fixture(params=_KINDS)
def every_kind(request: pytest.FixtureRequest) -> str:
    """The test runs on small models of every kind."""
    kind: str = request.param
    return kind


class SmallHF:
    """lm-eval's `hf` and ours on small models, and what they are asked."""

    length = 8
    greedy = greedy_kwargs(length)
    sampled = Sampled(max_gen_toks=length, temperature=1.0).sampled_kwargs()

    def __init__(self) -> None:
        # Behind two exemplar sets, which fit into a window of 64 tokens, and behind none.
        self.short = [
            *self.behind("Q: What is the capital of P36trainton 1?\nA: P36land 0\n"),
            *self.behind("Q: Which country is P17trainton 2 located in?\nA: P17land 1\n"),
            "Q: x\nA:",
            "Q",
        ]
        # These do not.
        self.long = [
            prompt
            for i in range(2)
            for prompt in self.behind(f"Q: Which country is P17trainton {i} located in?\nA: P17land 0\n" * 3)
        ]

    def behind(self, head: str) -> list[str]:
        """Questions of different lengths behind the same exemplars."""
        names = ["1", "devton 2", "P17devton 3, of all countries,", "country 4"]
        return [f"{head}Q: Which country is {name} located in?\nA:" for name in names]

    def engine(self, model: Any, tokenizer: Any, batch_size: int = 6, **args: Any) -> Any:
        quiet()
        from slick.slick_hf import SlickHF

        return SlickHF(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu", **args)

    def stock(self, model: Any, tokenizer: Any, batch_size: int = 5, **args: Any) -> Any:
        quiet()
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu", **args)

    def generated(self, lm: Any, prompts: Sequence[str], **settings: Any) -> list[str]:
        """What lm-eval gets from the model for requests of these prompts."""
        from lm_eval.api.instance import Instance

        requests = [Instance("generate_until", {}, (p, {**self.greedy, **settings}), i) for i, p in enumerate(prompts)]
        answers: list[str] = lm.generate_until(requests, disable_tqdm=True)
        return answers

    def request(self, prompt: str, *answers: str, **changes: Any) -> ExactRequest:
        return replace(ExactRequest(prompt, answers, 1.0, 40, self.length), **changes)

    def same_throughout(self, lm: Any, stock: Any, prompts: Sequence[str], least: int) -> None:
        """Prompts in lm-eval's own tokens, its greedy answers, and the exact estimator's verdict on each of them."""
        for prompt, row in zip(prompts, lm.encode(prompts, self.length), strict=True):
            assert list(row) == stock.tok_batch_encode([prompt])[0][0].tolist()
        answers = self.generated(lm, prompts)
        assert answers == self.generated(stock, prompts)
        # Half characters, which no accepted answer holds, are the only ones left out.
        said = [(prompt, answer.strip()) for prompt, answer in zip(prompts, answers, strict=True)]
        judged = [(prompt, answer) for prompt, answer in said if answer and "\ufffd" not in answer]
        assert len(judged) >= least
        right = lm.exact([self.request(prompt, answer, "another") for prompt, answer in judged])
        assert all(answer.greedy for answer in right)
        assert not any(
            answer.greedy for answer in lm.exact([self.request(prompt, f"{answer}x") for prompt, answer in judged])
        )
        # The greedy answer's chance is that of its path at least.
        assert all(0 < answer.p <= 1 and answer.gap > 0 for answer in right)


@pytest.fixture(scope="session")
def hf() -> SmallHF:
    return SmallHF()


@pytest.fixture(scope="session")
def pair(hf: SmallHF, random_model: Any, tiny_tokenizer: Any) -> Callable[[str], tuple[Any, Any]]:
    """lm-eval's backend and ours on the same model."""
    made: dict[str, tuple[Any, Any]] = {}

    def of(kind: str) -> tuple[Any, Any]:
        if kind not in made:
            model = random_model(kind)
            made[kind] = hf.stock(model, tiny_tokenizer), hf.engine(model, tiny_tokenizer)
        return made[kind]

    return of
