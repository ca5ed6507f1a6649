"""All models of a bundle that a route needs, opened and closed together."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from types import TracebackType
from typing import Literal

from t2s_rt.backends import BackendOptions, Session, choose_backend, open_session
from t2s_rt.bundle import Bundle, GraphEntry
from t2s_rt.contracts import PRECISIONS, Precision, Role
from t2s_rt.errors import UsageError
from t2s_rt.models.clip import ClipEncoder
from t2s_rt.models.detector import Detector
from t2s_rt.models.segmenter import Segmenter

__all__ = ["IMAGE_ROLES", "Models", "choose_graph", "precision_warnings"]

IMAGE_ROLES: tuple[Role, ...] = (
    "detector",
    "mask_encoder",
    "mask_decoder",
    "mask_decoder_local",
    "clip_image",
    "clip_dense",
    "clip_patches",
)
"""Roles that see pixels; text encoders are opened by ``build_pack`` only."""


def choose_graph(
    bundle: Bundle, role: Role, precision: str = "auto", device: str = "cpu"
) -> tuple[GraphEntry, str]:
    """The graph of a role in the wanted precision.

    ``auto`` is fp32 on a CPU; on a GPU fp16 where the bundle has it, else fp32.

    Returns:
        The graph, and in a few words why this one.

    Raises:
        UsageError: no such precision.
        BundleError: the bundle lacks the graph.
    """
    if precision == "auto":
        if device == "gpu" and "fp16" in bundle.precisions(role):
            return bundle.graph(role, "fp16"), "auto: fp16 on a GPU"
        why = "auto: fp32 on a CPU" if device == "cpu" else "auto: the bundle has no fp16"
        return bundle.graph(role, "fp32"), why
    chosen: Precision | None = next((name for name in PRECISIONS if name == precision), None)
    if chosen is None:
        raise UsageError(
            f"expected a precision out of auto, {', '.join(PRECISIONS)}, found {precision!r}"
        )
    target: Literal["cpu", "tensorrt"] | None = "cpu" if device == "cpu" else None
    return bundle.graph(role, chosen, target if chosen == "int8" else None), "asked for"


def precision_warnings(precision: str, backend: str = "auto") -> tuple[str, ...]:
    """What a user of a precision should know about the device that computes it.

    Raises:
        UsageError: an unknown backend.
        BackendError: no backend is installed.
    """
    if precision != "fp16" or choose_backend(backend).kind.device != "cpu":
        return ()
    return (
        "the CPU computes float16 graphs in float32: this is no faster than --precision fp32, and "
        "an overflow that a GPU would have does not show here",
    )


class Models:
    """Opened models; a context manager.

    Args:
        detector: or None.
        segmenter: or None.
        clip: or None.
        sessions: everything to close at the end.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        segmenter: Segmenter | None = None,
        clip: ClipEncoder | None = None,
        sessions: Collection[Session] = (),
    ) -> None:
        self.detector = detector
        self.segmenter = segmenter
        self.clip = clip
        self.sessions = tuple(sessions)

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        precision: str = "auto",
        backend: str = "auto",
        roles: Collection[Role] = IMAGE_ROLES,
        *,
        threads: int | None = None,
        clip_overlap: float = 0.0,
        options: BackendOptions | None = None,
    ) -> Models:
        """Open the graphs of some roles, and nothing else.

        Args:
            bundle: whose graphs.
            precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.
            backend: ``auto`` or a backend's name.
            roles: what to open. ``mask_encoder`` and ``mask_decoder`` make the segmenter only
                together; with them comes ``mask_decoder_local`` where the bundle has one.
                ``clip_dense`` does what ``clip_patches`` does: of both only it is opened, and
                it stands in where the bundle has no ``clip_patches``.
            threads: as for :func:`t2s_rt.backends.open_session`.
            clip_overlap: of the windows of dense CLIP, see :class:`ClipEncoder`.
            options: how the sessions run, see :class:`t2s_rt.backends.BackendOptions`.

        Raises:
            UsageError: an unknown precision, backend or set of roles.
            BundleError: the bundle lacks a graph.
            BackendError: a backend is missing or refuses a graph.
        """
        _check_roles(roles)

        def wanted(device: str) -> dict[Role, GraphEntry]:
            return {
                role: choose_graph(bundle, role, precision, device)[0]
                for role in _present(bundle, roles)
            }

        choice = choose_backend(backend, lambda device: tuple(wanted(device).values()))
        entries = wanted(choice.kind.device)
        with ExitStack() as stack:
            opened: dict[Role, Session] = {
                role: stack.enter_context(
                    open_session(entry, choice, threads=threads, options=options)
                )
                for role, entry in entries.items()
            }
            models = cls(
                Detector(opened["detector"]) if "detector" in opened else None,
                Segmenter(
                    opened["mask_encoder"],
                    opened["mask_decoder"],
                    opened.get("mask_decoder_local"),
                )
                if "mask_encoder" in opened
                else None,
                ClipEncoder(
                    opened.get("clip_dense") or opened.get("clip_patches"),
                    opened.get("clip_image"),
                    overlap=clip_overlap,
                )
                if opened.keys() & {"clip_dense", "clip_patches", "clip_image"}
                else None,
                opened.values(),
            )
            stack.pop_all()  # all went well: closing is up to the caller now
        return models

    def describe(self) -> tuple[str, ...]:
        """One line for each session: what runs where, and why there."""
        return tuple(session.describe() for session in self.sessions)

    def close(self) -> None:
        """Close every session; a second call does nothing."""
        for session in self.sessions:
            session.close()

    def __enter__(self) -> Models:
        """Return the models; leaving the block closes them."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every session."""
        self.close()


def _present(bundle: Bundle, roles: Collection[Role]) -> list[Role]:
    """The roles to open, in order, as :meth:`Models.open` says."""
    wanted = set(roles) - {"mask_decoder_local"}
    if "mask_decoder" in roles and bundle.precisions("mask_decoder_local"):
        wanted.add("mask_decoder_local")
    if "clip_patches" in roles and not bundle.precisions("clip_patches"):
        wanted.add("clip_dense")
    if "clip_dense" in wanted:
        wanted.discard("clip_patches")
    return [role for role in IMAGE_ROLES if role in wanted]


def _check_roles(roles: Collection[Role]) -> None:
    unknown = [role for role in roles if role not in IMAGE_ROLES]
    if unknown:
        raise UsageError(
            f"expected roles out of {', '.join(IMAGE_ROLES)}, found {', '.join(unknown)}"
        )
    if ("mask_encoder" in roles) != ("mask_decoder" in roles):
        raise UsageError("expected mask_encoder and mask_decoder together, found only one of them")
