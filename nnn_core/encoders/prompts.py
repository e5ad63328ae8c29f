"""Prompts: the words around a caption, which a vector depends on as much as on the caption itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from nnn_core.errors import ConfigError, CorruptArtifactError

#: The prompt that adds nothing.
AS_IS = "{}"


@dataclass(frozen=True)
class Prompts:
    """A template a side, such as ``a photo of {}``; images take none.

    Attributes:
        reference: template for the bank's texts, and so for live queries, with one ``{}`` for the caption.
        candidate: template for the candidates' texts, with one ``{}`` for the caption.

    Raises:
        ConfigError: a template without exactly one ``{}``.
    """

    reference: str = AS_IS
    candidate: str = AS_IS

    def __post_init__(self) -> None:
        for side, template in asdict(self).items():
            if template.count(AS_IS) != 1:
                raise ConfigError(
                    f"--{side}-prompt {template!r} has {template.count(AS_IS)} places for the caption (limit: "
                    "1). Write {} where it goes, such as 'a photo of {}'."
                )

    def to_json(self) -> str:
        """One line, the same for equal prompts."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Prompts:
        """The prompts that ``to_json`` wrote.

        Raises:
            CorruptArtifactError: not such a line.
        """
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise CorruptArtifactError(f"recorded prompts are damaged: {text!r}.") from error

    @classmethod
    def recorded(cls, encoder: Mapping[str, str]) -> Prompts:
        """The prompts that a manifest records; none where it records no encoder, or is older than prompts."""
        return cls.from_json(encoder.get("prompts", NO_PROMPTS))

    @staticmethod
    def fill(template: str, text: str) -> str:
        """The caption in its prompt. Other braces of either mean nothing."""
        return text if template == AS_IS else template.replace(AS_IS, text)


#: What a fingerprint says where there are no prompts.
NO_PROMPTS = Prompts().to_json()
