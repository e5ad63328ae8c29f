"""Research checkpoints: a directory with one file of weights, and the files of a tokenizer beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from nnn_core.encoders import Fingerprint
from nnn_core.encoders._decoding import DECODING
from nnn_core.encoders._files import digest, digest_of_files, file_digest, present
from nnn_core.encoders._source import ModelSource
from nnn_core.encoders._towers import Towers
from nnn_core.errors import InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image

_Module = TypeVar("_Module", bound="torch.nn.Module")

_WEIGHTS = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Preprocessing:
    """What a family does to images: squashed to a square by Pillow's bicubic filter, then shifted and scaled.

    Attributes:
        mean: what is subtracted from red, green and blue, of values from 0 to 1.
        std: what red, green and blue are divided by once ``mean`` is subtracted.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def transform(self, size: int) -> Callable[[Image.Image], torch.Tensor]:
        """To ``size`` pixels square."""
        from torchvision import transforms

        resize = transforms.Resize((size, size), interpolation=transforms.InterpolationMode.BICUBIC)
        steps = transforms.Compose([resize, transforms.ToTensor(), transforms.Normalize(self.mean, self.std)])
        return lambda image: steps(image.convert("RGB"))


class CheckpointSource(ModelSource):
    """A directory. A family is a subclass, which says what must lie there besides the weights."""

    #: Files of the tokenizer, and its rule of truncation.
    tokenizer: ClassVar[tuple[str, ...]]
    rule: ClassVar[str]
    preprocessing: ClassVar[Preprocessing]
    #: Optional files that say what the weights do not.
    configs: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def absolute(cls, spec: str) -> str:
        """The directory's absolute path."""
        return str(Path(spec).absolute())

    @classmethod
    def towers(cls, spec: str) -> Towers:
        """The model in a directory, loaded.

        Raises:
            InputError: the checkpoint is not one of this family.
        """
        try:
            return cls.towers_in(Path(spec))
        except KeyError as error:
            raise InputError(
                f"--encoder {cls.scheme}:{spec} has no weight {error}, so it is not a checkpoint of {cls.scheme} for "
                "retrieval."
            ) from error

    @classmethod
    def towers_in(cls, directory: Path) -> Towers:
        """The model in a directory, loaded.

        Raises:
            KeyError: a weight that a checkpoint of this family has is missing.
            InputError: the checkpoint is wrong in another way.
        """
        raise NotImplementedError

    @classmethod
    def describe(cls, spec: str) -> Fingerprint:
        """The fingerprint of the files here, but for the precision.

        Raises:
            InputError: the directory lacks a file, or holds several checkpoints.
        """
        directory = Path(spec)
        tokenizer = present(directory, cls.tokenizer)
        if len(tokenizer) < len(cls.tokenizer):
            missing = sorted(set(cls.tokenizer) - {path.name for path in tokenizer})
            raise InputError(
                f"--encoder {cls.scheme}:{directory} lacks {', '.join(missing)}. Put the checkpoint and its "
                "tokenizer's files in one directory."
            )
        return Fingerprint(
            weights=file_digest(weights_of(directory, cls.scheme)),
            architecture=digest_of_files(present(directory, cls.configs), cls.scheme),
            preprocessing=digest(cls.preprocessing.mean, cls.preprocessing.std, "bicubic", DECODING),
            tokenizer=digest_of_files(tokenizer, cls.rule),
        )


def weights_of(directory: Path, family: str) -> Path:
    """The only file of weights in a directory.

    Raises:
        InputError: there is none, or more than one.
    """
    found = sorted(path for path in directory.glob("*") if path.suffix in _WEIGHTS)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"--encoder {family}:{directory} must hold one checkpoint ({', '.join(_WEIGHTS)}), but has: {names}."
        )
    return found[0]


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint by name; nothing in it is executed.

    Raises:
        InputError: it holds more than tensors and plain values, or no weights.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{str(path)!r} cannot be read without running code that it contains: {error}. If you trust its "
            "source, load it elsewhere and save only its weights."
        ) from error
    for name in ("model", "module", "state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    state = {name: value for name, value in dict(found).items() if isinstance(value, torch.Tensor)}
    if not state:
        raise InputError(f"{str(path)!r} holds no weights.")
    return state


def fitted(module: _Module, state: Mapping[str, torch.Tensor], path: Path) -> _Module:
    """``module`` with these weights in it; it has a place for each of them, and needs no other.

    Raises:
        InputError: some are missing, left over, or of another shape.
    """
    needed = module.state_dict()
    missing, extra = sorted(needed.keys() - state.keys()), sorted(state.keys() - needed.keys())
    shapes = sorted(name for name in needed.keys() & state.keys() if needed[name].shape != state[name].shape)
    if missing or extra or shapes:
        told = [("are missing", missing), ("are unknown", extra), ("have a different shape", shapes)]
        raise InputError(
            f"{str(path)!r} does not fit the model: "
            + ", ".join(f"{len(names)} weights {what} (first: {names[0]!r})" for what, names in told if names)
            + ". Give the checkpoint of the retrieval model."
        )
    module.load_state_dict({name: value.float() for name, value in state.items()})
    return module


def layers_in(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many numbered layers there are below ``prefix``."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})
