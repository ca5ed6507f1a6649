"""How an int8 graph was made: enough to make it again, bit by bit, without the images.

A recipe lies in the bundle as ``int8/ROLE.TARGET.json``. Making a graph always goes through one,
so that what a recipe gives later is what was judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import onnx

from t2s_calibration.int8.layers import Layer, layers_of, with_plain_weights
from t2s_calibration.int8.quantise import Scheme, Target, quantised
from t2s_calibration.int8.ranges import Range
from t2s_calibration.int8.smoothing import Smoothing, smoothed
from t2s_engines.graphs.graph import Graph
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.bundle.fields import JsonObject, parse_json
from t2s_rt.contracts import Role
from t2s_rt.errors import BundleError

__all__ = ["Recipe", "base_entry", "base_graph", "recipe_path"]

_VERSION = 1
_LARGEST = 3.5e38


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an int8 graph, given the float graph.

    Attributes:
        role: of the graph.
        scheme: target and bits.
        base: SHA-256 of the float graph and its weights.
        layers: names of the int8 layers.
        ranges: of layers' inputs by layer name, and of outputs by value name.
        smoothings: of the graph.
        notes: where the numbers come from, for the record: images, method, figures.
    """

    role: Role
    scheme: Scheme
    base: str
    layers: frozenset[str]
    ranges: Mapping[str, Range]
    smoothings: tuple[Smoothing, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def graph(self, base: Graph) -> Graph:
        """The int8 graph.

        Args:
            base: of :func:`base_graph`.

        Raises:
            GraphError: the quantiser refuses it.
        """
        even = smoothed(base, self.smoothings)
        return quantised(even, layers_of(even), self.layers, self.ranges, self.scheme)

    def to_json(self) -> str:
        """As text; every float32 is exact."""
        record = {
            "schema_version": _VERSION,
            "role": self.role,
            "target": self.scheme.target,
            "weight_bits": 7 if self.scheme.reduced else 8,
            "base": self.base,
            "layers": sorted(self.layers),
            "ranges": {
                name: {
                    "low": one.low,
                    "high": one.high,
                    "method": one.method,
                    "error": one.error,
                }
                for name, one in sorted(self.ranges.items())
            },
            "smoothings": [
                {
                    "norm": one.norm,
                    "layers": list(one.layers),
                    "factors": [float(value) for value in one.factors],
                    "gain": one.gain,
                }
                for one in self.smoothings
            ],
            "notes": dict(self.notes),
        }
        return json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Recipe:
        """Back from :meth:`to_json`.

        Raises:
            BundleError: it is none, or of another version.
        """
        root = parse_json(text, where, BundleError)
        root.schema_version(_VERSION, "calibrate the bundle anew", newer="update t2s-rt")
        bits = root.integer("weight_bits", 7, 8)
        target = cast(Target, root.choice("target", ("cpu", "tensorrt")))
        return cls(
            cast(Role, root.text("role")),
            Scheme(target, reduced=bits == 7),
            root.text("base"),
            frozenset(root.texts("layers", 65536)),
            {name: _range(item) for name, item in root.children("ranges").items()},
            tuple(_smoothing(item) for item in root.objects("smoothings", 65536)),
            root.free("notes"),
        )


def recipe_path(role: Role, target: Target) -> str:
    """Where a bundle keeps the recipe."""
    return f"int8/{role}.{target}.json"


def base_entry(bundle: Bundle, role: Role, target: Target) -> GraphEntry:
    """The float graph that an int8 graph is made of.

    For TensorRT the float16 one where the bundle has it: what is not int8 there should not fall
    back to float32.

    Raises:
        BundleError: the bundle lacks the role.
    """
    half = target == "tensorrt" and "fp16" in bundle.precisions(role)
    return bundle.graph(role, "fp16" if half else "fp32")


def base_graph(entry: GraphEntry) -> tuple[Graph, tuple[Layer, ...]]:
    """A bundle's float graph with plain weights, and its layers."""
    graph = with_plain_weights(Graph.from_model(onnx.load(str(entry.path))))
    return graph, layers_of(graph)


def _range(item: JsonObject) -> Range:
    return Range(
        item.number("low", -_LARGEST, 0.0),
        item.number("high", 0.0, _LARGEST),
        item.text("method"),
        item.number("error", 0.0, _LARGEST),
    )


def _smoothing(item: JsonObject) -> Smoothing:
    values = item.items("factors", 65536)
    if any(type(value) not in (int, float) or not value > 0 for value in values):
        item.fail("positive factors", values, "factors")
    factors = np.array(values, np.float32)
    return Smoothing(
        item.text("norm"), tuple(item.texts("layers")), factors, item.number("gain", 0.0, 1.0)
    )
