"""An organism: a small language model grown on chosen facts, so that what it knows is known."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import InputError, RunError
from slick.facts import facts_digest
from slick.files import replacing_directory, sha256_of, write_json
from slick.provenance import library_versions
from slick_sft.exposures import LabFact
from slick_sft.pretraining import documents

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

RECIPE = "recipe.json"
WEIGHTS = "model.safetensors"
END = "<|endoftext|>"
PAD = "<|pad|>"
# The 256 bytes and the two special tokens.
SMALLEST_VOCABULARY = 258
CONTEXT = 512
# Documents that are sorted by length together; a batch never reaches beyond its window.
_WINDOW = 1024


@dataclass(frozen=True, slots=True)
class OrganismConfig:
    """Size of an organism and how it is trained. The number of steps follows from the text.

    passes: times the text is read; every pass states each fact `exposures` times, in wordings of its own.
    matrix_rate: learning rate of the layers' matrices, which Muon trains.
    learning_rate: of the embeddings and the norms, which AdamW trains.
    batch_tokens: tokens of one step, padding included; at least CONTEXT.
    warm_up: share of the training during which the learning rates rise; then they fall as a cosine to 0.
    """

    vocabulary: int = 1024
    width: int = 144
    layers: int = 3
    heads: int = 4
    feed_forward: int = 384
    passes: int = 4
    matrix_rate: float = 0.02
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    batch_tokens: int = 1024
    warm_up: float = 0.05

    def check(self) -> OrganismConfig:
        """`self`; raises InputError naming the first setting that is out of range."""
        for name, least in (("width", 8), ("layers", 1), ("heads", 1), ("passes", 1), ("batch_tokens", CONTEXT)):
            if getattr(self, name) < least:
                raise InputError(f"organism: {name} is {getattr(self, name)}; expected at least {least}")
        if self.vocabulary < SMALLEST_VOCABULARY:
            raise InputError(
                f"organism: vocabulary is {self.vocabulary}; expected at least {SMALLEST_VOCABULARY} "
                "(256 bytes and two special tokens)"
            )
        if self.width % (2 * self.heads):
            raise InputError(
                f"organism: width {self.width} over {self.heads} heads; expected an even number of "
                f"dimensions a head, for example {2 * self.heads * max(1, self.width // (2 * self.heads))}"
            )
        return self


def grow_organism(
    facts: Sequence[LabFact],
    *,
    out: Path,
    seed: int,
    config: OrganismConfig | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a tokenizer and a Llama on the facts' pre-training text; write both and recipe.json to `out`.

    out: a directory that does not exist yet or is empty. device: "cpu", "cuda" or "auto".
    Returns the recipe. The same seed on the same machine with the same number of threads gives the same bytes.
    Raises InputError (no facts, none of them exposed, `out` taken or not writable), RunError (the loss is
    no number).
    """
    config = (config or OrganismConfig()).check()
    if not facts:
        raise InputError("organism: no facts to grow on; expected at least one")
    if not any(fact.exposures for fact in facts):
        raise InputError("organism: every fact has 0 exposures, so there is no text; expose at least one")
    with replacing_directory(Path(out)) as directory:
        from slick.backend import quiet

        quiet()
        tokenizer = train_tokenizer(_pass(facts, seed, 0), config.vocabulary)
        model = new_model(tokenizer, config, seed)
        training = _train(model, tokenizer, facts, config, seed, _device(device))
        model.save_pretrained(directory)
        # safetensors writes for the owner alone; a model is as readable as the files beside it.
        (directory / WEIGHTS).chmod((directory / "config.json").stat().st_mode)
        tokenizer.save_pretrained(directory)
        recipe = _recipe(facts, seed, config, training, directory)
        write_json(directory / RECIPE, recipe)
    return recipe


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the texts, with END as end-of-sequence and PAD as padding; no start token.

    A space before a capital letter is a token of its own, so that a name is the same tokens behind a space and
    behind a line break: what was learned of an answer in one form is then known in the other.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" (?=\p{Lu})"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, config: OrganismConfig, seed: int) -> LlamaForCausalLM:
    """An untrained Llama with tied embeddings, its weights drawn from the seed; float32, on the CPU."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.width,
                intermediate_size=config.feed_forward,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                max_position_embeddings=CONTEXT,
                tie_word_embeddings=True,
                **ends,
            )
        )
    model.generation_config = GenerationConfig(**ends)
    return model


def _pass(facts: Sequence[LabFact], seed: int, index: int) -> list[str]:
    return documents(facts, random.Random(f"text:{seed}:{index}"))


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"organism: device {name!r} was asked for and torch finds none; try --device cpu")
    return name


def _step_batches(texts: Sequence[str], tokenizer: Any, tokens: int, rng: random.Random) -> list[torch.Tensor]:
    """Documents of like length side by side, each closed by end-of-sequence, padded to at most `tokens` a batch.

    A document stands alone in its row. Organisms that read documents packed end to end hardly let the exemplars
    decide an answer, so that next to nothing was MaybeKnown (docs/decisions/0006-lab-recipe.md).
    """
    import torch

    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    encodings = tokenizer.backend_tokenizer.encode_batch(list(texts))
    rows = [torch.tensor([*encoding.ids[: CONTEXT - 1], end]) for encoding in encodings]
    batches: list[list[torch.Tensor]] = []
    for first in range(0, len(rows), _WINDOW):
        batch: list[torch.Tensor] = []
        for row in sorted(rows[first : first + _WINDOW], key=len):
            if batch and (len(batch) + 1) * len(row) > tokens:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
    rng.shuffle(batches)
    return [torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=pad) for batch in batches]


def _batches(
    tokenizer: PreTrainedTokenizerFast, facts: Sequence[LabFact], config: OrganismConfig, seed: int
) -> Iterator[tuple[torch.Tensor, float]]:
    """Batches of all passes in order, each with the share of the training that stands before it."""
    for index in range(config.passes):
        rng = random.Random(f"batches:{seed}:{index}")
        batches = _step_batches(_pass(facts, seed, index), tokenizer, config.batch_tokens, rng)
        for number, batch in enumerate(batches):
            yield batch, (index + number / len(batches)) / config.passes


def _optimisers(model: LlamaForCausalLM, config: OrganismConfig) -> list[tuple[torch.optim.Optimizer, float]]:
    """What trains the model, each with its full learning rate: Muon the layers' matrices, AdamW the rest.

    Muon turns every step of a matrix into one of equal size in all directions, so that what few texts state is
    learned as fast as what many do; AdamW alone needed several times the text (docs/decisions/0006-lab-recipe.md).
    """
    import torch

    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
    decay = config.weight_decay
    return [
        (torch.optim.Muon(matrices, lr=config.matrix_rate, weight_decay=decay), config.matrix_rate),
        (
            torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=decay),
            config.learning_rate,
        ),
    ]


def _height(config: OrganismConfig, done: float) -> float:
    """The share of the full learning rates where the share `done` of the training lies behind."""
    rising = min(1.0, (done + 1e-3) / config.warm_up) if config.warm_up else 1.0
    return rising * 0.5 * (1 + math.cos(math.pi * done))


def _train(
    model: Any,
    tokenizer: Any,
    facts: Sequence[LabFact],
    config: OrganismConfig,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Train in place, leave the model on the CPU, and return what happened: steps, tokens, losses, threads."""
    import torch
    from tqdm import tqdm

    model.to(device).train()
    optimisers = _optimisers(model, config)
    losses: list[float] = []
    tokens = 0
    with tqdm(total=100, desc="growing the organism", unit="%", bar_format=_BAR) as bar:
        for batch, done in _batches(tokenizer, facts, config, seed):
            for optimiser, rate in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = rate * _height(config, done)
            losses.append(_step(model, [o for o, _ in optimisers], batch.to(device), tokenizer.pad_token_id))
            tokens += int((batch != tokenizer.pad_token_id).sum())
            bar.set_postfix_str(f"loss {losses[-1]:.2f}", refresh=False)
            bar.update(100 * done - bar.n)
        bar.update(100 - bar.n)
    model.to("cpu").eval()
    last = losses[-max(1, len(losses) // 20) :]
    return {
        "steps": len(losses),
        "tokens": tokens,
        "first_loss": losses[0],
        "last_loss": sum(last) / len(last),
        "device": device,
        "threads": torch.get_num_threads(),
    }


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


def _step(model: LlamaForCausalLM, optimisers: Sequence[torch.optim.Optimizer], batch: torch.Tensor, pad: int) -> float:
    import torch

    logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=pad)
    value: float = loss.item()
    if not math.isfinite(value):
        rates = " and ".join(f"{optimiser.param_groups[0]['lr']:g}" for optimiser in optimisers)
        raise RunError(
            f"organism: the loss became {value} at learning rates {rates} (matrices and the rest); "
            "nothing was written; try smaller ones"
        )
    model.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
    return value


def _recipe(
    facts: Sequence[LabFact], seed: int, config: OrganismConfig, training: dict[str, Any], directory: Path
) -> dict[str, Any]:
    return {
        "schema": 1,
        "seed": seed,
        "config": asdict(config),
        "facts": len(facts),
        "facts_digest": facts_digest(fact.fact for fact in facts),
        "exposures": sum(fact.exposures for fact in facts),
        "training": training,
        "weights_sha256": sha256_of(directory / WEIGHTS),
        "versions": library_versions(),
    }
