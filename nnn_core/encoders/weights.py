"""How large a model is, by the files that its spec names, without loading it."""

from __future__ import annotations

from pathlib import Path

from nnn_core.encoders import EncoderSource

#: How files of weights end. A directory may hold the same ones in several forms, of which one is loaded.
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


def weights_of(source: EncoderSource) -> int | None:
    """Bytes of the checkpoint; None where no file here is it, as with a name of a hub or a function of one's own."""
    spec = getattr(getattr(source, "bare", source), "spec", "")
    for text in (spec, spec.partition(":")[2], spec.partition("/")[2]):
        path = Path(text)
        if text and path.is_file():
            return path.stat().st_size
        if text and path.is_dir():
            files = [each for each in path.iterdir() if each.suffix in _SUFFIXES]
            return max((_size([each for each in files if each.suffix == end]) for end in _SUFFIXES), default=0) or None
    return None


def _size(files: list[Path]) -> int:
    return sum(each.stat().st_size for each in files)
