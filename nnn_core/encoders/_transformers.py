"""Dual encoders in Hugging Face format: CLIP, SigLIP, SigLIP 2, ALIGN, Chinese-CLIP and BLIP's retrieval model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnn_core.encoders import Fingerprint
from nnn_core.encoders._decoding import DECODING
from nnn_core.encoders._files import TOKENIZER, digest, digest_of_files, present, read_json
from nnn_core.encoders._settings import architecture_of, run_no_code
from nnn_core.encoders._source import ModelSource
from nnn_core.encoders._towers import Tokens, Towers
from nnn_core.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch
    from PIL import Image

_PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
#: Where it lies, the model is loaded with further weights, if a package for that is installed.
_ADAPTER = "adapter_config.json"
#: What a configuration says of the program that wrote it.
_VOLATILE = ("transformers_version", "torch_dtype", "dtype", "_name_or_path", "architectures")

#: Model types: class, and how many tokens its authors give a caption where the configuration allows for more.
_MODELS = {
    "clip": ("CLIPModel", 77),
    "siglip": ("SiglipModel", 64),
    "siglip2": ("Siglip2Model", 64),
    "align": ("AlignModel", 64),
    "chinese_clip": ("ChineseCLIPModel", 52),
    "blip": ("BlipForImageTextRetrieval", 35),
}


class TransformersSource(ModelSource):
    """``transformers:DIR`` or ``transformers:ORGANISATION/MODEL[@REVISION]`` on the hub."""

    scheme = "transformers"

    @classmethod
    def absolute(cls, spec: str) -> str:
        """``spec``, made absolute if it is a directory."""
        return str(Path(spec).absolute()) if Path(spec).is_dir() else spec

    @classmethod
    def describe(cls, spec: str) -> Fingerprint:
        """The fingerprint of the files here, but for the precision.

        Raises:
            InputError: there is no such directory or repository, or it lacks a file.
            ConfigError: a kind of model that has no two towers, or that is not known here.
        """
        return _fingerprint(_directory(spec))

    @classmethod
    def towers(cls, spec: str) -> Towers:
        """The loaded model, from its files only.

        Raises:
            InputError: it cannot be loaded whole.
        """
        return _load(_directory(spec))


@cache
def _directory(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"]
            )
        )
    except Exception as error:  # the hub client's errors are of many kinds; all mean the same here
        raise InputError(
            f"--encoder transformers:{name} is not a directory, and the model cannot be loaded from the hub: {error}"
        ) from error


def _fingerprint(directory: Path) -> Fingerprint:
    config = read_json(directory / "config.json")
    kind = config.get("model_type")
    if kind not in _MODELS:
        raise ConfigError(
            f"--encoder transformers:{directory} is of type {kind!r}, and only {', '.join(_MODELS)} are known. "
            "For an encoder of your own, write python:package.module:factory."
        )
    if (directory / _ADAPTER).is_file():
        raise InputError(
            f"--encoder transformers:{directory} holds an adapter ({_ADAPTER}), which some machines would apply "
            "and others ignore. Merge it into the weights, and save them without it."
        )
    weights = sorted(directory.glob("*.safetensors")) or sorted(directory.glob("pytorch_model*.bin"))
    if not weights:
        raise InputError(f"--encoder transformers:{directory} holds no weights (*.safetensors or pytorch_model*.bin).")
    preprocessing, tokenizer = present(directory, _PREPROCESSING), present(directory, TOKENIZER)
    if not preprocessing or not tokenizer:
        raise InputError(
            f"--encoder transformers:{directory} lacks its "
            f"{'tokenizer' if preprocessing else _PREPROCESSING[0]}. Without it, images or captions could be "
            "prepared in the wrong way."
        )
    return Fingerprint(
        weights=digest_of_files(weights),
        architecture=digest(_stable(config)),
        preprocessing=digest_of_files(preprocessing, DECODING, "pil"),
        tokenizer=digest_of_files(tokenizer, _MODELS[kind][1]),
    )


def _stable(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {name: _stable(value) for name, value in config.items() if name not in _VOLATILE}
    return config


def _load(directory: Path) -> Towers:
    import torch
    import transformers
    from PIL import Image

    transformers.utils.logging.disable_progress_bar()
    run_no_code()
    config = read_json(directory / "config.json")
    kind = config["model_type"]
    name, most = _MODELS[kind]
    model_class = getattr(transformers, name)
    known = architecture_of(config, model_class.config_class, directory / "config.json")
    model, report = model_class.from_pretrained(
        directory,
        config=model_class.config_class.from_dict(known),
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    # By default these are a warning, and random weights.
    if wrong := sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])]):
        raise InputError(
            f"--encoder transformers:{directory} lacks {len(wrong)} of the weights of {name} (first: "
            f"{wrong[0]!r}), so its vectors would be meaningless. Give the checkpoint of the whole retrieval "
            "model."
        )
    # Pillow resizes in the same way on every machine, and as when these models were trained.
    only = {"local_files_only": True, "trust_remote_code": False}
    processor = transformers.AutoImageProcessor.from_pretrained(directory, backend="pil", **only)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, **only)
    text = getattr(model.config, "text_config", model.config)
    context_length = min(most, text.max_position_embeddings, tokenizer.model_max_length)
    transform = _transform(processor, kind)
    example = transform(Image.new("RGB", (64, 64)))
    return Towers(
        model=model,
        transform=transform,
        tokenize=_tokenize(tokenizer, context_length, kind),
        length=lambda text: len(tokenizer(text, verbose=False).input_ids),
        images=_image_tower(model, kind),
        texts=_text_tower(model, kind),
        image_size=(example.numel() // 3, 1),
        context_length=context_length,
    )


def _transform(processor: Any, kind: str) -> Callable[[Image.Image], torch.Tensor]:
    def transform(image: Image.Image) -> torch.Tensor:
        import torch

        batch = processor(images=image.convert("RGB"), return_tensors="pt")
        pixels: torch.Tensor = batch["pixel_values"][0]
        if kind != "siglip2":
            return pixels.float()
        # It takes images of any shape as a list of patches; a row after them says height and width in patches.
        shape = torch.zeros_like(pixels[:1])
        shape[0, :2] = batch["spatial_shapes"][0]
        return torch.cat([pixels, shape]).float()

    return transform


def _tokenize(tokenizer: Any, context_length: int, kind: str) -> Callable[[list[str]], Tokens]:
    # BLIP's text tower has no segments, though its tokenizer, which is BERT's, counts them.
    segments = {"return_token_type_ids": False} if kind == "blip" else {}

    def tokenize(texts: list[str]) -> Tokens:
        tokens = tokenizer(
            texts, padding="max_length", truncation=True, max_length=context_length, return_tensors="pt", **segments
        )
        # What is cut ends in a word's piece and an end mark, which may itself be the padding.
        return Tokens(dict(tokens), (tokens["input_ids"][:, -2] != tokenizer.pad_token_id).tolist())

    return tokenize


def _image_tower(model: Any, kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    def siglip2(packed: torch.Tensor) -> torch.Tensor:
        import torch

        shapes = packed[:, -1, :2].long()
        mask = torch.arange(packed.shape[1] - 1, device=packed.device) < shapes.prod(dim=1, keepdim=True)
        found: torch.Tensor = model.get_image_features(
            pixel_values=packed[:, :-1], pixel_attention_mask=mask.long(), spatial_shapes=shapes
        ).pooler_output
        return found

    if kind == "siglip2":
        return siglip2
    if kind == "blip":  # the contrastive head; another one of that model looks at an image and a caption together
        return lambda pixels: model.vision_proj(model.vision_model(pixel_values=pixels).last_hidden_state[:, 0])
    return lambda pixels: model.get_image_features(pixel_values=pixels).pooler_output


def _text_tower(model: Any, kind: str) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    if kind == "blip":
        return lambda tokens: model.text_proj(model.text_encoder(**tokens).last_hidden_state[:, 0])
    return lambda tokens: model.get_text_features(**tokens).pooler_output
