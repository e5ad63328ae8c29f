"""The recipe: which vectors an engine stores, which it is asked with, and how the debiased score is read back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from nnn_core import records
from nnn_core.consumers.augment import Form, augment, augment_queries
from nnn_core.consumers.engines._engine import Engine, Metric
from nnn_core.consumers.engines._readings import READINGS, Numbers, Reading, asked_text, stored_text
from nnn_core.consumers.engines.registry import METRICS, find_engine
from nnn_core.errors import ConfigError, InputError
from nnn_core.evaluation.rankings import Ranking
from nnn_core.table.manifest import Manifest
from nnn_core.table.parts import BiasSettings
from nnn_core.vectors import FloatMatrix

#: How an index holds the bias: inside the vectors, or beside plain ones.
RecipeForm = Literal["inner_product", "norm_completed", "attribute"]

FORMS = ("auto", "inner_product", "norm_completed", "attribute")
CENTRES = ("mean", "none", "nonnegative")
QUANTISATIONS = ("none", "int8")

#: Why vectors of any length must not be stored under a metric.
_UNSAFE = {
    "cosine": "cosine divides [r, -b] by its length, which depends on the bias, so the score would not be <q, r> - b",
    "l2": "the distance depends on the length of [r, -b], so hits would not be in order of <q, r> - b",
}


#: Dimensions come in multiples of this where sub-vectors are quantised: 513 would be 1 or 513 sub-vectors.
_SUB_VECTORS = 8


#: The length that all vectors are completed to leaves room for biases that move, so that an update need not touch
#: vectors whose bias stays: as much as a third more alpha moves them. No score depends on the further coordinate.
_HEADROOM = 0.1


@dataclass(frozen=True)
class BiasRange:
    """What a recipe needs to know of all biases of a table: how far they reach, and their alpha if it is known."""

    lowest: float
    mean: float
    highest: float
    alpha: float | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> BiasRange:
        """Lowest, mean and highest bias of a version of the table."""
        parts = manifest.files
        lowest, highest = min(part.bias_min for part in parts), max(part.bias_max for part in parts)
        return cls(lowest, manifest.bias_mean, highest, manifest.settings.alpha)


@dataclass(frozen=True)
class Recipe:
    """How one engine ranks by the debiased score under one metric.

    Attributes:
        engine: name of the engine, as ``--engine`` spells it.
        metric: metric of the engine: ``ip``, ``cosine`` or ``l2``.
        form: form of the stored vectors, ``inner_product`` or ``norm_completed``, see ``augment``; ``attribute`` for
            plain vectors with the bias beside them.
        bias_shift: what was taken off every bias before storing; rankings do not depend on it.
        max_abs_bias: highest absolute value that a shifted bias may have; where lengths are completed it is 0.1 above
            the highest that there was.
        dimensions: dimension of the stored vectors, which is above that of the candidates.
        unit: whether stored and asked vectors are divided by their length, where the engine does not do so itself.
        alpha: weight of the mean in the stored biases; None in an export of an earlier release.
        zeros: how many of the dimensions are zeros at the end, for quantisers that cut vectors into sub-vectors.
        bias_mean: mean of all biases, for items without one; None in an export of an earlier release.
        bias_max: highest of all biases; None in an export of an earlier release.
        names: what the engine calls things, as far as it was said, see ``registry.Engine.names``.
        payload: further columns of the candidates that travel along.
    """

    engine: str
    metric: Metric
    form: RecipeForm
    bias_shift: float
    max_abs_bias: float
    dimensions: int
    unit: bool = False
    alpha: float | None = None
    zeros: int = 0
    bias_mean: float | None = None
    bias_max: float | None = None
    names: dict[str, str] = field(default_factory=dict)
    payload: tuple[str, ...] = ()

    @property
    def engine_names(self) -> dict[str, str]:
        """What the engine calls things, by what they are."""
        return {**find_engine(self.engine).names, **self.names}

    @property
    def folder(self) -> str:
        """Folder below the output that holds the engine's files alone."""
        return self._named(find_engine(self.engine).folder)

    def _named(self, text: str) -> str:
        further = "".join(f", {name}" for name in self.payload)
        text = text.replace("<payload>", further).replace("<dim>", str(self.dimensions))
        return find_engine(self.engine).named(text, self.engine_names, self.dimensions)

    @property
    def stored_length(self) -> float:
        """M: length of every stored vector that is norm-completed."""
        return math.sqrt(1.0 + self.max_abs_bias**2)

    def stored(self, vectors: FloatMatrix, bias: npt.NDArray[np.float32]) -> FloatMatrix:
        """What is stored for candidates.

        Args:
            vectors: (rows, dim) float32 unit vectors of the candidates.
            bias: (rows,) float32 biases of the candidates, as in the table.

        Returns:
            (rows, dimensions) float32.
        """
        if self.form == "attribute":
            return self._padded(augment(vectors, bias)[:, :-1])
        limit = self.max_abs_bias if self.form == "norm_completed" else None
        stored = self._padded(augment(vectors, _shifted(bias, self.bias_shift), self.form, limit))
        return (stored / np.float32(self.stored_length)).astype(np.float32) if self.unit else stored

    def asked(self, queries: FloatMatrix, alpha: float | None = None) -> FloatMatrix:
        """What is sent for queries: (rows, dimensions) float32.

        Args:
            queries: (rows, dim) float32 unit vectors.
            alpha: weight of the mean for these queries; None for that of the table, 0 for plain search.

        Raises:
            ConfigError: a query is not unit length, or ``alpha`` cannot be had.
        """
        if self.form == "attribute":
            if alpha is not None:
                raise ConfigError(
                    "the bias is an attribute of this index, so the query vector cannot change alpha. Scale "
                    "the attribute in the query instead."
                )
            return self._padded(augment_queries(queries)[:, :-1])
        asked = self._padded(augment_queries(queries, self.form, self.weight(alpha)))
        return (asked / np.float32(self._asked_length(alpha))).astype(np.float32) if self.unit else asked

    def _padded(self, vectors: FloatMatrix) -> FloatMatrix:
        """Vectors (rows, fewer dimensions) with zeros at the end."""
        missing = self.dimensions - vectors.shape[1]
        if missing < 0 or missing != self.zeros:
            raise ConfigError(
                f"this recipe is for vectors of {self.dimensions - self.zeros} dimensions with the bias, and "
                f"these have {vectors.shape[1]}. Encode them with the model of the export."
            )
        return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors

    def debiased(self, scores: npt.ArrayLike, alpha: float | None = None) -> Numbers:
        """Debiased scores ``<q, r> - bias(r)`` from the numbers that the engine returned.

        Args:
            scores: numbers of any shape.
            alpha: the weight that the queries were asked with.

        Raises:
            ConfigError: ``alpha`` cannot be had.
        """
        if self.form == "attribute":
            raise ConfigError("the engine subtracts the attribute itself. Read its number as score_read_back says.")
        numbers = np.asarray(scores, np.float64)
        inner = self._reading.inner_product(numbers, self.stored_length, self._asked_length(alpha))
        return inner - self.weight(alpha) * self.bias_shift

    def weight(self, alpha: float | None) -> float:
        """What the stored biases are multiplied by for biases with another weight of the mean.

        Args:
            alpha: that weight; None for the table's.

        Raises:
            ConfigError: not a finite number of at least 0, or the stored biases cannot be scaled to it.
        """
        if alpha is None:
            return 1.0
        BiasSettings.check_alpha(alpha)
        if alpha == 0.0:
            return 0.0
        if not self.alpha:
            held = "an unknown one" if self.alpha is None else "0"
            raise ConfigError(
                f"alpha={alpha:g} is not available from this index: its biases have alpha = {held}. Export again."
            )
        return alpha / self.alpha

    def _asked_length(self, alpha: float | None) -> float:
        """L: length of an asked vector ``[q, weight]``."""
        return math.hypot(1.0, self.weight(alpha))

    def rank(self, queries: FloatMatrix, stored: FloatMatrix, ids: list[str]) -> Ranking:
        """The first candidates by the engine's metric, of stored vectors as they were written.

        Args:
            queries: (queries, dim) float32 unit vectors.
            stored: (rows, dimensions) float32, the vectors that the engine stores.
            ids: (rows,) ids of the candidates that were stored.
        """
        asked = self.asked(queries)
        if find_engine(self.engine).column_type(self.dimensions) == "halfvec":
            asked, stored = (each.astype(np.float16).astype(np.float32) for each in (asked, stored))
        wide = stored.astype(np.float64)
        squares = (wide**2).sum(axis=1)
        if self.metric == "l2":
            # |q - r|^2 = |q|^2 - (<2 q, r> - |r|^2): least where the difference is highest.
            return Ranking.of(2.0 * asked, stored, ids, squares)  # type: ignore[arg-type]
        if self.metric == "cosine":
            stored = (wide / np.sqrt(squares)[:, None]).astype(np.float32)
        return Ranking.of(asked, stored, ids, np.zeros(len(ids), np.float32))

    @property
    def _reading(self) -> Reading:
        return READINGS[find_engine(self.engine).metrics[self.metric].reading]

    def attribute_query(self, depth: int | None = None) -> dict[str, str]:
        """The query that subtracts the attribute, with its numbers filled in but for the vector ``<q>``.

        Args:
            depth: how many plain hits are corrected; None leaves ``<K>`` in the text.

        Raises:
            ConfigError: the engine cannot, or the recipe is of an earlier release.
        """
        attribute = find_engine(self.engine).attribute
        if attribute is None or self.bias_mean is None or self.bias_max is None:
            raise ConfigError(f"{self.engine} has no recipe that subtracts an attribute. Export again, or re-rank.")
        # Above 0 whatever float32 makes of it: a score is at least -1 less the highest bias.
        shift = math.ceil(1000.0 * (1.0 + max(0.0, self.bias_max)) + 1.0) / 1000.0
        numbers = {"<mean>": f"{self.bias_mean:.9g}", "<shift>": f"{shift:g}"}
        if depth is not None:
            numbers |= {"<K>": str(depth), "<K at most 1000>": str(min(depth, 1000))}
        texts = {"query": attribute.query, "where": attribute.where, "score_read_back": attribute.score}
        for word, number in numbers.items():
            texts = {name: text.replace(word, number) for name, text in texts.items()}
        return {name: self._named(text).strip() for name, text in texts.items()}

    def to_record(self, depth: int | None = None) -> dict[str, Any]:
        """The recipe for whoever sends queries, as JSON values.

        Args:
            depth: how many plain hits are corrected where the bias is an attribute.
        """
        engine = find_engine(self.engine)
        common = {
            **asdict(self),
            "folder": self.folder,
            "setting": self._named(engine.metrics[self.metric].setting),
            "imports": self._named(engine.imports),
            "sets": engine.update and self._named(engine.update),
            "removes": self._named(engine.delete),
            "index_settings": self._named(engine.settings),
            "sources": list(engine.sources),
        }
        if self.form == "attribute":
            said = self.attribute_query(depth)
            return {
                **common,
                "stored_vector": "r, with the attribute bias",
                "query_vector": "q",
                "query": said["query"],
                "query_to": said["where"],
                "score_read_back": said["score_read_back"],
            }
        form: Form = self.form
        return {
            **common,
            "stored_vector": stored_text(form, self.unit, self.zeros > 0),
            "query_vector": asked_text(form, self.unit, self.zeros > 0),
            "query_weight": "multiply the last 1 of the query by w to subtract w * bias; 0 is plain search. "
            "The score is then s - w * bias_shift, with L = sqrt(1 + w^2)",
            "score_read_back": f"s - {self.bias_shift!r} with s = {self._reading.formula}, x the engine's number"
            + (f", M = {self.stored_length!r}, L = sqrt(2)" if "M" in self._reading.formula else ""),
        }

    def for_version(self, biases: BiasRange) -> Recipe:
        """The recipe by which another version's biases are put into the same index.

        Args:
            biases: lowest, mean and highest bias of that version.

        Raises:
            ConfigError: a bias is beyond the length that the vectors in the index were completed to.
        """
        ends = _shifted(np.array([biases.lowest, biases.highest], np.float32), self.bias_shift)
        if self.form == "norm_completed" and float(np.abs(ends).max()) > self.max_abs_bias:
            raise ConfigError(
                f"biases now differ from the shift of the index by up to {float(np.abs(ends).max()):g} (limit: "
                f"{self.max_abs_bias:g}), so every vector would change. Export again without --since."
            )
        return replace(self, alpha=biases.alpha, bias_mean=biases.mean, bias_max=biases.highest)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Recipe:
        """Read ``to_record`` back, from the ``recipe`` of an ``export.json``.

        Raises:
            InputError: not such a record.
        """
        try:
            return records.build(cls, record)
        except ValueError as error:
            raise InputError(f"this is not the recipe of an export: {error}. Use the one in export.json.") from error

    @classmethod
    def make(
        cls,
        name: str,
        metric: str,
        dim: int,
        biases: BiasRange,
        form: str = "auto",
        centre: str = "mean",
        quantisation: str = "none",
        pad_to: int | None = None,
        names: Mapping[str, str] | None = None,
        payload: Sequence[str] = (),
    ) -> Recipe:
        """Choose the augmentation, and refuse what would not rank by the debiased score.

        Args:
            name: name of the engine, as ``--engine`` spells it.
            metric: metric of the engine: ``ip``, ``cosine`` or ``l2``.
            dim: dimension of the candidates' vectors.
            biases: lowest, mean and highest bias of the whole table.
            form: ``inner_product`` or ``norm_completed``; ``auto`` for the form that suits the metric.
            centre: ``mean`` stores biases less their mean; ``none`` as they are; ``nonnegative`` shifts them so that no
                score is negative, for engines that demand it.
            quantisation: ``int8`` if the engine will quantise vectors to eight bits, else ``none``.
            pad_to: zeros are added up to a multiple of this many dimensions; None for 8 where the engine's default
                index quantises by sub-vectors, and for no zeros elsewhere.
            names: what the engine calls things, as far as not as here, see ``registry.Engine.names``.
            payload: further columns of the candidates that travel along.

        Raises:
            ConfigError: a combination that is not safe, or that the engine has not.
        """
        engine = find_engine(name)
        chosen = _check_metric(engine, metric, quantisation)
        engine.check_names(names or {})
        _check_payload(engine, {**engine.names, **(names or {})}, payload)
        if quantisation != "none" and form != "attribute":
            _check_eight_bits(engine)
        taken = _choose_form(engine, chosen, form, centre)
        dimensions, zeros = _pad(engine, dim + _MORE[taken], pad_to)
        centre = "none" if taken == "attribute" else centre
        shift = {"mean": biases.mean, "none": 0.0, "nonnegative": 1.0 + biases.highest}[centre]
        ends = _shifted(np.array([biases.lowest, biases.highest], np.float32), shift)
        limit = float(np.abs(ends).max()) + (_HEADROOM if taken == "norm_completed" else 0.0)
        return cls(
            name,
            chosen,
            taken,
            shift,
            limit,
            dimensions,
            unit=engine.layout == "index" and chosen == "cosine",
            alpha=biases.alpha,
            zeros=zeros,
            bias_mean=biases.mean,
            bias_max=biases.highest,
            names=dict(names or {}),
            payload=tuple(payload),
        )


def _shifted(bias: npt.NDArray[np.float32], shift: float) -> npt.NDArray[np.float32]:
    """Biases less a constant, float32."""
    less: npt.NDArray[np.float32] = (bias.astype(np.float64) - shift).astype(np.float32)
    return less


def _check_metric(engine: Engine, metric: str, quantisation: str) -> Metric:
    """The metric, if the engine has it.

    Raises:
        ConfigError: it has not, or a word is unknown.
    """
    for flag, value, known in (("metric", metric, METRICS), ("quantisation", quantisation, QUANTISATIONS)):
        if value not in known:
            raise ConfigError(f"--{flag} {value} is none of {', '.join(known)}.")
    chosen = cast(Metric, metric)
    if chosen not in engine.metrics:
        raise ConfigError(
            f"{engine.title} has no {METRICS[metric]}. Choose one of {', '.join(engine.metrics)}; all of them "
            "rank by the debiased score."
        )
    return chosen


def _choose_form(engine: Engine, metric: Metric, form: str, centre: str) -> RecipeForm:
    """The form that was asked for, or that which suits the metric.

    Raises:
        ConfigError: the form is not safe with the metric, or a word is unknown.
    """
    if form not in FORMS or centre not in CENTRES:
        raise ConfigError(
            f"--form {form} and --centre {centre}: choose from {', '.join(FORMS)} and {', '.join(CENTRES)}."
        )
    right = "inner_product" if metric == "ip" else "norm_completed"
    taken = cast(RecipeForm, right if form == "auto" else form)
    if taken == "attribute":
        _check_attribute(engine, metric)
    if metric != "ip" and taken == "inner_product":
        raise ConfigError(f"--metric {metric} with --form inner_product: {_UNSAFE[metric]}. Leave --form out.")
    return taken


#: Coordinates that a form adds to a vector.
_MORE: dict[RecipeForm, int] = {"attribute": 0, "inner_product": 1, "norm_completed": 2}


def _pad(engine: Engine, augmented: int, pad_to: int | None) -> tuple[int, int]:
    """(dimensions with zeros at the end, how many zeros these are).

    Raises:
        ConfigError: a number of dimensions that the engine does not index, or none.
    """
    if pad_to is not None and pad_to < 1:
        raise ConfigError(f"--pad-to {pad_to} must be 1 or more; 1 adds no zeros.")
    zeros = -augmented % (pad_to or (_SUB_VECTORS if engine.sub_vectors else 1))
    dimensions = augmented + zeros
    if engine.most_dimensions is not None and dimensions > engine.most_dimensions:
        raise ConfigError(
            f"{engine.title} indexes up to {engine.most_dimensions:,} dimensions, and these vectors would have "
            f"{dimensions:,}. Choose another engine, or --engine rerank."
        )
    return dimensions, zeros


def _check_payload(engine: Engine, names: Mapping[str, str], payload: Sequence[str]) -> None:
    """Refuse further columns that would stand in for something else.

    Raises:
        ConfigError: naming one of them.
    """
    taken = {"bias", "id", *(name for what, name in names.items() if what in ("vector", "id") and name)}
    for place, name in enumerate(payload):
        if not name or name in taken or name in payload[:place]:
            raise ConfigError(
                f"--payload: {name!r} is named twice, or {engine.title} has something else under that name here; leave "
                "it out, or write the column under another name."
            )
        engine.check_name(f"--payload {name}", name)


def _check_attribute(engine: Engine, metric: Metric) -> None:
    """Refuse plain vectors where nothing would subtract the bias.

    Raises:
        ConfigError: the engine cannot, or by another metric than the recipe is written for.
    """
    if engine.attribute is None:
        raise ConfigError(
            f"{engine.title} cannot subtract an attribute from a score. Leave --form out, to put the bias into "
            "the vector, or use --engine rerank."
        )
    if metric != "ip":
        raise ConfigError(
            f"--form attribute needs --metric ip, not {metric}. The vectors are unit length, so all metrics "
            "rank them alike."
        )


def _check_eight_bits(engine: Engine) -> None:
    """Refuse a quantisation that would reorder candidates.

    Raises:
        ConfigError: the engine has none with a range for each dimension.
    """
    if engine.per_dimension:
        return
    if engine.shared_range:
        raise ConfigError(
            f"{engine.title} quantises to eight bits ({engine.shared_range}) with one range for all dimensions. "
            "The rounding error of the bias would weigh sqrt(dim) times as much as that of another dimension, "
            "and reorder candidates. Export without --quantisation, or use --engine rerank."
        )
    raise ConfigError(f"{engine.title} documents no eight-bit quantisation; leave --quantisation out.")


def sub_vectors_of(factory: str) -> int:
    """What the dimension must be a multiple of for a factory string: the least common one of its product quantisers."""
    return math.lcm(*(int(number) for number in re.findall(r"PQ(\d+)", factory)))
