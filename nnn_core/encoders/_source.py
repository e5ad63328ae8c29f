"""A model of a family that this program knows: its fingerprint from its files alone, its towers where it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from textwrap import shorten
from typing import ClassVar, Self

from nnn_core.encoders import FLOAT32, Fingerprint
from nnn_core.encoders._towers import Towers, TowersEncoder, device
from nnn_core.errors import INSTALL_EXTRA, ConfigError, InputError


@dataclass(frozen=True)
class ModelSource:
    """A model, not loaded. A family is a subclass.

    Attributes:
        spec: what follows the scheme in ``--encoder``, with local paths made absolute.
        fingerprint: fingerprint of the model's files, as they were on the machine that read the spec.
        precision: what the model computes in, one of ``PRECISIONS``.
    """

    #: What ``--encoder`` calls the family.
    scheme: ClassVar[str]
    #: The extra of this package with which the family's packages are installed.
    extra: ClassVar[str] = "transformers"

    spec: str
    fingerprint: Fingerprint
    precision: str = FLOAT32

    @classmethod
    def parse(cls, spec: str, precision: str = FLOAT32) -> Self:
        """The model that ``spec`` names.

        Raises:
            InputError: there is no such model, or it lacks a file.
            ConfigError: it is of no kind that this family knows, or a package that is needed is not installed.
        """
        spec = cls.absolute(spec)
        try:
            fingerprint = cls.describe(spec)
        except ImportError as error:
            raise cls._lacking(error) from error
        return cls(spec, replace(fingerprint, precision=precision), precision)

    def load(self) -> TowersEncoder:
        """Load model, preprocessing and tokenizer in this process.

        Raises:
            InputError: they cannot be loaded, or the files here differ from those of the fingerprint.
            ConfigError: a package that is needed is not installed.
        """
        here = replace(self.describe(self.spec), precision=self.precision)
        here.check_same(f"{self.scheme}:{self.spec}", self.fingerprint)
        try:
            device()
            return TowersEncoder(self.towers(self.spec), self.precision)
        except (ConfigError, InputError):
            raise
        except ImportError as error:
            raise self._lacking(error) from error
        except Exception as error:  # a checkpoint can be wrong in as many ways as there are formats of it
            # What PyTorch, and the checks of open_clip before it, say where tensors have other names or shapes.
            if "loading state_dict for" in str(error) or (isinstance(error, AssertionError) and str(error)):
                raise InputError(
                    f"--encoder {self.scheme}:{self.spec}: these weights do not fit the model "
                    f"({shorten(str(error), 200)}). Name or describe the model that they were trained as."
                ) from error
            raise InputError(f"--encoder {self.scheme}:{self.spec} cannot be loaded: {error!r}") from error

    @classmethod
    def _lacking(cls, error: ImportError) -> ConfigError:
        return ConfigError(
            f"--encoder {cls.scheme}:... needs packages that are not installed ({error}); "
            f"{INSTALL_EXTRA.format(cls.extra)}."
        )

    @classmethod
    def absolute(cls, spec: str) -> str:
        """``spec`` with local paths made absolute."""
        raise NotImplementedError

    @classmethod
    def describe(cls, spec: str) -> Fingerprint:
        """The fingerprint of the files here, but for the precision.

        Raises:
            InputError: there is no such model, or it lacks a file.
            ConfigError: it is of no kind that this family knows.
        """
        raise NotImplementedError

    @classmethod
    def towers(cls, spec: str) -> Towers:
        """The model that ``spec`` names, loaded.

        Raises:
            InputError: the checkpoint is not one of this family.
            Exception: whatever else its files may lead to.
        """
        raise NotImplementedError
