'''Encoders of your own: three methods in a module of yours, or in an installed package.

    # in mypackage/encoder.py; then --encoder python:mypackage.encoder:load:/models/v3
    class MyEncoder:
        batch_size = 32
        version = "v3, 2026-05-01"

        def __init__(self, folder: str) -> None:
            self.model = ...

        def preprocess_image(self, data: bytes) -> np.ndarray:
            """One encoded image (JPEG, PNG, WebP) as encode_images takes it; ValueError rejects the row."""
            with nnn_core.encoders._decoding.upright(data) as image:
                return np.asarray(image.convert("RGB").resize((224, 224)), np.float32) / 255

        def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
            """Up to batch_size of them as (n, dim) float32; they need not be unit vectors."""
            return self.model.images(np.stack(images))

        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            """Up to batch_size captions as (n, dim) float32."""
            return self.model.texts(texts)

    def load(folder: str) -> MyEncoder:
        return MyEncoder(folder)

``version`` stands for everything that the vectors depend on, as nobody else can tell: change it with the weights,
the preprocessing or the tokenizer, or old vectors will be taken for new ones. Two attributes may be left out: an
encoder that counts the captions that it cuts, in ``truncated``, has them reported, and one whose ``concurrent`` is
true is called by several threads at the same time.

A package may give its encoder a scheme of its own, so that ``--encoder mine:/models/v3`` calls ``load``:

    [project.entry-points."nnn_core.encoders"]
    mine = "mypackage.encoder:load"
'''

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from nnn_core.encoders import FLOAT32, Encoder, Fingerprint
from nnn_core.encoders._files import digest
from nnn_core.errors import ConfigError, InputError
from nnn_core.vectors import FloatMatrix

ENTRY_POINTS = "nnn_core.encoders"

_METHODS = ("preprocess_image", "encode_images", "encode_texts")


@dataclass(frozen=True)
class ForeignSource:
    """A function that loads an encoder, not called.

    Attributes:
        scheme: ``python``, or the name of an entry point.
        rest: what follows the scheme and its colon in ``--encoder``.
        fingerprint: fingerprint of the function's name and the version of the encoder that it returned.
    """

    scheme: str
    rest: str
    fingerprint: Fingerprint

    @classmethod
    def parse(cls, scheme: str, rest: str, precision: str = FLOAT32) -> ForeignSource:
        """``python:PACKAGE.MODULE:FACTORY[:ARGUMENT]``, or ``NAME:ARGUMENT`` of an entry point.

        Raises:
            ConfigError: no such function, or what it returns is no encoder.
            InputError: it fails.
        """
        if precision != FLOAT32:
            raise ConfigError(
                f"--precision {precision} with --encoder {scheme}:{rest}: the flag does not work for encoders "
                "of your own. Leave it out, and set the precision through the encoder's argument."
            )
        return cls(scheme, rest, _fingerprint(scheme, rest, _call(scheme, rest)))

    def load(self) -> Encoder:
        """Call the function in this process.

        Raises:
            InputError: it fails, or its encoder has another version than the one of the fingerprint.
        """
        encoder = _call(self.scheme, self.rest)
        spec = f"{self.scheme}:{self.rest}"
        _fingerprint(self.scheme, self.rest, encoder).check_same(spec, self.fingerprint)
        return _Complete(encoder)


class _Complete:
    """Somebody's encoder with what it may leave out: it is called by one thread, and has cut no captions.

    Args:
        encoder: somebody's encoder, which may lack ``concurrent`` and ``truncated`` of ``Encoder``.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.batch_size: int = encoder.batch_size
        self.preprocess_image: Callable[[bytes], Any] = encoder.preprocess_image
        self.encode_images: Callable[[Sequence[Any]], FloatMatrix] = encoder.encode_images
        self.encode_texts: Callable[[Sequence[str]], FloatMatrix] = encoder.encode_texts

    @property
    def concurrent(self) -> bool:
        """Whether it says that several threads may call it at the same time."""
        return bool(getattr(self._encoder, "concurrent", False))

    @property
    def truncated(self) -> int:
        """Captions that it says it has cut; each thread may have a number of its own."""
        return int(getattr(self._encoder, "truncated", 0))


def known_schemes() -> list[str]:
    """The schemes that installed packages add."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def _call(scheme: str, rest: str) -> Any:
    factory, arguments = _factory(scheme, rest)
    try:
        encoder = factory(*arguments)
    except Exception as error:  # whatever somebody else's code may raise
        raise InputError(f"--encoder {scheme}:{rest} cannot be loaded: {error!r}") from error
    missing = [name for name in _METHODS if not callable(getattr(encoder, name, None))]
    if not isinstance(getattr(encoder, "batch_size", None), int) or encoder.batch_size < 1:
        missing.append("batch_size (a number of at least 1)")
    if not isinstance(getattr(encoder, "version", None), str) or not encoder.version:
        missing.append("version (a string that changes when its vectors do)")
    if missing:
        raise ConfigError(
            f"--encoder {scheme}:{rest} gives a {type(encoder).__name__} without {', '.join(missing)}. "
            "nnn_core/encoders/_foreign.py has an example."
        )
    return encoder


def _factory(scheme: str, rest: str) -> tuple[Callable[..., Any], list[str]]:
    if scheme != "python":
        return _entry_point(scheme), [rest]
    module, _, further = rest.partition(":")
    name, separator, argument = further.partition(":")
    if not module or not name:
        raise ConfigError(f"--encoder python:{rest} names no function. Write python:package.module:factory[:argument].")
    try:
        factory: Callable[..., Any] = getattr(import_module(module), name)
    except Exception as error:  # a module may fail in any way while it is imported
        raise ConfigError(
            f"--encoder python:{rest}: {name!r} of {module!r} cannot be imported: {error!r}. Every worker must "
            "be able to import that module."
        ) from error
    return factory, [argument] if separator else []


def _entry_point(scheme: str) -> Callable[..., Any]:
    points = list(entry_points(group=ENTRY_POINTS, name=scheme))
    if len({point.value for point in points}) > 1:
        raise ConfigError(
            f"--encoder {scheme}:... belongs to several installed packages "
            f"({', '.join(sorted(point.value for point in points))}). Uninstall all but one."
        )
    try:
        factory: Callable[..., Any] = points[0].load()
    except Exception as error:
        raise ConfigError(
            f"--encoder {scheme}:... of the entry point {points[0].value!r} cannot be loaded: {error!r}. Repair or "
            "uninstall that package."
        ) from error
    return factory


def _fingerprint(scheme: str, rest: str, encoder: Any) -> Fingerprint:
    """Where a module lies says nothing; its argument, such as a path, is left out for the same reason."""
    name = rest.split(":")[1] if scheme == "python" else scheme
    architecture = f"{type(encoder).__module__}.{type(encoder).__qualname__} of {name}"
    version = digest(encoder.version)
    return Fingerprint(version, digest(architecture), version, version)
