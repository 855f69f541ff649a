"""slick.burst_prompts: what a burst asks."""

from __future__ import annotations

from slick.burst_prompts import Prompts
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.probe import Probe
from slick.sampled import Sampled

SMALL = Sampled(n_exemplar_sets=3, n_exemplars=2, n_samples=4, max_gen_toks=6, n_before=1)


def test_the_pieces_stand_all_over_the_selection(tiny_facts: list[Fact]) -> None:
    """Neighbouring facts within a piece, as in a chunk; with fresh sets or without; never more than there are."""
    test = [fact for fact in tiny_facts if fact.split == "test"]
    prompts = Prompts(Probe(test, exemplar_pools(tiny_facts, test, seed=0), {}, SMALL))
    firsts = [prompts.piece(n, 4, fresh=True)[0].fact for n in range(4)]
    assert len({fact.id for fact in firsts}) == 4
    assert {fact.relation for fact in firsts} == {"P17", "P36"}
    piece = prompts.piece(1, 6, fresh=False)
    assert [item.decides for item in piece] == [True] * 6
    assert len({item.fact.id for item in piece}) == 2
    assert [item.decides for item in prompts.piece(0, 4, fresh=True)] == [True, True, True, False]
    assert len(prompts.piece(3, 1000, fresh=True)) == 48
