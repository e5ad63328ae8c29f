"""Flags that say how texts and images become vectors, besides ``--encoder``."""

from __future__ import annotations

import argparse

from nnn_core.encoders import FLOAT32, PRECISIONS, PRECOMPUTED, EncoderSource, parse_encoder
from nnn_core.encoders.contract import static_parts
from nnn_core.encoders.fingerprints import check_encoder
from nnn_core.encoders.prompts import AS_IS, Prompts, recorded_prompts
from nnn_core.table.manifest import read_manifest


def add_encoder_arguments(parser: argparse._ActionsContainer) -> None:
    """``--precision`` and the prompts."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=FLOAT32,
        help="arithmetic of the encoder; vectors are float32 in any case (default: %(default)s)",
    )
    for side, whose in (("reference", "the bank's texts, as live queries have it"), ("candidate", "candidate texts")):
        parser.add_argument(
            f"--{side}-prompt",
            default=AS_IS,
            metavar="TEMPLATE",
            help=f"words around {whose}, such as 'a photo of {{}}' (default: none)",
        )


def encoder_from(args: argparse.Namespace) -> EncoderSource | None:
    """The encoder that the flags name, if they name one."""
    return parse_encoder(args.encoder, args.precision) if args.encoder else None


def prompts_from(args: argparse.Namespace) -> Prompts:
    """The prompts of ``add_encoder_arguments``."""
    return Prompts(args.reference_prompt, args.candidate_prompt)


def encoder_of_table(spec: str | None, table: str, version: int) -> EncoderSource | None:
    """The encoder that ``--encoder`` names for a published table, in the precision of its manifest.

    Raises:
        InputError: it is not the encoder that the table is valid for; names the parts that differ.
    """
    if spec is None:
        return None
    recorded = read_manifest(table, version).settings.encoder
    encoder = parse_encoder(spec, recorded.get("precision", FLOAT32))
    if recorded.get("kind") != PRECOMPUTED:
        check_encoder(recorded, static_parts(encoder, recorded_prompts(recorded)), table, f"--encoder {spec}")
    return encoder
