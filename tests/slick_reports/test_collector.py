"""The paused garbage collector."""

from __future__ import annotations

import gc

import pytest

from slick_reports.collector import paused


def test_it_is_off_within_and_on_again_afterwards() -> None:
    """Also after an error, and within another pause."""
    assert gc.isenabled()
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), paused():
        raise ValueError("x")
    assert gc.isenabled()


def test_one_that_was_off_stays_off() -> None:
    """It is the caller's."""
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
