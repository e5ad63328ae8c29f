"""What the configuration of a model may ask of the libraries that load it: what is listed here, and nothing else.

Whoever writes a model's directory must not decide what runs on this machine. Libraries take arguments from the files in
it, and some of these name code: a tokenizer's class, a kernel, an adapter. So arguments are passed on by name, and no
library may execute a file of the directory. Whoever trusts a model's own code brings it as ``python:MODULE:FACTORY``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from nnn_core.errors import InputError

#: Of open_clip: how captions are cleaned and tokenized.
_TOKENIZER_ARGUMENTS = frozenset({"clean", "strip_sep_token", "language"})

#: Of open_clip: arguments of its layers.
_LAYER_ARGUMENTS = {
    "act_kwargs": frozenset({"approximate"}),
    "norm_kwargs": frozenset({"eps", "elementwise_affine", "bias"}),
}

_OWN_CODE = "Give a model that needs its own code as --encoder python:package.module:factory."


def run_no_code() -> None:
    """Tell transformers that nobody answers its question whether a model's own code may run: then it does not."""
    with contextlib.suppress(ImportError):  # where it is not installed, nobody asks
        from transformers import dynamic_module_utils

        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def check_open_clip(config: Mapping[str, Any], text_towers: Callable[[], Collection[str]], path: Path) -> None:
    """Refuse a ``model_cfg`` of open_clip that names more than an architecture.

    Args:
        config: the object in the directory's configuration.
        text_towers: gives the names of the models of transformers that open_clip itself takes text towers from.
        path: path of the configuration, for messages.

    Raises:
        InputError: naming the setting.
    """
    for tower in ("text_cfg", "vision_cfg", "multimodal_cfg"):
        settings = config.get(tower) or {}
        if not isinstance(settings, Mapping):
            raise InputError(
                f"--encoder: {str(path)!r} has no object {tower!r}, so it is not the configuration of a model."
            )
        _check_arguments(settings, "tokenizer_kwargs", _TOKENIZER_ARGUMENTS, path)
        for name, known in _LAYER_ARGUMENTS.items():
            _check_arguments(settings, name, known, path)
        timm, text = (str(settings.get(name) or "") for name in ("timm_model_name", "hf_model_name"))
        if any(mark in timm for mark in ":/\\") or (text and text not in text_towers()):
            raise InputError(
                f"--encoder: {str(path)!r} takes a tower from {text or timm!r}, which open_clip does not know. "
                f"Files there could run code, so it was not loaded. {_OWN_CODE}"
            )


def _check_arguments(settings: Mapping[str, Any], name: str, known: frozenset[str], path: Path) -> None:
    arguments = settings.get(name) or {}
    if not isinstance(arguments, Mapping):
        raise InputError(f"--encoder: {str(path)!r} has no object {name!r}, so it is not the configuration of a model.")
    if further := sorted(arguments.keys() - known):
        raise InputError(
            f"--encoder: {str(path)!r} passes {further[0]!r} by {name!r}, and only {', '.join(sorted(known))} "
            f"are passed on, because others can make a library run files. {_OWN_CODE}"
        )


def architecture_of(config: Mapping[str, Any], kind: Any, path: Path) -> dict[str, Any]:
    """What a ``config.json`` says of the architecture, without what would steer how transformers loads it.

    Args:
        config: the object in the file, or one in it for a tower.
        kind: class of transformers that the object is for.
        path: path of the file, for messages.

    Returns:
        The fields that the class declares. Others are kept if they are numbers, which name nothing.

    Raises:
        InputError: the weights are not those of the model itself.
    """
    if config.get("quantization_config"):
        raise InputError(
            f"--encoder: {str(path)!r} describes quantised weights, which are not supported. Give the "
            "checkpoint in full precision."
        )
    declared = {*kind.__dataclass_fields__, *getattr(kind, "attribute_map", {})} - {"transformers_version"}
    kept = {
        name: value
        for name, value in config.items()
        if name in declared or value is None or isinstance(value, int | float)
    }
    for name, tower in kind.sub_configs.items():
        # The second is how the first models were saved.
        for each in (name, f"{name}_dict"):
            if isinstance(config.get(each), Mapping):
                kept[each] = architecture_of(config[each], tower, path)
    return kept
