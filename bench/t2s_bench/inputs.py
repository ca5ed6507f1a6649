"""What a bench shows a bundle: its default classes, and the calls of ``infer`` for a tile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from t2s_engines.verify.calls import Call
from t2s_engines.verify.reference import Reference
from t2s_engines.verify.tiles import VerifyTile
from t2s_rt.bundle import Bundle
from t2s_rt.contracts import Role
from t2s_rt.errors import UsageError
from t2s_rt.models import IMAGE_ROLES
from t2s_rt.prompts import PromptPack, load_pack

__all__ = ["default_pack", "known_names", "largest_calls"]

_Name = TypeVar("_Name", bound=str)


def default_pack(bundle: Bundle) -> PromptPack:
    """The bundle's own pack.

    Raises:
        UsageError: it has none.
    """
    if bundle.default_pack is None:
        raise UsageError(f"bundle {bundle.name} has no default pack, which names what to look for")
    return load_pack(bundle.default_pack, bundle)


def known_names(what: str, text: str, known: Sequence[_Name]) -> tuple[_Name, ...]:
    """Names out of ``a,b``, each of them known.

    Raises:
        UsageError: an unknown one, or none.
    """
    by_name = {str(name): name for name in known}
    found = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in found if name not in by_name]
    if unknown or not found:
        raise UsageError(
            f"expected {what} out of {', '.join(by_name)}, found {', '.join(unknown) or 'none'}"
        )
    return tuple(by_name[name] for name in found)


def largest_calls(
    bundle: Bundle,
    pack: PromptPack,
    tile: VerifyTile,
    roles: Collection[str] | None = None,
    threads: int | None = None,
) -> dict[Role, tuple[Call, int]]:
    """For every graph the call with the most rows that ``infer`` makes for a tile, and how many.

    Only the decoder is called several times, with chunks of prompts.

    Args:
        bundle: whose fp32 graphs.
        pack: the classes to look for.
        tile: what is looked at.
        roles: only these graphs.
        threads: of the fp32 sessions.

    Raises:
        UsageError: the bundle has none of the roles.
    """
    present = {graph.role for graph in bundle.graphs if graph.precision == "fp32"}
    wanted = [role for role in IMAGE_ROLES if role in present and (roles is None or role in roles)]
    if not wanted:
        raise UsageError(
            f"expected graphs out of {', '.join(sorted(present))}, found "
            f"{', '.join(roles or ())}; name others"
        )
    with Reference(bundle, pack, wanted, threads) as reference:
        calls = reference.look(tile, 0).calls
    return {role: (max(calls[role], key=len), len(calls[role])) for role in wanted if role in calls}
