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
    title: Annotated[str, typer.Option("--title", help="The report's title.")] = "",
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Compare runs made with other settings; the report warns of it.")
    ] = False,
) -> None:
    """Report what tuning kept, gained and lost: before and after by category, with intervals and A/A lines.

    Writes one HTML page that needs no network and no script, and the same numbers as Markdown and JSON.

    \b
    Example:
      slick report runs/base-score runs/known-score runs/half-score --knowledge runs/probe --out report.html
    """
    from slick.terminal import print_table
    from slick_reports.report import TITLE, build_report, headline_table, write_report

    found = build_report(
        runs,
        before=before,
        knowledge=knowledge,
        control=control or None,
        labels=_labels(label),
        title=title or TITLE,
        allow_mismatch=allow_mismatch,
    )
    paths = write_report(found, out)
    print_table(f"{found.n:,} facts, accuracy in percent, difference in points", *headline_table(found))
    typer.echo(f"{found.headline}\n{found.noise}\n")
    for path in paths:
        typer.echo(str(path))


def _labels(items: list[str]) -> dict[str, str]:
    """RUN=LABEL items as run → label. InputError names the items that are none."""
    from slick.errors import InputError

    # A path may hold "=", a label should not, so the last one parts them.
    pairs = [item.rpartition("=") for item in items]
    bad = [item for item, (run, _, label) in zip(items, pairs, strict=True) if not run or not label.strip()]
    if bad:
        raise InputError(f"--label: expected RUN=LABEL, found {', '.join(map(repr, bad))}")
    return {str(Path(run)): label.strip() for run, _, label in pairs}
