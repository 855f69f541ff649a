"""Lets `lm_eval` find the tasks and the model of this installation; its .pth file runs `install` at Python's start.

lm-eval 0.4 looks for tasks in its own directory and --include_path only, for models in its own list. This waits,
without importing anything, for the modules in WAKES and then calls into `slick.lm_eval_plugin`.
SLICK_NO_LM_EVAL_HOOK=1 turns it off. An editable install holds a copy of this file, so whatever may change belongs
there, not here. PYTEST_DONT_REWRITE: pytest would warn that this stands before its plugins do.
"""

# Annotations would need `typing`, and this runs at every start.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import os
import sys

# A module of lm_eval → the function of slick.lm_eval_plugin that is handed the module once it has run.
WAKES = {"lm_eval.tasks.manager": "add_tasks", "lm_eval.models": "add_models"}
# What helps where that function fails.
INSTEAD = {
    "add_tasks": 'use --include_path "$(slick tasks-path)"',
    "add_models": "use --model hf, or `slick probe`",
}


class Finder:
    """Finds nothing itself: it has the other finders find a module of WAKES, and is called after its code."""

    def find_spec(self, name, path=None, target=None):
        if name not in WAKES:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    _call_after(spec.loader, WAKES[name])
                return spec
        return None


def _call_after(loader, function):
    run = loader.exec_module

    def exec_module(module):
        run(module)
        try:
            from slick import lm_eval_plugin

            getattr(lm_eval_plugin, function)(module)
        except Exception as error:  # lm-eval itself must work whatever is wrong with us
            print(
                f"slick: lm_eval cannot find its {function[4:]} by itself ({type(error).__name__}: {error}); "
                f"{INSTEAD[function]}, or set SLICK_NO_LM_EVAL_HOOK=1 to be rid of this line",
                file=sys.stderr,
            )

    loader.exec_module = exec_module


FINDER = Finder()


def install():
    if FINDER not in sys.meta_path and os.environ.get("SLICK_NO_LM_EVAL_HOOK", "0") in ("", "0"):
        sys.meta_path.insert(0, FINDER)
