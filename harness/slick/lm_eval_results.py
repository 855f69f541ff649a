"""What the results and samples that lm_eval itself wrote say of our tasks. Pure: others read the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slick.exact import ExactAnswer, exact_knowledge
from slick.facts import Fact
from slick.files import mapping_of
from slick.knowledge import Knowledge
from slick.matching import Matching
from slick.sampled import count_right


def provenance_of_tasks(results: Mapping[str, Any]) -> dict[str, Any]:
    """The records that our tasks left in lm-eval's results, one a relation, put together; empty without any.

    The tasks of one run share model, versions and --metadata, hence their settings.
    """
    merged: dict[str, Any] = {}
    for config in mapping_of(results.get("configs")).values():
        record = mapping_of(mapping_of(mapping_of(config).get("metadata")).get("slick"))
        if not record:
            continue
        merged |= {name: record[name] for name in ("schema", "model", "versions") if name in record}
        for name in ("settings", "priors"):
            merged[name] = {**merged.get(name, {}), **mapping_of(record.get(name))}
    return merged


def knowledge_of_answers(row: Mapping[str, Any], provenance: Mapping[str, Any]) -> Knowledge:
    """Knowledge of a `slick_` task's row, judged anew: lm-eval logs answers and metrics, and nothing between.

    A row of an exact task holds exact answers; what else decides stands in the run's settings. Raises KeyError,
    TypeError, ValueError, IndexError or AttributeError for a row that is none.
    """
    fact, settings = Fact.from_dict(row["doc"]), mapping_of(provenance.get("settings"))
    asked = [request["arg_1"] for request in row["arguments"].values()]
    if asked and all(kwargs.get("exact") for kwargs in asked):
        knowledge = _exact(fact, row["resps"], settings)
    else:
        knowledge = _sampled(fact, [kwargs["do_sample"] for kwargs in asked], row["resps"], settings)
    _ = knowledge.category  # counts that cannot be
    return knowledge


def _exact(fact: Fact, resps: Sequence[Sequence[str]], settings: Mapping[str, Any]) -> Knowledge:
    answers = [ExactAnswer.of_json(text) for (text,) in resps]
    return exact_knowledge(fact, answers, [], n_samples=int(settings["n_samples"]), tolerance=float(settings["tie"]))


def _sampled(
    fact: Fact, kinds: Sequence[bool], resps: Sequence[Sequence[str]], settings: Mapping[str, Any]
) -> Knowledge:
    answers = list(zip(kinds, resps, strict=True))
    greedy = [given[0] for is_sampled, given in answers if not is_sampled]
    sampled = [given for is_sampled, given in answers if is_sampled]
    return count_right(fact, greedy, sampled, matching=Matching(settings.get("matching", Matching.STRICT)))
