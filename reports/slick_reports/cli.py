"""The verb of the reports: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Score runs: the base model's first, then the tuned models'. Seeds of one recipe group."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The page, FILE.html; .md and .json are written beside it.")],
    before: Annotated[
        Path | None, typer.Option("--before", help="The run that the others are compared with, if not the first.")
    ] = None,
    knowledge: Annotated[
        Path | None, typer.Option("--knowledge", help="The probe of the base model: categories, and the A/A line.")
    ] = None,
    control: Annotated[
        str, typer.Option("--control", help="Label of the control arm; by default the one tuned on Known facts only.")
    ] = "",
    label: Annotated[
        list[str], typer.Option("--label", help="RUN=LABEL, RUN as given; repeatable. By default the arm's own name.")
    ] = [],  # noqa: B006  typer copies it
    after: Annotated[
        list[Path],
        typer.Option("--after", help="A probe of an arm's model, for the migration matrix; repeatable."),
    ] = [],  # noqa: B006  typer copies it
    training_set: Annotated[
        list[str],
        typer.Option(
            "--training-set",
            help="ARM=PATH, what an arm was trained on, to tell echoes of it; repeatable, once a seed if seeds differ.",
        ),
    ] = [],  # noqa: B006  typer copies it
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Points that no arm may lose: the report opens with a verdict."),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="With --margin: exit 1 where the verdict is FAIL, 3 where INCONCLUSIVE.")
    ] = False,
    junit: Annotated[Path | None, typer.Option("--junit", help="Also write the verdict as JUnit XML, for CI.")] = None,
    title: Annotated[str, typer.Option("--title", help="The report's title.")] = "",
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Compare runs made with other settings; the report warns of it.")
    ] = False,
) -> int:
    """Report what tuning kept, gained and lost: before and after by category, with intervals and A/A lines.

    Writes one HTML page that needs no network and no script, and the same numbers as Markdown and JSON. RUN is what
    `slick score` wrote, or lm_eval itself of a closed-book task: the directory, or the results file in it.

    \b
    Example:
      slick report runs/base-score runs/known-score runs/half-score --knowledge runs/probe --out report.html
      slick report runs/base-score runs/new-score --margin 2 --exit-code --junit report.xml --out report.html
    """
    from slick.errors import InputError
    from slick.terminal import print_table
    from slick.verdict import Outcome
    from slick_reports.report import TITLE, build_report, headline_table, write_report
    from slick_reports.text import visible

    if exit_code and margin is None:
        raise InputError("--exit-code: needs a verdict to go by; give --margin POINTS")

    found = build_report(
        runs,
        before=before,
        knowledge=knowledge,
        control=control or None,
        labels=_labels(label),
        title=title or TITLE,
        allow_mismatch=allow_mismatch,
        after=after,
        training=_training_sets(training_set),
        margin=None if margin is None else margin / 100,
    )
    paths = write_report(found, out, junit=junit)
    print_table(f"{found.n:,} facts, accuracy in percent, difference in points", *headline_table(found))
    if found.verdict:
        typer.echo(f"{found.verdict.sentence}\n")
    typer.echo(f"{found.headline}\n{found.noise}\n")
    for path in paths:
        typer.echo(visible(str(path)))
    return Outcome(found.verdict.outcome).exit_code if found.verdict and exit_code else 0


def _labels(items: list[str]) -> dict[str, str]:
    """RUN=LABEL items as run → label. InputError names the items that are none."""
    return {str(Path(run)): label for run, label in _pairs("--label", "RUN=LABEL", items)}


def _training_sets(items: list[str]) -> dict[str, list[Path]]:
    """ARM=PATH items as arm → its sets, one or one a seed. InputError names the items that are none."""
    found: dict[str, list[Path]] = {}
    for arm, path in _pairs("--training-set", "ARM=PATH", items):
        found.setdefault(arm, []).append(Path(path))
    return found


def _pairs(option: str, form: str, items: list[str]) -> list[tuple[str, str]]:
    from slick.errors import InputError

    # A path may hold "=", a label should not; of --label the path comes first, of --training-set last.
    path_first = option == "--label"
    pairs = [item.rpartition("=") if path_first else item.partition("=") for item in items]
    bad = [item for item, (a, _, b) in zip(items, pairs, strict=True) if not a.strip() or not b.strip()]
    if bad:
        raise InputError(f"{option}: expected {form}, found {', '.join(map(repr, bad))}")
    return [(a, b.strip()) for a, _, b in pairs]
