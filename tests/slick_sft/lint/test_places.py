"""What a command writes never takes the place of what it reads, or of what else it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slick.errors import InputError
from slick_sft.lint.places import check_outputs


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., None]:
    """Checks outputs against a dataset, a directory of one, and facts that are held out."""
    (tmp_path / "data.jsonl").write_text("x")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "state.json").write_text("x")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "data.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "data.jsonl")
    read = {"the dataset": [tmp_path / "data.jsonl", tmp_path / "set"], "a source of facts": ["lab", ""]}

    def checked(**outputs: str) -> None:
        check_outputs({f"--{name}": tmp_path / path for name, path in outputs.items()}, read, what="the findings")

    return checked


@pytest.mark.parametrize("path", ["data.jsonl", "link.jsonl", "hard.jsonl", "set/../data.jsonl", "set"])
@pytest.mark.parametrize("option", ["json", "out"])
def test_a_dataset_is_never_written_over(check: Callable[..., None], option: str, path: str) -> None:
    """Under none of its names."""
    with pytest.raises(InputError, match=rf"is the dataset itself; give the findings another .* \(--{option}\)"):
        check(**{option: path})


def test_a_directory_of_data_is_left_alone(check: Callable[..., None]) -> None:
    """Nothing is written into it."""
    with pytest.raises(InputError, match="lies inside of the dataset, set"):
        check(json="set/state.json")


def test_two_outputs_have_two_places(check: Callable[..., None]) -> None:
    """Also two names of one place; all mistakes are told at once."""
    with pytest.raises(InputError, match=r"named by --json and by --sarif(.|\n)*data.jsonl: is the dataset") as caught:
        check(json="a.json", sarif="set/../a.json", out="data.jsonl")
    assert len(str(caught.value).splitlines()) == 3
    with pytest.raises(InputError, match="is a file of the run that --out keeps"):
        check(out="run", json="run/knowledge.parquet")
    check(out="run", json="run/lint.json", sarif="a.sarif")
