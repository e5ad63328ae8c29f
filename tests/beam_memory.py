"""What Beam works out anew for every step of every job, remembered: the tests run hundreds of small jobs.

A job of ours has 70 steps. Beam inspects the signatures of all methods of a step eight times, 18,000 signatures a
job, and builds and runs an argument parser for each of 800 looks at the options: together half of the time of a job
over 20 rows. Both depend only on what was asked, so they are kept for the life of the process.
``make test-slow`` runs on Beam as it is.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core

Arguments = tuple[list[str], list[Any]]


def install() -> None:
    """Replace both for this process."""
    core.get_function_args_defaults = _remembering(core.get_function_args_defaults)
    PipelineOptions.view_as = _view_as


def _remembering(inspect: Callable[[Any], Arguments]) -> Callable[[Any], Arguments]:
    """``inspect``, once per function; the arguments of a bound method are those of its function but the first."""
    plain: WeakKeyDictionary[Any, Arguments] = WeakKeyDictionary()
    bound: WeakKeyDictionary[Any, Arguments] = WeakKeyDictionary()

    @wraps(inspect)
    def arguments_of(function: Any) -> Arguments:
        memory, key = (bound, function.__func__) if isinstance(function, MethodType) else (plain, function)
        try:
            found = memory.get(key)
        except TypeError:  # what can neither be hashed nor referred to weakly
            return inspect(function)
        if found is None:
            found = memory[key] = inspect(function)
        names, defaults = found
        return list(names), list(defaults)

    return arguments_of


_PARSED: dict[tuple[type[PipelineOptions], tuple[str, ...]], Any] = {}


def _view_as(options: PipelineOptions, view_class: type[PipelineOptions]) -> PipelineOptions:
    """``PipelineOptions.view_as``, which parses the same flags for the same class once."""
    flags = options._flags
    key = view_class, tuple(sys.argv if flags is None else flags)
    if key not in _PARSED:
        _PARSED[key] = view_class(flags)._visible_options
    view = object.__new__(view_class)
    # Every job has lists of its own, as it would have from a parser.
    vars(view).update(_flags=flags, _visible_options=copy.deepcopy(_PARSED[key]), _all_options=options._all_options)
    for name in view._visible_option_list():
        options._all_options.setdefault(name, getattr(view._visible_options, name))
    return view
