"""The gate as an assertion, for tests of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slick_sft.gate.report import GateReport

Runs = str | Path | Sequence[str | Path]


def assert_keeps_knowledge(
    candidate: Runs,
    control: Runs = (),
    *,
    policy: str | Path | dict[str, Any] = "slick-gate.yaml",
    knowledge: str | Path | None = None,
    baseline: str = "",
    baselines: str | Path = ".slick/baselines.json",
    inconclusive: str = "fail",
    allow_mismatch: bool = False,
) -> GateReport:
    """Fail unless the candidate keeps what the control knows, within the policy's margins; the message is the table.

    candidate, control: score runs, as `slick score` or lm_eval wrote them, one a seed, as many as the policy has.
    policy: a file, or what it would hold, such as {"margins": {"Known": 2}}. baseline: the control by its name, in
    the file `baselines`, beside which looks are counted, in place of `control`. inconclusive: "fail" an open verdict,
    let it "pass", or "report" it as a skipped test.
    Returns the report of a verdict that let it pass.

    Raises AssertionError for a FAIL, and `slick.errors.InputError` for what cannot be judged: never a verdict.
    """
    from slick.errors import InputError
    from slick.verdict import Outcome
    from slick_sft.gate.arms import read_pair
    from slick_sft.gate.baselines import read_baseline
    from slick_sft.gate.decide import decide
    from slick_sft.gate.existing import check_seeds
    from slick_sft.gate.looks import look, looks_beside, said
    from slick_sft.gate.outputs import plain
    from slick_sft.gate.policy import BASELINE, INCONCLUSIVE, Control, policy_of, read_policy

    __tracebackhide__ = True
    if inconclusive not in INCONCLUSIVE:
        raise InputError(f"inconclusive={inconclusive!r}: expected one of {', '.join(INCONCLUSIVE)}")
    if baseline and control:
        raise InputError("control and baseline: both say what the candidate is compared with; give one of them")
    rule = policy_of(policy, "the policy") if isinstance(policy, dict) else read_policy(Path(policy))
    rule = replace(rule, inconclusive=inconclusive)
    blessed = None
    against = _paths(control)
    if baseline:
        rule = replace(rule, control=Control(BASELINE, baseline))
    if rule.control.kind == BASELINE and not against:
        blessed = read_baseline(rule.control.name, Path(baselines))
        against = [path for path, _ in blessed.runs]
    pair = read_pair(
        _paths(candidate),
        against,
        Path(knowledge) if knowledge else None,
        allow_mismatch=allow_mismatch,
        seeds=rule.seeds,
    )
    check_seeds(pair, rule)
    number = look(pair, rule.looks, *looks_beside(Path(baselines)))
    called = str(rule.control) if blessed else "the control"
    report = decide(pair, rule, control=called, notes=said(number, rule.looks), baseline=blessed, look=number)
    if report.exit_code == 0:
        return report
    if report.outcome is Outcome.INCONCLUSIVE and inconclusive != "fail":
        import pytest

        pytest.skip(report.sentence)
    raise AssertionError(plain(report))


def _paths(given: Runs) -> list[Path]:
    return [Path(given)] if isinstance(given, (str, Path)) else [Path(path) for path in given]
