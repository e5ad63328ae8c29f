"""Flags that say how texts and images become vectors, besides ``--encoder``."""

from __future__ import annotations

import argparse

from nnn_core.encoders import FLOAT32, PRECISIONS, EncoderSource, parse_encoder
from nnn_core.encoders.prompts import AS_IS, Prompts


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
