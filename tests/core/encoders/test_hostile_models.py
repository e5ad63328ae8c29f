"""Directories of models whose files ask for code to be run: refused, or loaded without it."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import CAPTIONS, save_albef, save_beit3, save_transformers

import nnn_core
from nnn_core.encoders import parse_encoder
from nnn_core.errors import InputError

pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")

pytestmark = pytest.mark.counted

DEMO = Path(nnn_core.__file__).parent / "demo" / "encoder"
AUTO_MAP = {
    "AutoConfig": "payload.Payload",
    "AutoModel": "payload.Payload",
    "AutoImageProcessor": "payload.Payload",
    "AutoProcessor": "payload.Payload",
    "AutoTokenizer": ["payload.Payload", "payload.Payload"],
}
TRUSTED: dict[str, Any] = {"trust_remote_code": True, "auto_map": AUTO_MAP}
#: A class that no library has, so that nothing but the file in the directory could be meant.
UNKNOWN: dict[str, Any] = {**TRUSTED, "tokenizer_class": "Payload", "image_processor_type": "Payload"}

Change = Callable[[Path], None]


def save_open_clip(folder: Path) -> None:
    shutil.copytree(DEMO, folder, dirs_exist_ok=True)


FAMILIES: dict[str, Callable[[Path], object]] = {
    "open_clip:local-dir": save_open_clip,
    "transformers": lambda folder: save_transformers(folder, "clip"),
    "albef": save_albef,
    "beit3": save_beit3,
}


def setting(name: str, *place: str, **values: Any) -> Change:
    """Write values into the JSON file ``name``, at a place in it."""

    def change(folder: Path) -> None:
        path = folder / name
        record = json.loads(path.read_text()) if path.is_file() else {}
        inner = record
        for key in place:
            inner = inner.setdefault(key, {})
        inner.update(values)
        path.write_text(json.dumps(record))

    return change


def pickled(*names: str) -> Change:
    """Put a pickle that writes a file where the weights are."""

    def change(folder: Path) -> None:
        for path in (*folder.glob("*.safetensors"), *folder.glob("*.pth")):
            path.unlink()
        for name in names:
            (folder / name).write_bytes(pickle.dumps(_Writes(str(folder / "ran"))))

    return change


class _Writes:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


def both(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


TEXT = ("model_cfg", "text_cfg")
VISION = ("model_cfg", "vision_cfg")
_OC = "open_clip_config.json"
_HF_TOKENIZER = both(setting("tokenizer_config.json", **UNKNOWN), setting(_OC, *TEXT, hf_tokenizer_name="any"))
_BESIDE = both(setting("tokenizer_config.json", **UNKNOWN), setting("config.json", **UNKNOWN))

#: Family, attack, and what the error says; None where it loads and the attack does nothing.
CASES: dict[str, tuple[str, Change, str | None]] = {
    "a trusted tokenizer": (
        "open_clip:local-dir",
        both(_HF_TOKENIZER, setting(_OC, *TEXT, tokenizer_kwargs={"trust_remote_code": True})),
        "passes 'trust_remote_code' by 'tokenizer_kwargs'",
    ),
    "a tokenizer from elsewhere": (
        "open_clip:local-dir",
        both(_HF_TOKENIZER, setting(_OC, *TEXT, tokenizer_kwargs={"subfolder": "..", "clean": "lower"})),
        "passes 'subfolder'",
    ),
    "a tokenizer's class": ("open_clip:local-dir", _HF_TOKENIZER, "cannot be loaded"),
    "a tower from a place": (
        "open_clip:local-dir",
        setting(_OC, *VISION, timm_model_name="local-dir:/tmp/x"),
        "takes a tower from 'local-dir:/tmp/x'",
    ),
    "a tower from the hub": ("open_clip:local-dir", setting(_OC, *TEXT, hf_model_name="e/x"), "takes a tower from"),
    "arguments of layers": ("open_clip:local-dir", setting(_OC, *VISION, act_kwargs={"f": 1}), "passes 'f'"),
    "no object": ("open_clip:local-dir", setting(_OC, *TEXT, tokenizer_kwargs=["a"]), "no object"),
    "no tower": ("open_clip:local-dir", setting(_OC, "model_cfg", vision_cfg=[1]), "no object"),
    "pickled": ("open_clip:local-dir", pickled("open_clip_pytorch_model.bin"), "cannot be loaded"),
    "transformers: settings": ("transformers", setting("config.json", **TRUSTED), None),
    "transformers: settings of a tower": ("transformers", setting("config.json", "text_config", **TRUSTED), None),
    "transformers: a kernel": ("transformers", setting("config.json", attn_implementation="e/x:kernel"), None),
    "transformers: other weights": ("transformers", setting("config.json", transformers_weights="../x"), None),
    "transformers: pixels": (
        "transformers",
        setting("preprocessor_config.json", **UNKNOWN),
        "cannot be loaded",
    ),
    "transformers: pixels, a known class": ("transformers", setting("preprocessor_config.json", **TRUSTED), None),
    "transformers: words": ("transformers", setting("tokenizer_config.json", **UNKNOWN), None),
    "transformers: quantised": (
        "transformers",
        setting("config.json", quantization_config={"quant_method": "payload"}),
        "quantised",
    ),
    "transformers: an adapter": (
        "transformers",
        setting("adapter_config.json", base_model_name_or_path="e/x"),
        "holds an adapter",
    ),
    "transformers: pickled": ("transformers", pickled("pytorch_model.bin"), "cannot be loaded"),
    "albef: words": (
        "albef",
        _BESIDE,
        None,
    ),
    "albef: pickled": ("albef", pickled("albef.pth"), "cannot be read without running code"),
    "beit3: words": (
        "beit3",
        _BESIDE,
        None,
    ),
    "beit3: pickled": ("beit3", pickled("beit3.pth"), "cannot be read without running code"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    """Sound directories, and the vectors of their captions."""
    found = {}
    for family, save in FAMILIES.items():
        folder = tmp_path_factory.mktemp("sound")
        save(folder)
        found[family] = folder, vectors(family, folder)
    return found


def vectors(family: str, folder: Path) -> np.ndarray:
    encoder = parse_encoder(f"{family}:{folder}").load()
    encoder.batch_size = len(CAPTIONS)
    return encoder.encode_texts(CAPTIONS)


@pytest.mark.parametrize("name", CASES)
def test_a_model_runs_no_code(
    name: str,
    saved: dict[str, tuple[Path, np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_count: Callable[[str, int, int], None],
) -> None:
    family, change, message = CASES[name]
    sound, expected = saved[family]
    folder = tmp_path / "model"
    shutil.copytree(sound, folder)
    ran = folder / "ran"
    (folder / "payload.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Payload:\n    pass\n")
    change(folder)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    try:
        found, told = vectors(family, folder), None
    except InputError as error:
        found, told = None, str(error)
    record_count("model directories that run no code", not ran.exists(), 1)
    assert not ran.exists()
    if message is None:
        np.testing.assert_array_equal(found, expected)
    else:
        assert re.search(message, told or "it was loaded")
