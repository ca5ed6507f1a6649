"""All models of a bundle that a route needs, opened and closed together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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

__all__ = ["IMAGE_ROLES", "Models", "choose_graph"]

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

    ``auto`` is fp32 on a CPU; on a GPU fp16 where the bundle has it, else fp32. ``int8`` is what
    calibration made so, and the float graph that ``auto`` would take of the other roles.

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
    if chosen != "int8":
        return bundle.graph(role, chosen), "asked for"
    target: Literal["cpu", "tensorrt"] = "cpu" if device == "cpu" else "tensorrt"
    made = {entry.role for entry in bundle.graphs if entry.target == target}
    if made and role not in made:
        return choose_graph(bundle, role, "auto", device)[0], "int8 was not made of it"
    return bundle.graph(role, chosen, target), "asked for"


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
        clip_overlap: float | None = None,
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

        choice = choose_backend(
            backend,
            lambda device: tuple(wanted(device).values()),
            None if options is None else options.engines,
        )
        entries = wanted(choice.kind.device)
        with ExitStack() as stack:
            opened: dict[Role, Session] = {
                role: stack.enter_context(
                    open_session(entry, choice, threads=threads, options=options)
                )
                for role, entry in entries.items()
            }
            models = cls.over(opened, clip_overlap=clip_overlap)
            stack.pop_all()  # all went well: closing is up to the caller now
        return models

    @classmethod
    def over(cls, sessions: Mapping[Role, Session], *, clip_overlap: float | None = None) -> Models:
        """Models over sessions that are open already, and that they close at the end.

        Args:
            sessions: by role; ``mask_encoder`` and ``mask_decoder`` together or not at all.
            clip_overlap: of the windows of dense CLIP, see :class:`ClipEncoder`.

        Raises:
            UsageError: an unfit set of roles.
        """
        _check_roles(sessions)
        return cls(
            Detector(sessions["detector"]) if "detector" in sessions else None,
            Segmenter(
                sessions["mask_encoder"],
                sessions["mask_decoder"],
                sessions.get("mask_decoder_local"),
            )
            if "mask_encoder" in sessions
            else None,
            ClipEncoder(
                sessions.get("clip_dense") or sessions.get("clip_patches"),
                sessions.get("clip_image"),
                overlap=clip_overlap,
            )
            if sessions.keys() & {"clip_dense", "clip_patches", "clip_image"}
            else None,
            sessions.values(),
        )

    def describe(self) -> tuple[str, ...]:
        """One line for each session: what runs where, and why there."""
        return tuple(session.describe() for session in self.sessions)

    @property
    def choice(self) -> str:
        """Why the sessions run on their backend, in a few words."""
        return "; ".join(dict.fromkeys(session.reason for session in self.sessions))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the opened sessions, each thing once."""
        return tuple(dict.fromkeys(text for item in self.sessions for text in item.warnings))

    def close(self) -> None:
        """Close every session, also where one of them fails; a second call does nothing."""
        with ExitStack() as stack:
            for session in self.sessions:
                stack.callback(session.close)

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
