"""Draws the facts of this study from a copy of EntityQuestions: draw_facts.py COPY OUT.jsonl [SEED].

The paper's splits and filters; of each of its 12 relations 250 train, 80 dev and 90 test facts, of each of its 7 other
relations 60 to ask and 60 to draw exemplars from.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from slick.entityquestions import IN_DISTRIBUTION, OUT_OF_DISTRIBUTION, read_directory
from slick.facts import Fact, sample_facts
from slick.files import replacing

WANTED = {
    **{split: (IN_DISTRIBUTION, n) for split, n in (("train", 250), ("dev", 80), ("test", 90))},
    **{split: (OUT_OF_DISTRIBUTION, n) for split, n in (("ood", 60), ("ood_dev", 60))},
}


def drawn(copy: Path, seed: int) -> Iterator[Fact]:
    """The drawn facts; a question that occurs with several answers counts once, with the first."""
    facts = read_directory(copy)
    asked: set[str] = set()
    for split, (relations, n) in WANTED.items():
        for relation in relations:
            own = {}
            for fact in facts:
                if fact.split == split and fact.relation == relation and fact.question not in asked:
                    own.setdefault(fact.question, fact)
            chosen = sample_facts(list(own.values()), n, seed)
            asked.update(fact.question for fact in chosen)
            yield from chosen


def main(copy: str, out: str, seed: str = "0") -> None:
    rows = [
        {
            "question": fact.question,
            "answers": list(fact.answers),
            "relation": fact.relation,
            "subject": fact.subject,
            "split": fact.split,
        }
        for fact in drawn(Path(copy), int(seed))
    ]
    with replacing(Path(out)) as temporary:
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} facts: {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
