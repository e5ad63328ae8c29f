"""Rendered scenes of a few coloured shapes, and captions whose truth can be decided exactly.

A scene is a pure function of (split, seed, index). Which split a scene belongs to is decided by a
checksum of what it shows, so that no two splits ever show the same composition, whatever the seeds.
"""

from __future__ import annotations

import io
import itertools
import math
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from PIL import Image, ImageChops, ImageDraw

Split = Literal["candidates", "references", "training"]
Detail = Literal["vague", "partial", "full"]
Rgb = tuple[int, int, int]
#: An attribute and its value.
Fact = tuple[str, object]

#: Width and height of a rendered scene, in pixels.
IMAGE_SIZE = 64

#: A quarter of all compositions each for candidates and references; the rest trains the encoder.
_SPLITS: tuple[Split, ...] = ("candidates", "references", "training", "training")

_RGB: dict[str, Rgb] = {
    "red": (214, 40, 40),
    "blue": (45, 90, 210),
    "green": (50, 160, 70),
    "yellow": (245, 215, 50),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
    "orange": (245, 130, 30),
    "purple": (130, 60, 170),
    "pink": (240, 140, 190),
    "grey": (140, 140, 140),
    "brown": (130, 80, 40),
    "turquoise": (50, 190, 190),
}
COLOURS = tuple(_RGB)
BACKGROUNDS = ("white", "black", "blue", "grey", "green", "yellow", "pink", "brown")
KINDS = ("circle", "square", "triangle", "star", "diamond", "cross", "hexagon", "heart")
TEXTURES = ("solid", "striped", "outlined", "dotted", "checkered")
#: Radius of each size, in pixels.
SIZES = {"medium": 9.5, "large": 12.0, "small": 7.0}

_CELLS = [(row, column) for row in range(3) for column in range(3)]
#: Where a phrase may place an object: its (row, column) cells on a grid of three by three.
PLACES: dict[str, frozenset[tuple[int, int]]] = {
    "on the left": frozenset((row, 0) for row in range(3)),
    "on the right": frozenset((row, 2) for row in range(3)),
    "at the top": frozenset((0, column) for column in range(3)),
    "at the bottom": frozenset((2, column) for column in range(3)),
    "in the middle": frozenset([(1, 1)]),
    "in the top left corner": frozenset([(0, 0)]),
    "in the top right corner": frozenset([(0, 2)]),
    "in the bottom left corner": frozenset([(2, 0)]),
    "in the bottom right corner": frozenset([(2, 2)]),
}

#: Other words for the same thing, each used for a fifth of the mentions.
_SYNONYMS = {"circle": "disc", "diamond": "rhombus", "purple": "violet", "turquoise": "teal", "outlined": "hollow"}
_OPENINGS = ("", "", "", "a picture of ", "an image of ", "a drawing of ", "a view of ", "this shows ")
_ENDINGS = ("on a {} background", "over a {} backdrop", "in front of a {} wall")


@dataclass(frozen=True)
class Item:
    """One object of a scene; ``row`` and ``column`` are its cell on a grid of three by three."""

    kind: str
    colour: str
    texture: str
    size: str
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    """One to three objects on a background.

    Attributes:
        background: colour of the background, a name in ``BACKGROUNDS``.
        items: the objects, in drawing order, each in a cell of its own.
        jitter: seed of everything that no caption speaks of (exact shades, angles, offsets).
    """

    background: str
    items: tuple[Item, ...]
    jitter: int


@dataclass(frozen=True)
class Mention:
    """What a caption says of one object; None where it says nothing."""

    kind: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Description:
    """What a caption says: of different objects each, of how many there are, of what is behind them."""

    mentions: tuple[Mention, ...] = ()
    count: int | None = None
    background: str | None = None


def scene(split: Split, seed: int, index: int) -> Scene:
    """The scene number ``index`` of a split."""
    rng = random.Random(f"{split}/{seed}/{index}")
    while split_of(drawn := _draw(rng)) != split:
        pass
    return drawn


def split_of(shown: Scene) -> Split:
    """The only split in which a scene of this composition can occur."""
    composition = (shown.background, sorted(tuple(vars(item).values()) for item in shown.items))
    return _SPLITS[zlib.crc32(repr(composition).encode()) % len(_SPLITS)]


def _draw(rng: random.Random) -> Scene:
    background = rng.choice(BACKGROUNDS)
    colours = [colour for colour in COLOURS if colour != background]
    count = rng.choices((1, 2, 3), (45, 35, 20))[0]
    items = tuple(
        Item(_skewed(rng, KINDS), _skewed(rng, colours), _skewed(rng, TEXTURES), _skewed(rng, tuple(SIZES)), *cell)
        for cell in rng.sample(_CELLS, count)
    )
    return Scene(background, items, rng.getrandbits(32))


def _skewed(rng: random.Random, values: Sequence[str]) -> str:
    """The first values are almost three times as likely as the last; some things are rarer than others."""
    # The inverse of 1.5 x - 0.5 x^2, the integral of a density that falls from 1.5 to 0.5.
    return values[int(len(values) * (1.5 - math.sqrt(2.25 - 2 * rng.random())))]


# --- captions ---------------------------------------------------------------------------------


def describe(shown: Scene, detail: Detail, rng: random.Random) -> Description:
    """Choose what to say of a scene; always true of it."""
    if detail == "vague":
        return _describe_vaguely(shown, rng)
    items = rng.sample(shown.items, len(shown.items))
    if detail == "partial":
        items = items[: rng.randint(1, min(2, len(items)))]
    # Who lists many objects says less of each.
    chance = 0.35 if detail == "partial" else (0.75, 0.5, 0.3)[len(items) - 1]
    count = len(shown.items) if rng.random() < 0.15 else None
    background = shown.background if rng.random() < (0.4 if detail == "partial" else 0.75) else None
    return Description(tuple(_mention(item, chance, rng) for item in items), count, background)


def _describe_vaguely(shown: Scene, rng: random.Random) -> Description:
    item = rng.choice(shown.items)
    choice = rng.random()
    if choice < 0.5:
        return Description((Mention(item.kind, item.colour),))
    if choice < 0.7:
        return Description(count=len(shown.items), background=shown.background)
    if choice < 0.85:
        return Description((Mention(item.kind),), background=shown.background)
    return Description((Mention(item.kind, texture=item.texture),))


def _mention(item: Item, chance: float, rng: random.Random) -> Mention:
    """Kind nearly always and colour mostly; each other attribute with the given chance."""
    places = [phrase for phrase, cells in PLACES.items() if (item.row, item.column) in cells]
    return Mention(
        kind=item.kind if rng.random() < 0.95 else None,
        colour=item.colour if rng.random() < 0.9 else None,
        texture=item.texture if rng.random() < chance else None,
        size=item.size if rng.random() < 0.7 * chance else None,
        place=rng.choice(places) if rng.random() < chance else None,
    )


def matches(description: Description, shown: Scene) -> bool:
    """Whether every word of a description is true of a scene; what it leaves out does not matter."""
    if description.count not in (None, len(shown.items)) or description.background not in (None, shown.background):
        return False
    return any(
        all(_fits(mention, item) for mention, item in zip(description.mentions, items, strict=True))
        for items in itertools.permutations(shown.items, len(description.mentions))
    )


def _fits(mention: Mention, item: Item) -> bool:
    alike = all(getattr(mention, name) in (None, getattr(item, name)) for name in ("kind", "colour", "texture", "size"))
    return alike and (mention.place is None or (item.row, item.column) in PLACES[mention.place])


def claims(description: Description) -> Iterator[Fact]:
    """The (attribute, value) pairs that a description names; all are :func:`facts` of whatever it matches."""
    said = [{"count": description.count, "background": description.background}, *map(vars, description.mentions)]
    yield from ((name, value) for each in said for name, value in each.items() if value is not None)


def facts(shown: Scene) -> Iterator[Fact]:
    """The (attribute, value) pairs that hold of a scene or of one of its objects."""
    yield from (("count", len(shown.items)), ("background", shown.background))
    for item in shown.items:
        yield from vars(item).items()
        yield from (("place", phrase) for phrase, cells in PLACES.items() if (item.row, item.column) in cells)


def caption(description: Description, rng: random.Random) -> str:
    """Put a description into words. Equal captions have equal meaning."""
    body = _body([_phrase(mention, rng) for mention in description.mentions], description.count)
    if description.background:
        body += " " + rng.choice(_ENDINGS).format(description.background)
    return rng.choice(_OPENINGS) + body


def _body(things: list[str], count: int | None) -> str:
    listed = " and ".join(filter(None, [", ".join(things[:-1]), *things[-1:]]))
    if count is None:
        return listed
    if count == len(things):
        return f"only {listed}"
    many = ("one shape", "two shapes", "three shapes")[count - 1]
    return f"{many}, among them {listed}" if listed else many


def _phrase(mention: Mention, rng: random.Random) -> str:
    words = [mention.size, mention.texture, mention.colour, mention.kind or "shape"]
    spoken = [_SYNONYMS[word] if word in _SYNONYMS and rng.random() < 0.2 else word for word in words if word]
    article = "an" if spoken[0][0] in "aeiou" else "a"
    return " ".join(filter(None, [article, *spoken, mention.place]))


def captions(shown: Scene, details: Iterable[Detail], rng: random.Random) -> list[str]:
    """One caption for each degree of detail; every one is true of the scene."""
    return [caption(describe(shown, detail, rng), rng) for detail in details]


# --- rendering --------------------------------------------------------------------------------

#: Drawn at twice the size and halved, which smooths the edges.
_SCALE = 2
_CANVAS = _SCALE * IMAGE_SIZE
#: Distance between neighbouring cells, in pixels.
_PITCH = 19
#: Period of stripes, dots and squares on the canvas.
_PERIOD = 10
_JPEG_QUALITY = 85


def render(shown: Scene) -> Image.Image:
    """Draw a scene: RGB, ``IMAGE_SIZE`` by ``IMAGE_SIZE`` pixels."""
    rng = random.Random(shown.jitter)
    near, far = (Image.new("RGB", (_CANVAS, _CANVAS), _shade(shown.background, rng)) for _ in range(2))
    canvas = Image.composite(near, far, _gradient(rng.randrange(8)))
    for item in shown.items:
        colour, mask = _shade(item.colour, rng), _mask(item, rng)
        box = mask.getbbox()
        canvas.paste(colour, box, mask.crop(box))
    return canvas.reduce(_SCALE)


def jpeg(shown: Scene) -> bytes:
    """The image file of a scene."""
    stream = io.BytesIO()
    render(shown).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


def _shade(colour: str, rng: random.Random) -> Rgb:
    """A colour as it comes out under some light: brightness and tint vary."""
    light = rng.uniform(-22, 22)
    red, green, blue = (min(255, max(0, round(part + light + rng.uniform(-16, 16)))) for part in _RGB[colour])
    return red, green, blue


def _mask(item: Item, rng: random.Random) -> Image.Image:
    """Coverage of one object on the canvas: white where its colour goes."""
    corners = _corners(item, rng)
    mask = Image.new("L", (_CANVAS, _CANVAS))
    draw = ImageDraw.Draw(mask)
    if item.texture == "outlined":
        draw.line([*corners, *corners[:2]], fill=255, width=5, joint="curve")
        return mask
    draw.polygon(corners, fill=255)
    if item.texture == "solid":
        return mask
    return ImageChops.multiply(mask, _pattern(item.texture, rng.randrange(3)))


def _corners(item: Item, rng: random.Random) -> list[tuple[float, float]]:
    middle = IMAGE_SIZE / 2
    centre = [middle + _PITCH * (cell - 1) + rng.uniform(-2.5, 2.5) for cell in (item.column, item.row)]
    radius = SIZES[item.size] * rng.uniform(0.9, 1.1)
    angle = math.radians(rng.uniform(-12, 12))
    sine, cosine = radius * math.sin(angle), radius * math.cos(angle)
    return [
        (_SCALE * (centre[0] + x * cosine - y * sine), _SCALE * (centre[1] + x * sine + y * cosine))
        for x, y in _outline(item.kind)
    ]


@cache
def _outline(kind: str) -> tuple[tuple[float, float], ...]:
    """Corners of a shape of radius 1 around the origin; y grows downwards."""
    if kind == "cross":
        arm, end = 0.32, 0.95
        quarter = [(arm, -arm), (end, -arm), (end, arm)]
        turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
        return tuple((x * c - y * s, x * s + y * c) for c, s in turns for x, y in quarter)
    if kind == "heart":
        steps = [2 * math.pi * step / 24 for step in range(24)]
        wave = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in steps]
        return tuple((math.sin(t) ** 3, -y / 16) for t, y in zip(steps, wave, strict=True))
    # The others lie on a circle: (corners, degrees of the first, radius of every second, width).
    corners, first, depth, width = {
        "circle": (24, 0, 1.0, 1.0),
        "square": (4, 45, 1.0, 1.0),
        "triangle": (3, 90, 1.0, 1.0),
        "star": (10, 90, 0.42, 1.0),
        "diamond": (4, 90, 1.0, 0.65),
        "hexagon": (6, 0, 1.0, 1.0),
    }[kind]
    angles = [math.radians(first + 360 * corner / corners) for corner in range(corners)]
    radii = [1.0 if corner % 2 == 0 else depth for corner in range(corners)]
    polar = zip(radii, angles, strict=True)
    return tuple((width * radius * math.cos(angle), -radius * math.sin(angle)) for radius, angle in polar)


@cache
def _gradient(direction: int) -> Image.Image:
    """Light that falls in from one of eight sides."""
    big = Image.linear_gradient("L").rotate(45 * direction, Image.Resampling.BILINEAR, fillcolor=128)
    return big.crop((38, 38, 218, 218)).resize((_CANVAS, _CANVAS))


@cache
def _pattern(texture: str, variant: int) -> Image.Image:
    """Coverage of a textured surface, over the whole canvas. Variants turn stripes and shift the rest."""
    pattern = Image.new("L", (_CANVAS, _CANVAS), 255 if texture == "dotted" else 0)
    draw = ImageDraw.Draw(pattern)
    half, shift = _PERIOD // 2, 2 * variant
    for step, other in itertools.product(range(-_CANVAS, 2 * _CANVAS, _PERIOD), repeat=2):
        x, y = step + shift, other + shift
        if texture == "dotted":
            draw.ellipse((x, y, x + half, y + half), fill=0)
        elif texture == "checkered":
            draw.rectangle((x, y, x + half - 1, y + half - 1), fill=255)
            draw.rectangle((x + half, y + half, x + _PERIOD - 1, y + _PERIOD - 1), fill=255)
    if texture == "striped":
        slant = (0, _CANVAS, -_CANVAS)[variant]
        for x in range(-_CANVAS, 2 * _CANVAS, _PERIOD):
            draw.line((x, 0, x + slant, _CANVAS), fill=255, width=half + 1)
    return pattern
