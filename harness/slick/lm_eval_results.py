"""What the results and samples that lm_eval itself wrote say of our tasks. Pure; `slick.runs` reads the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slick.facts import Fact
from slick.knowledge import Knowledge
from slick.matching import Matching
from slick.sampled import count_right


def provenance_of_tasks(results: Mapping[str, Any]) -> dict[str, Any]:
    """The records that our tasks left in lm-eval's results, one a relation, put together; empty without any.

    The tasks of one run share model, versions and --metadata, hence their settings.
    """
    merged: dict[str, Any] = {}
    for config in _mapping(results.get("configs")).values():
        record = _mapping(_mapping(_mapping(config).get("metadata")).get("slick"))
        if not record:
            continue
        merged |= {name: record[name] for name in ("schema", "model", "versions") if name in record}
        for name in ("settings", "priors"):
            merged[name] = {**merged.get(name, {}), **_mapping(record.get(name))}
    return merged


def knowledge_of_answers(row: Mapping[str, Any], provenance: Mapping[str, Any]) -> Knowledge:
    """Knowledge of a `slick_` task's row, judged anew: lm-eval logs answers and metrics, and nothing between.

    Raises KeyError, TypeError, ValueError, IndexError or AttributeError for a row that is none.
    """
    matching = Matching(_mapping(provenance.get("settings")).get("matching", Matching.STRICT))
    kinds = [request["arg_1"]["do_sample"] for request in row["arguments"].values()]
    answers = list(zip(kinds, row["resps"], strict=True))
    greedy = [given[0] for is_sampled, given in answers if not is_sampled]
    sampled = [given for is_sampled, given in answers if is_sampled]
    knowledge = count_right(Fact.from_dict(row["doc"]), greedy, sampled, matching=matching)
    _ = knowledge.category  # counts that cannot be
    return knowledge


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
