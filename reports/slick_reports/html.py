"""The report as one HTML page: offline, every value escaped, whole without scripts, and a policy against strangers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from slick_reports import arm_charts, charts, curve_charts, wording
from slick_reports.embedded import Embedded, embed
from slick_reports.numbers import Flip, RelationNumbers, Report, Shares, direction
from slick_reports.text import short, visible
from slick_reports.wrong import TOLD

# Rows of a list of facts for readers without scripts; the page's script has all that fit, and report.json holds all.
LIST_LIMIT = 100

# All static lists of a page together: rows, and bytes of the texts in them.
_LISTED = 1000
_LISTED_BYTES = 400_000

# A page stays below 2 MB whatever it reports: what the rest takes is not there for the script's facts.
PAGE_BYTES = 1_950_000

# Of the relations' table: bytes, and what a cell takes of them. A picture has room for no more than so many bars.
_RELATIONS_BYTES = 500_000
_CELL_BYTES = 160
_BARS = 100

_DIGEST = re.compile(r"[0-9a-f]{40,}")


def render(report: Report, *, stem: str = "report") -> str:
    """`report` as a page. stem: the name, without suffix, of the Markdown and JSON files beside it."""
    facts = embed(report)
    page = _render(report, stem, facts)
    # Seldom more than once: where names are long, or there are many relations.
    while (over := _bytes(page) - PAGE_BYTES) > 0 and facts.rows:
        facts = embed(report, facts.size - over)
        page = _render(report, stem, facts)
    return page


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _render(report: Report, stem: str, facts: Embedded) -> str:
    css = style_sheet()
    pictures = {
        "accuracy": charts.accuracy_chart(report),
        "change": charts.change_chart(report),
        "control": charts.control_chart(report),
        "shares": charts.shares_chart(_drawn(report.shares)) if report.shares else None,
        "slopes": [arm_charts.slopes(arm, place) for place, arm in enumerate(report.arms)],
        "wrong": arm_charts.wrong_chart(report),
        "loss": arm_charts.loss_chart(report),
    }
    curves = [
        (arm, [(name, curve_charts.curve_chart(arm, place, name)) for name in arm.training_curves.watched()])
        for place, arm in enumerate(report.arms)
        if arm.training_curves
    ]
    migrations = [
        (arm, arm_charts.migration_chart(arm.migration, place))
        for place, arm in enumerate(report.arms)
        if arm.migration
    ]
    script = page_script()
    environment = page_environment("slick_reports")
    environment.globals |= {"list_limit": list_limit(report), "bars_limit": _BARS}
    return environment.get_template("report.html.j2").render(
        r=report,
        css=Markup(css),  # noqa: S704  our own file
        css_hash=style_hash(css),
        script=Markup(script),  # noqa: S704  our own file
        script_hash=style_hash(script),
        charts=pictures,
        migrations=migrations,
        curves=curves,
        facts=facts,
        relations=_largest(report),
        versions=versions_by_runs(report),
        logged=any(arm.flips for arm in report.arms),
        json_name=f"{stem}.json",
        markdown_name=f"{stem}.md",
    )


def list_limit(report: Report) -> int:
    """How many rows of each static list a page has room for, by number and by length."""
    lists = [flips for arm in report.arms for flips in arm.flips.values()]
    most = min(LIST_LIMIT, max(10, _LISTED // max(1, len(lists))))
    size = 0
    for place in range(most):
        size += sum(_length(flips[place]) for flips in lists if place < len(flips))
        if size > _LISTED_BYTES:
            return place
    return most


def _length(flip: Flip) -> int:
    """Bytes of a row's texts in the page."""
    texts = (flip.fact.relation, flip.fact.question, *flip.fact.answers[:5], flip.before, *set(flip.after))
    return sum(_bytes(escape(short(text))) for text in texts)


def _largest(report: Report) -> list[RelationNumbers]:
    """The relations of the page's table by name: all, or the largest where they are too many."""
    found, size = [], 0
    for row in sorted(report.relations, key=lambda row: -row.n):
        size += _bytes(escape(short(row.relation))) + _CELL_BYTES * (2 + 2 * len(row.after))
        if size > _RELATIONS_BYTES:
            break
        found.append(row)
    return sorted(found, key=lambda row: row.relation)


def _drawn(shares: Shares) -> Shares:
    return shares if len(shares.relations) <= _BARS else replace(shares, relations={})


def style_sheet() -> str:
    """The style of every page of ours."""
    return files("slick_reports").joinpath("templates/report.css").read_text(encoding="utf-8")


def page_script() -> str:
    """The script of our pages: a theme switch, and tables of facts that sort, search and filter."""
    return files("slick_reports").joinpath("templates/page.js").read_text(encoding="utf-8")


def style_hash(css: str) -> str:
    """By which a page's policy allows its style sheet, or its script, and nothing else."""
    return base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()


def page_environment(package: str) -> jinja2.Environment:
    """The templates of a package, with our filters; every value is made visible and escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": short,
        "brief": brief,
        "tally": tally,
        "direction": direction,
        **{
            name: getattr(wording, name)
            for name in (
                *("percent", "percent_interval", "points", "points_interval", "size", "count", "level", "expected"),
                *("decimal", "chance"),
            )
        },
    }
    environment.globals |= {
        "legend_marker": charts.legend_marker,
        "legend_prior": charts.legend_prior,
        "swatch": charts.swatch,
        "kind_swatch": charts.kind_swatch,
        "curve_legend": curve_charts.legend,
        "curve_table": curve_charts.curve_table,
        "curve_title": curve_charts.title_of,
        "curve_told": curve_charts.told,
        "kind_names": arm_charts.KIND_NAMES,
        "kind_told": {"": "", **{str(kind): told for kind, told in TOLD.items()}},
        "list_limit": LIST_LIMIT,
        "not_logged": wording.NOT_LOGGED,
    }
    return environment


def _finalize(value: Any) -> Any:
    """Every value a template prints passes here, so that none is printed with invisible characters in it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def brief(value: Any) -> str:
    """A digest's first 12 digits, a number at six digits, any other value as it is, "–" for None."""
    text = wording.NONE if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text[:12] if _DIGEST.fullmatch(text) else short(text)


def tally(answers: Sequence[str]) -> list[tuple[str, int]]:
    """Answers with how often each stands there, commonest first."""
    return Counter(answers).most_common()


def versions_by_runs(report: Report) -> list[tuple[tuple[tuple[str, str], ...], list[str]]]:
    """(versions, paths of the runs made with them); one entry when all are equal."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in report.runs:
        found.setdefault(tuple(run.versions.items()), []).append(run.path)
    return list(found.items())
