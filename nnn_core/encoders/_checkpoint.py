"""Research checkpoints: a directory with one file of weights, and the files of a tokenizer beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nnn_core.encoders import FLOAT32, Fingerprint, check_same
from nnn_core.encoders._decoding import DECODING
from nnn_core.encoders._files import digest, digest_of_files, file_digest
from nnn_core.encoders._towers import Towers, TowersEncoder, device
from nnn_core.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image

_WEIGHTS = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Preprocessing:
    """What a family does to images: squashed to a square by Pillow's bicubic filter, then shifted and scaled.

    Attributes:
        mean: of each channel.
        std: of each channel.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def transform(self, size: int) -> Callable[[Image.Image], torch.Tensor]:
        """To ``size`` pixels square."""
        from torchvision import transforms

        steps = transforms.Compose(
            [
                transforms.Resize((size, size), interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize(self.mean, self.std),
            ]
        )

        def prepared(image: Image.Image) -> torch.Tensor:
            pixels: torch.Tensor = steps(image.convert("RGB"))
            return pixels

        return prepared


@dataclass(frozen=True)
class CheckpointSource:
    """A directory, not loaded. A family is a subclass, which says what else must lie there.

    Attributes:
        directory: absolute path.
        fingerprint: of the files as they are on this machine.
        precision: of the model's arithmetic.
    """

    #: Scheme of the family.
    family: ClassVar[str]
    #: Files of the tokenizer, and its rule of truncation.
    tokenizer: ClassVar[tuple[str, ...]]
    rule: ClassVar[str]
    preprocessing: ClassVar[Preprocessing]
    #: Optional files that say what the weights do not.
    configs: ClassVar[tuple[str, ...]] = ()

    directory: str
    fingerprint: Fingerprint
    precision: str = FLOAT32

    @classmethod
    def parse(cls, spec: str, precision: str = FLOAT32) -> Self:
        """``DIR``.

        Raises:
            InputError: it lacks a file, or holds several checkpoints.
        """
        directory = Path(spec).absolute()
        return cls(str(directory), replace(cls._fingerprint(directory), precision=precision), precision)

    def load(self) -> TowersEncoder:
        """Load model, preprocessing and tokenizer in this process.

        Raises:
            InputError: they cannot be loaded, or the files here differ from those of the fingerprint.
            ConfigError: a package that is needed is not installed.
        """
        here = replace(self._fingerprint(Path(self.directory)), precision=self.precision)
        check_same(f"{self.family}:{self.directory}", here, self.fingerprint)
        device()
        try:
            return TowersEncoder(self.towers(Path(self.directory)), self.precision)
        except ImportError as error:
            raise ConfigError(
                f"--encoder {self.family}:... needs packages that are not installed ({error}); pip install "
                "'nnn-bias[transformers]'."
            ) from error
        except InputError:
            raise
        except KeyError as error:
            raise InputError(
                f"--encoder {self.family}:{self.directory} has no weight {error}, so it is not a checkpoint of "
                f"{self.family} for retrieval."
            ) from error
        except Exception as error:  # a checkpoint can be wrong in many ways
            raise InputError(f"--encoder {self.family}:{self.directory} cannot be loaded: {error!r}") from error

    @classmethod
    def towers(cls, directory: Path) -> Towers:
        """The model in a directory."""
        raise NotImplementedError

    @classmethod
    def _fingerprint(cls, directory: Path) -> Fingerprint:
        missing = [name for name in cls.tokenizer if not (directory / name).is_file()]
        if missing:
            raise InputError(
                f"--encoder {cls.family}:{directory} lacks {', '.join(missing)}; put the checkpoint and the files of "
                "its tokenizer in one directory."
            )
        configs = [directory / name for name in cls.configs if (directory / name).is_file()]
        return Fingerprint(
            weights=file_digest(weights_of(directory, cls.family)),
            architecture=digest_of_files(configs, cls.family),
            preprocessing=digest(cls.preprocessing.mean, cls.preprocessing.std, "bicubic", DECODING),
            tokenizer=digest_of_files([directory / name for name in cls.tokenizer], cls.rule),
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
            f"--encoder {family}:{directory} must hold one checkpoint ({', '.join(_WEIGHTS)}), and these are there: "
            f"{names}."
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
            f"{str(path)!r} cannot be read without executing code of its own: {error}. If you trust where it comes "
            "from, read it elsewhere and save its weights alone."
        ) from error
    for name in ("model", "module", "state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    state = {name: value for name, value in dict(found).items() if isinstance(value, torch.Tensor)}
    if not state:
        raise InputError(f"{str(path)!r} holds no weights.")
    return state


def fit(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put weights into a module that has a place for each of them, and needs no other.

    Raises:
        InputError: some are missing, left over, or of another shape.
    """
    needed = module.state_dict()
    missing, extra = sorted(needed.keys() - state.keys()), sorted(state.keys() - needed.keys())
    shapes = sorted(name for name in needed.keys() & state.keys() if needed[name].shape != state[name].shape)
    if missing or extra or shapes:
        told = [("lacks", missing), ("has no place for", extra), ("has in another shape", shapes)]
        raise InputError(
            f"{str(path)!r} does not fit the model: it "
            + ", it ".join(f"{what} {len(names)} weights (first: {names[0]!r})" for what, names in told if names)
            + "; give the checkpoint of the retrieval model."
        )
    module.load_state_dict({name: value.float() for name, value in state.items()})


def within(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The weights whose name begins with ``prefix``, by the rest of their name."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def layers_in(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many numbered layers there are below ``prefix``."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})
