"""What runs that lm_eval itself wrote say, in our terms: closed-book answers of our tasks, and of others of the type.

Pure. Written for lm-eval 0.4.9 to 0.4.13. What a run does not record is left out and said, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from slick.facts import Fact, fact_id
from slick.files import digest_of, mapping_of
from slick.matching import first_line, is_abstention

# Names of the metric that says whether an answer is right, in the order in which they are looked for.
METRICS = ("exact_match", "em")
_QUESTIONS = ("question", "query")
_ANSWERS = ("answers", "answer", "possible_answers")


def told_of(results: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A run's provenance as `slick score` would record it. provenance: what our tasks left in it; empty for others."""
    config = mapping_of(results.get("config"))
    arguments = _arguments(config.get("model_args"))
    name = results.get("model_name") or arguments.get("pretrained") or arguments.get("model") or config.get("model")
    model = {
        "name": str(name or ""),
        # A commit of the hub; of a local directory lm_eval records none.
        "weights": str(config.get("model_sha") or "") or None,
        "adapter": str(config.get("peft_sha") or arguments.get("peft") or "") or None,
        "tokenizer": None,
        "chat_template": results.get("chat_template_sha"),
    }
    versions = {"lm_eval": results.get("lm_eval_version"), "transformers": results.get("transformers_version")}
    told = {
        "model": model,
        "backend": {
            "name": str(config.get("model") or ""),
            "batch_size": config.get("batch_size"),
            "args": config.get("model_args"),
        },
        "versions": {name: str(version) for name, version in versions.items() if version},
        "settings": {} if provenance else _settings(results),
        **{name: value for name, value in provenance.items() if name not in ("schema", "model", "kind")},
    }
    if mapping_of(provenance.get("model")).get("name"):
        told["model"] = provenance["model"]
    return told


def lacks_of(results: Mapping[str, Any], told: Mapping[str, Any], *, ours: bool) -> tuple[str, ...]:
    """What the run does not record, as the rest of a sentence that begins with its name and "records"."""
    found = []
    if not mapping_of(told.get("model")).get("weights"):
        found.append("no fingerprint of the model’s weights")
    if not results.get("lm_eval_version"):
        found.append("no version of lm_eval")
    if not ours:
        found.append("no relations (each task counts as one), no subjects (each fact stands alone) and no answer prior")
    return tuple(found)


def _settings(results: Mapping[str, Any]) -> dict[str, Any]:
    """How a run of other tasks asked and judged. Two such runs are compared by their prompts as well."""
    tasks = {}
    lengths = set()
    for name, config in sorted(mapping_of(results.get("configs")).items()):
        of = mapping_of(config)
        version = mapping_of(results.get("versions")).get(name)
        tasks[str(name)] = f"{name} {version}" if version is not None else str(name)
        length = mapping_of(of.get("generation_kwargs")).get("max_gen_toks")
        lengths.add(length if isinstance(length, int) else None)
    return {
        "form": f"as lm_eval asks {', '.join(tasks.values())}" if tasks else "",
        "matching": "as lm_eval’s task judges",
        "max_gen_toks": lengths.pop() if len(lengths) == 1 else None,
        "chat": {"template": bool(results.get("chat_template")), "system": results.get("system_instruction") or ""},
    }


def _arguments(given: Any) -> dict[str, Any]:
    """lm_eval's --model_args, which older versions record as they were typed."""
    if isinstance(given, Mapping):
        return dict(given)
    pairs = (item.partition("=") for item in str(given or "").split(","))
    return {name.strip(): value for name, _, value in pairs if value}


def answered_of(row: Mapping[str, Any], task: str) -> dict[str, Any]:
    """A row of a closed-book task as the fields of `slick_reports.inputs.Answered`.

    Raises KeyError, TypeError, IndexError or ValueError for a row that is none, such as one of multiple choice.
    """
    doc = row["doc"]
    if not isinstance(doc, Mapping):
        raise TypeError(f"doc is {doc!r:.80}, expected an object")
    answer = first_line(_text(row["filtered_resps"]))
    abstained = row.get("abstained")
    ours = {"id", "relation", "subject", "question", "answers", "split"} <= doc.keys()
    return {
        "fact": Fact.from_dict(doc) if ours else _fact(doc, task),
        "answer": answer,
        "right": _right(row),
        "abstained": is_abstention(answer) if abstained is None else abstained,
        "prior": row.get("answer_prior"),
        "prompt": _prompt(row),
    }


def _right(row: Mapping[str, Any]) -> Any:
    for name in METRICS:
        if name in row:
            return row[name]
    raise KeyError(" or ".join(METRICS))


def _text(given: Any) -> str:
    """The first answer, however deep an lm_eval filter left it."""
    while isinstance(given, (list, tuple)):
        given = given[0]
    if not isinstance(given, str):
        raise TypeError(f"filtered_resps holds {given!r:.80}, expected the answer's text")
    return given


def _fact(doc: Mapping[str, Any], task: str) -> Fact:
    question = next((doc[name] for name in _QUESTIONS if isinstance(doc.get(name), str)), None)
    if question is None:
        raise KeyError(" or ".join(_QUESTIONS))
    given = next((doc[name] for name in _ANSWERS if doc.get(name)), None)
    answers = tuple(dict.fromkeys(_answers(given)))
    if not answers:
        raise ValueError(f"no accepted answers (expected one of {', '.join(_ANSWERS)})")
    return Fact(task, "", question, answers, "", fact_id(task, question, answers))


def _answers(given: Any) -> Iterator[str]:
    """Strings, lists of them, or TriviaQA's objects with aliases."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        yield from _answers(given.get("value"))
        yield from _answers(given.get("aliases"))
    elif isinstance(given, (list, tuple)):
        for item in given:
            yield from _answers(item)


def _prompt(row: Mapping[str, Any]) -> str:
    """As `slick score` digests it, so that its runs and lm_eval's can be compared; lm_eval's hash as a last resort."""
    arguments = row.get("arguments")
    given = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if not isinstance(given, list) or not given:
        return str(row.get("prompt_hash", ""))
    prompts = [mapping_of(request).get("arg_0") if isinstance(request, Mapping) else request[0] for request in given]
    return digest_of(prompts)


def counted(results: Mapping[str, Any], task: str) -> int | None:
    """How many docs of a task the results count; None where they do not say."""
    found = mapping_of(mapping_of(results.get("n-samples")).get(task)).get("effective")
    if not isinstance(found, int) or isinstance(found, bool):
        found = mapping_of(mapping_of(results.get("results")).get(task)).get("sample_len")
    return found if isinstance(found, int) and not isinstance(found, bool) else None
