"""The one door to models: lm-eval's LM interface, so that every lm-eval backend serves."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slick.errors import InputError, RunError
from slick.processes import ALONE, Processes
from slick.prompts import PLAIN, Chat, too_long
from slick.provenance import adapter_base, check_model, fingerprint, is_adapter

if TYPE_CHECKING:
    from slick.exact import ExactAnswer, ExactRequest
    from slick.facts import Fact

Request = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Backend:
    """A loaded lm-eval model. lm: an `lm_eval.api.model.LM`."""

    lm: Any
    name: str
    args: Mapping[str, Any]
    batch_size: int
    model: Mapping[str, Any]

    def generate(self, requests: Sequence[Request]) -> list[str]:
        """One answer a request, in order. A request is (prompt, generation settings as lm-eval takes them)."""
        from lm_eval.api.instance import Instance

        instances = [
            Instance("generate_until", {}, (prompt, {**kwargs, **self.row_ends(kwargs)}), i)
            for i, (prompt, kwargs) in enumerate(requests)
        ]
        if not instances:
            return []
        self._check_lengths(requests)
        with _running(self.name):
            answers = self.lm.generate_until(instances, disable_tqdm=True)
        if len(answers) != len(instances):
            raise RunError(f"backend {self.name}: {len(instances)} requests, {len(answers)} answers")
        # An API backend gives None for a request that failed for good.
        if None in answers:
            raise RunError(f"backend {self.name}: {answers.count(None)} of {len(answers)} requests had no answer")
        return [str(answer) for answer in answers]

    def _check_lengths(self, requests: Sequence[Request]) -> None:
        """Raise InputError for a prompt that lm-eval's own transformers model would cut to fit its context."""
        if self.ours or not _is_transformers(self.lm):
            return
        for prompt, kwargs in requests:
            longest = self.lm.max_length - int(kwargs.get("max_gen_toks", self.lm.max_gen_toks))
            # A token holds at least a byte, so that most prompts need no second look.
            short = len(prompt.encode("utf-8", "surrogatepass")) + 2 <= longest
            if not short and (tokens := len(self.lm.tok_encode(prompt))) > longest:
                raise InputError(too_long(prompt, tokens, self.lm.max_length - longest, self.lm.max_length))

    def row_ends(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """For lm-eval's own transformers model: the tokens that end an answer's line end its row as well.

        lm-eval goes on with a batch until every row has met the same stop string, so that one row which ended
        with end-of-sequence drags all others to the length limit. What follows a line break is cut off anyway.
        """
        if self.ours or not _is_transformers(self.lm) or list(kwargs.get("until", ())) != ["\n"]:
            return {}
        return {"eos_token_id": _line_ending_tokens(self.lm)}

    @property
    def ours(self) -> bool:
        """Whether the model is a `slick-hf`."""
        return hasattr(self.lm, "exact")

    @property
    def independent_samples(self) -> bool:
        """Whether sample j of a prompt depends on seed, prompt and j alone."""
        return bool(getattr(self.lm, "independent_samples", False))

    def sample(
        self, prompts: Sequence[str], kwargs: Mapping[str, Any], n: int, seed: int, first: int = 0
    ) -> list[list[str]]:
        """n sampled answers a prompt: prompts × n. The same call gives the same answers.

        `slick-hf` draws each by its own numbers, from number `first` on; for others every generator is seeded
        first, and an API backend, which would send one seed with all its requests, is given one a sample.
        """
        if self.ours:
            with _running(self.name):
                answers: list[list[str]] = self.lm.sample(prompts, kwargs, n, seed, first=first)
            return answers
        seed_everything(seed)
        each = [{**kwargs, "seed": seed + j} if self.per_request_seeds else kwargs for j in range(n)]
        given = iter(self.generate([(prompt, settings) for prompt in prompts for settings in each]))
        return [[next(given) for _ in each] for _ in prompts]

    def notes(self, *, exact: bool = False) -> list[str]:
        """What a user should know of the model before its answers count, a sentence each."""
        return [*getattr(self.lm, "notes", ()), *(getattr(self.lm, "exact_notes", ()) if exact else ())]

    def unwritable(self, facts: Sequence[Fact]) -> list[str]:
        """A sentence on facts of which the tokenizer can make nothing of any answer: they come out as Unknown."""
        if not self.ours:
            return []
        answers = sorted({answer for fact in facts for answer in fact.answers})
        tokens = self.lm.tokenizer(answers, add_special_tokens=False)["input_ids"] if answers else []
        nothing = {answer for answer, ids in zip(answers, tokens, strict=True) if not ids}
        empty = [fact for fact in facts if nothing.issuperset(fact.answers)]
        if not empty:
            return []
        shown = ", ".join(f"{fact.question!r}: {fact.answers[0]!r}" for fact in empty[:3])
        return [f"the tokenizer makes no tokens of the answers of {len(empty)} facts, so nothing can match ({shown})"]

    @property
    def tie(self) -> float:
        """Logits nearer than that may change places by rounding: between batches, or between two machines."""
        return float(getattr(self.lm, "tie", 0.0))

    def check_exact(self) -> None:
        """Raise InputError where the backend has no chances to tell."""
        if not self.ours:
            raise InputError(f"--backend {self.name}: shows no probabilities to the exact estimator; use slick-hf")

    def exact(self, requests: Sequence[ExactRequest]) -> list[ExactAnswer]:
        """Chances in place of samples; InputError where the backend cannot tell them."""
        self.check_exact()
        with _running(self.name):
            answers: list[ExactAnswer] = self.lm.exact(requests)
        return answers

    def chat(self, *, apply: bool, multiturn: bool = False, system: str = "") -> Chat:
        """lm-eval's chat options as a `Chat`; InputError where the model has no chat template, or takes chats only."""
        if not apply:
            if self.name.endswith("chat-completions"):
                raise InputError(f"--backend {self.name} takes conversations only; add --apply-chat-template")
            if multiturn:
                raise InputError("--fewshot-as-multiturn needs --apply-chat-template")
            return Chat(system=system) if system else PLAIN
        tokenizer = getattr(self.lm, "tokenizer", None)
        if tokenizer is not None and not getattr(tokenizer, "chat_template", None):
            raise InputError(f"{self.model['name']}: has no chat template; drop --apply-chat-template")
        return Chat(self.lm.apply_chat_template, multiturn, system)

    @property
    def per_request_seeds(self) -> bool:
        """Whether the backend sends one fixed seed with all requests unless each brings its own (API backends)."""
        from lm_eval.models.api_models import TemplateAPI

        return isinstance(self.lm, TemplateAPI)

    def resized(self, rows: int) -> Backend:
        """The same loaded model with batches of so many rows; this object must not be used any more."""
        self.lm.batch_size_per_gpu = rows
        return replace(self, batch_size=rows)

    def provenance(self) -> dict[str, Any]:
        return {"name": self.name, "args": dict(self.args), "batch_size": self.batch_size}


def load_backend(
    name: str,
    model: str,
    args: Mapping[str, Any] | None = None,
    *,
    batch_size: int | None = 64,
    device: str | None = None,
    processes: Processes = ALONE,
) -> Backend:
    """Loads `model` (a directory, an adapter's directory, a hub or served name) through lm-eval's backend `name`.

    batch_size: None for one that is still to be found (`slick.batch_size`), until when it is 1.
    Of several processes each loads a whole model for itself. Raises InputError for an unknown backend, an unusable
    model directory or an argument it does not take.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: expected at least 1")
    check_model(model)
    quiet()
    import lm_eval.models  # noqa: F401  registers the built-in backends
    from lm_eval.api.registry import get_model

    from slick import slick_hf

    try:
        kind: Any = get_model(name)
    except (KeyError, ValueError) as error:
        raise InputError(f"--backend {name}: lm-eval knows no such model type; try hf ({error})") from error
    if batch_size is None and kind is not slick_hf.SlickHF:
        raise InputError(f"--batch-size auto: not for --backend {name}, whose memory cannot be tried; give a number")
    batch_size = batch_size or 1
    own = _model_argument(kind, model)
    if taken := sorted({*own, "pretrained", "model", "peft"} & {*(args or {})}):
        raise InputError(f"--model-args {', '.join(taken)}: give the model, or an adapter's directory, with --model")
    arguments = {**own, **(args or {})}
    _check_processes(name, kind, arguments, processes)
    extra = {"batch_size": batch_size, "device": _device(kind, device, processes)}
    try:
        with processes.apart():
            lm: Any = kind.create_from_arg_obj(arguments, extra)
    except Exception as error:  # loaders of other people's files raise anything
        if out_of_memory(error):
            raise RunError(f"{model}: out of memory while it was loaded ({error})") from error
        raise InputError(f"{model}: backend {name} cannot load it with {arguments}: {error}") from error
    if _is_transformers(lm):
        _prepare(lm)
    # The libraries' hundred thousands of objects stay: no collection needs to look at them again.
    gc.collect()
    gc.freeze()
    return Backend(lm, name, dict(args or {}), batch_size, fingerprint(model))


@contextmanager
def _running(name: str) -> Iterator[None]:
    """Turns what can go wrong on good input while a model answers into a RunError."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise RunError(f"backend {name}: out of memory; lower --batch-size ({error})") from error
        # The network's errors: of the system and of requests, which are OSErrors, and of aiohttp.
        if isinstance(error, OSError) or type(error).__module__.startswith("aiohttp"):
            raise RunError(f"backend {name}: {error}; repeat the command to go on where it stopped") from error
        raise


def out_of_memory(error: Exception) -> bool:
    """Whether the error says that memory is short: some allocators raise no error of their own kind."""
    import torch

    said = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
    plain = isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    return plain or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def _device(kind: Any, device: str | None, processes: Processes) -> str | None:
    """Where the model goes: of several processes, each to the GPU of its number on its machine.

    cpu for an in-process transformers model on a machine without a GPU: its own default is always cuda.
    """
    import torch
    from lm_eval.models.huggingface import HFLM

    if not issubclass(kind, HFLM):
        return device
    if not torch.cuda.is_available():
        return device or "cpu"
    if processes.alone or device not in (None, "cuda"):
        return device
    if processes.local >= torch.cuda.device_count():
        raise InputError(
            f"process {processes.local} of this machine has no GPU, {torch.cuda.device_count()} are visible; "
            "start as many processes as GPUs, or name the device that they share, as in --device cuda:0"
        )
    torch.cuda.set_device(processes.local)
    return f"cuda:{processes.local}"


def _check_processes(name: str, kind: Any, arguments: Mapping[str, Any], processes: Processes) -> None:
    """Raise InputError for a backend that several processes cannot each have for themselves."""
    from lm_eval.models.api_models import TemplateAPI
    from lm_eval.models.huggingface import HFLM

    if processes.alone:
        return
    if not issubclass(kind, (HFLM, TemplateAPI)):
        raise InputError(
            f"--backend {name}: not known to run in {processes.size} processes side by side; start one process, and "
            "spread the model with --model-args (vllm: tensor_parallel_size), or ask a server through local-completions"
        )
    if spread := [option for option in ("parallelize", "tp_plan") if arguments.get(option)]:
        raise InputError(
            f"--model-args {', '.join(spread)}: {processes.size} processes each load a whole model; "
            "start one process, or leave it out"
        )


def _prepare(lm: Any) -> None:
    """Makes a transformers model refuse what it would cut, decode plainly, and stop at logits that are not numbers."""
    from slick.checkpoint import decode_plainly
    from slick.slick_hf import numbers_only

    lm.truncates = False
    if not hasattr(lm, "exact"):
        lm.notes = [note] if (note := decode_plainly(lm.model)) else []
        # It would take them for token 0, and answer.
        lm._model_generate = numbers_only(lm._model_generate)


def _is_transformers(lm: Any) -> bool:
    """Whether it is lm-eval's transformers model, in this process."""
    from lm_eval.models.huggingface import HFLM

    return isinstance(lm, HFLM)


def _model_argument(kind: Any, model: str) -> dict[str, str]:
    """The backend's own word for the model: `pretrained` for those that load weights, `model` for the APIs."""
    names = {name for base in kind.__mro__ if "__init__" in vars(base) for name in inspect.signature(base).parameters}
    if "pretrained" not in names:
        return {"model": model}
    path = Path(model)
    if path.is_dir() and is_adapter(path):
        return {"pretrained": adapter_base(path), "peft": model}
    return {"pretrained": model}


def _line_ending_tokens(lm: Any) -> list[int]:
    """End-of-sequence and every token whose text holds a line break, in the vocabulary's order; found once a model."""
    found: list[int] | None = getattr(lm, "_slick_line_ending_tokens", None)
    if found is None:
        from slick.checkpoint import ending_tokens
        from slick.vocabulary import read_vocabulary

        found = sorted(read_vocabulary(lm.tokenizer, ending_tokens(lm)).line_ends)
        lm._slick_line_ending_tokens = found
    return found


def parse_model_args(items: Sequence[str]) -> dict[str, Any]:
    """`k=v` or `k=v,k2=v2` items to a mapping, values read as lm-eval reads them. InputError names bad items."""
    bad = [part for item in items for part in item.split(",") if part and "=" not in part]
    if bad:
        raise InputError(f"--model-args: expected KEY=VALUE, found {', '.join(map(repr, bad))}")
    from lm_eval.utils import simple_parse_args_string

    return dict(simple_parse_args_string(",".join(items))) if items else {}


def seed_everything(seed: int) -> None:
    """Seeds every random number generator that an in-process backend may sample from."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def quiet() -> None:
    """Keeps the libraries' chatter out of our output: progress and results are ours to print."""
    os.environ.setdefault("LMEVAL_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lm_eval", "transformers", "accelerate", "datasets", "trl", "peft", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|transformers|trl|peft|accelerate).*")
    import transformers.utils.logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
