"""The report as one HTML page: offline, every value escaped, whole without scripts, and a policy against strangers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from slick_reports import arm_charts, charts, curve_charts, wording
from slick_reports.embedded import embed
from slick_reports.numbers import Report, direction
from slick_reports.text import short, visible
from slick_reports.wrong import TOLD

# Rows of a list of facts for readers without scripts; the page's script has all that fit, and report.json holds all.
LIST_LIMIT = 100

# All static lists of a page together, so that one of many arms stays below 2 MB.
_LISTED = 1000

_DIGEST = re.compile(r"[0-9a-f]{40,}")


def render(report: Report, *, stem: str = "report") -> str:
    """`report` as a page. stem: the name, without suffix, of the Markdown and JSON files beside it."""
    css = style_sheet()
    pictures = {
        "accuracy": charts.accuracy_chart(report),
        "change": charts.change_chart(report),
        "control": charts.control_chart(report),
        "shares": charts.shares_chart(report.shares) if report.shares else None,
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
    environment.globals["list_limit"] = min(LIST_LIMIT, max(10, _LISTED // (3 * len(report.arms))))
    return environment.get_template("report.html.j2").render(
        r=report,
        css=Markup(css),  # noqa: S704  our own file
        css_hash=style_hash(css),
        script=Markup(script),  # noqa: S704  our own file
        script_hash=style_hash(script),
        charts=pictures,
        migrations=migrations,
        curves=curves,
        facts=embed(report),
        versions=versions_by_runs(report),
        json_name=f"{stem}.json",
        markdown_name=f"{stem}.md",
    )


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
