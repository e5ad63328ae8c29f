"""open_clip models: CLIP, SigLIP, SigLIP 2, CoCa, EVA, MobileCLIP and whatever else it lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnn_core.encoders import Fingerprint
from nnn_core.encoders._decoding import DECODING
from nnn_core.encoders._files import TOKENIZER, digest, digest_of_files, file_digest, present, read_json
from nnn_core.encoders._settings import check_open_clip, run_no_code
from nnn_core.encoders._source import ModelSource
from nnn_core.encoders._towers import Tokens, Towers
from nnn_core.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import torch

_LOCAL_DIR = "local-dir:"
_CONFIG = "open_clip_config.json"

#: Models that many take, for a message.
_USUAL = ("ViT-B-32", "ViT-L-14", "ViT-B-16-SigLIP")

#: SHA-256 of the vocabulary that comes with open_clip.
_CLIP_VOCABULARY = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"

#: What open_clip does to images unless a pretrained tag or a directory says otherwise.
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


class OpenClipSource(ModelSource):
    """``open_clip:MODEL/PRETRAINED``, where ``PRETRAINED`` is a tag or a file, or ``open_clip:local-dir:DIR``."""

    scheme = "open_clip"
    extra = "clip"

    @classmethod
    def absolute(cls, spec: str) -> str:
        """``spec`` with the directory made absolute."""
        if not spec.startswith(_LOCAL_DIR):
            return spec
        return f"{_LOCAL_DIR}{Path(spec.removeprefix(_LOCAL_DIR)).absolute()}"

    @classmethod
    def describe(cls, spec: str) -> Fingerprint:
        """The fingerprint of the files here, but for the precision.

        Raises:
            InputError: no such model, directory or checkpoint.
        """
        model, pretrained = _parts(spec)
        if pretrained is None:
            return _fingerprint_directory(Path(spec.removeprefix(_LOCAL_DIR)))
        if not pretrained:
            raise InputError(
                f"--encoder open_clip:{spec} names no weights, and random weights would give a meaningless "
                "table. Write open_clip:MODEL/PRETRAINED_TAG or open_clip:MODEL//path/to/checkpoint."
            )
        return _fingerprint_pretrained(model, pretrained)

    @classmethod
    def towers(cls, spec: str) -> Towers:
        """The model as open_clip loads it."""
        import open_clip

        run_no_code()
        name, pretrained = _parts(spec)
        model, preprocess = open_clip.create_model_from_pretrained(name, pretrained=pretrained, weights_only=True)
        return _towers(model, preprocess, open_clip.get_tokenizer(name))


def _parts(spec: str) -> tuple[str, str | None]:
    """What open_clip calls the model, and the tag or file of its weights, None for those of a directory."""
    if spec.startswith(_LOCAL_DIR):
        return spec, None
    model, _, pretrained = spec.partition("/")
    return model, pretrained


def _images(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The image tower. In another memory order of images processors compute OpenAI's ResNets a sixth faster.

    Vision transformers and ConvNeXt gain nothing worth speaking of by it, and MobileCLIP loses as much.
    """
    import torch
    from open_clip.modified_resnet import ModifiedResNet

    encode: Callable[[torch.Tensor], torch.Tensor] = model.encode_image
    if not isinstance(model.visual, ModifiedResNet):
        return encode
    model.visual.to(memory_format=torch.channels_last)
    return lambda pixels: encode(pixels.contiguous(memory_format=torch.channels_last))


def _towers(model: Any, preprocess: Any, tokenizer: Any) -> Towers:
    size = model.visual.image_size
    inner = getattr(tokenizer, "tokenizer", None)  # one of transformers, which the model was trained with

    def tokenize(texts: list[str]) -> Tokens:
        ids = tokenizer(texts)
        padding = 0 if inner is None else inner.pad_token_id
        # What is cut ends in a word's piece and perhaps an end mark, which may itself be the padding.
        return Tokens({"text": ids}, (ids[:, -2] != padding).tolist())

    def length(text: str) -> int:
        return len(tokenizer.encode(text)) + 2 if inner is None else len(inner(tokenizer.clean_fn(text)).input_ids)

    return Towers(
        model=model,
        transform=preprocess,
        tokenize=tokenize,
        length=length,
        images=_images(model),
        texts=lambda tokens: model.encode_text(tokens["text"]),
        image_size=tuple(size) if isinstance(size, (tuple, list)) else (size, size),
        context_length=int(tokenizer.context_length),
    )


def _fingerprint_directory(directory: Path) -> Fingerprint:
    config_path = directory / _CONFIG
    if not config_path.is_file():
        raise InputError(f"--encoder: {str(directory)!r} is not an open_clip model directory: it has no {_CONFIG}.")
    config = read_json(config_path)
    check_open_clip(config.get("model_cfg") or {}, _text_towers, config_path)
    if not config.get("preprocess_cfg"):
        raise InputError(
            f"--encoder: {str(config_path)!r} has no preprocess_cfg, so images could be prepared in the wrong "
            "way. Add mean, std, interpolation and resize_mode, or save the directory again with open_clip's "
            "push_to_hf_hub.save_for_hf."
        )
    weights = sorted(path for path in directory.iterdir() if path.suffix in (".safetensors", ".bin", ".pth"))
    if not weights:
        raise InputError(f"--encoder: {str(directory)!r} holds no weights (*.safetensors, *.bin or *.pth).")
    others = sorted(path for path in directory.iterdir() if path.is_file() and path not in [config_path, *weights])
    text = config.get("model_cfg", {}).get("text_cfg") or {}
    return Fingerprint(
        weights=digest(*(file_digest(path) for path in weights)),
        architecture=digest(config.get("model_cfg")),
        preprocessing=digest(config.get("preprocess_cfg", {}), DECODING),
        tokenizer=digest(
            text, *(file_digest(path) for path in others), *_vocabulary({**text, "hf_tokenizer_name": ""})
        ),
    )


def _vocabulary(text: Mapping[str, Any]) -> list[str]:
    """Digests of what a ``text_cfg`` takes from elsewhere for its tokenizer: files of the hub, or of open_clip.

    CLIP's vocabulary as it has always been is left out, so that vectors of all times are found again.
    """
    if name := text.get("hf_tokenizer_name"):
        return [digest_of_files(present(_tokenizer(name), TOKENIZER))]
    found = file_digest(_own_file("bpe_simple_vocab_16e6.txt.gz"))
    return [] if found == _CLIP_VOCABULARY else [found]


def _own_file(name: str) -> Path:
    """A file or folder that comes with open_clip, found without the seconds that its import takes.

    Raises:
        ImportError: open_clip is not installed.
    """
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        raise ImportError("No module named 'open_clip'")
    return Path(package.origin).with_name(name)


def _tokenizer(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(TOKENIZER)))
    except Exception as error:  # the hub client's errors are of many kinds; all mean the same here
        raise InputError(f"--encoder open_clip:...: the tokenizer {name!r} cannot be loaded: {error}") from error


def _text_towers() -> set[str]:
    """The models of transformers that the configurations of open_clip itself name."""
    import open_clip

    configs = [open_clip.get_model_config(name) for name in open_clip.list_models()]
    return {config["text_cfg"]["hf_model_name"] for config in configs if config["text_cfg"].get("hf_model_name")}


def _fingerprint_pretrained(model: str, pretrained: str) -> Fingerprint:
    known = sorted(path.stem for path in _own_file("model_configs").glob("*.json"))
    if model not in known:
        raise InputError(
            f"--encoder open_clip:{model}/{pretrained}: open_clip has no model {model!r}"
            f"{did_you_mean(model, known) or '.'} It has {len(known)} models, such as {', '.join(_USUAL)}; "
            "open_clip.list_models() names them all."
        )
    import open_clip

    config = open_clip.get_model_config(model)
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        checkpoint = _download(tag, model, pretrained)
    elif os.path.isfile(pretrained):
        _refuse_wrong_preprocessing(model, pretrained)
        checkpoint = Path(pretrained)
    else:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        here = pretrained.lstrip("/")
        hint = f" For the file here, write open_clip:{model}/{here}." if os.path.isfile(here) else ""
        raise InputError(
            f"--encoder open_clip:{model}/{pretrained}: {pretrained!r} is neither a file nor a pretrained tag "
            f"of {model} (tags: {tags}).{hint}"
        )
    preprocessing = {key: tag[key] for key in sorted(tag) if key not in ("url", "hf_hub")} if tag else {}
    return Fingerprint(
        weights=digest(file_digest(checkpoint)),
        architecture=digest(config),
        preprocessing=digest(preprocessing, DECODING),
        tokenizer=digest(config["text_cfg"], *_vocabulary(config["text_cfg"])),
    )


def _refuse_wrong_preprocessing(model: str, checkpoint: str) -> None:
    """A bare file says nothing of preprocessing, and open_clip then takes that of its first CLIP models."""
    import open_clip
    from open_clip.transform import PreprocessCfg

    defaults = PreprocessCfg()
    usual = [getattr(defaults, name) for name in _PREPROCESSING]
    tags = [open_clip.get_pretrained_cfg(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model)]
    known = dict(zip(_PREPROCESSING, usual, strict=True))
    needed = [[_listed(tag.get(name) or known[name]) for name in known] for tag in tags]
    if needed and [_listed(value) for value in usual] not in needed:
        named = ", ".join(f"{name} {value}" for name, value in zip(_PREPROCESSING, needed[0], strict=True))
        raise InputError(
            f"--encoder open_clip:{model}/{checkpoint}: every published {model} was trained with a "
            f"preprocessing ({named}) that open_clip does not apply to a bare file. All images would be embedded "
            "wrongly. Put the weights, a tokenizer and an open_clip_config.json (model_cfg, "
            "preprocess_cfg) into a directory. Then write open_clip:local-dir:DIRECTORY."
        )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _download(tag: dict[str, Any], model: str, pretrained: str) -> Path:
    import open_clip
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it tells of each attempt, and we of the last
    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:  # the hub client's errors are of many kinds; all mean the same here
        where = tag.get("hf_hub") or tag.get("url") or "their source"
        raise InputError(
            f"--encoder open_clip:{model}/{pretrained}: the weights cannot be downloaded from {where}: {error} "
            "For a machine without network, download them elsewhere and name the file, as in "
            f"open_clip:{model}//path/to/checkpoint, or their folder, as in open_clip:local-dir:DIR."
        ) from error
    finally:
        logging.set_verbosity(before)
