"""What happens inside a build: checks, progress, and the plan."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.doubles.tensorrt_double.basics import notify, report, truth
from tests.doubles.tensorrt_double.model import Model, Tensor
from tests.doubles.tensorrt_double.plan import Plan
from tests.doubles.tensorrt_double.pybind import number

__all__ = ["build"]

_PRECISION = (
    *("FP16", "BF16", "INT8", "FP8", "INT4", "FP4"),
    *("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"),
)


def build(builder: Any, network: Any, config: Any) -> Plan | None:
    """Build, or tell the logger why not."""
    control = builder._trt._control
    control.log_build(f"start {network.name or '-'}")
    problem = _problem(network, config) or control.fails
    plan = None
    if problem:
        _error(builder, problem)
    elif _progress(builder, network, config):
        plan = _plan(builder, network, config)
        control.builds.append({"plan": plan, "config": config, "network": network})
    else:
        _error(builder, "Build was cancelled by the progress monitor.", 10)
    control.log_build(f"{'done' if plan else 'failed'} {network.name or '-'}")
    if control.interrupted:
        # with a monitor the bindings swallow it (see notify); without one Python sees it now
        control.interrupted = False
        if config._values.get("monitor") is None:
            raise KeyboardInterrupt
    return plan


def _error(builder: Any, text: str, code: int = 4) -> None:
    kind = {4: "API Usage Error", 10: "Internal Error"}[code]
    report(
        builder._logger,
        "ERROR",
        f"IBuilder::buildSerializedNetwork: Error Code {code}: {kind} ({text})",
    )


def _problem(network: Any, config: Any) -> str:
    """Why a network cannot be built with a configuration; empty if it can."""
    model: Model | None = network._model
    if model is None:
        return "Network must have at least one output"
    typed = network._strong()
    for name in _PRECISION:
        if typed and config._has(name):
            return f"the {name} flag is set, but the network is strongly typed"
    if model.half and not typed and not config._has("FP16"):
        return "fp16 precision has been set for a layer or layer output, but fp16 is not configured"
    if config._has("INT8") and not typed and not _quantised(model):
        return "INT8 is set, but there is neither a calibrator nor a quantized layer"
    dynamic = [t for t in model.inputs if -1 in t.dims]
    if dynamic and not config._profiles:
        return "Network has dynamic or shape inputs, but no optimization profile has been defined."
    for index, profile in enumerate(config._profiles):
        unknown = profile._shapes.keys() - {t.name for t in model.inputs}
        if unknown:
            return f"Optimization profile {index} names {sorted(unknown)}, which are no inputs"
        for tensor in model.inputs:
            found = _profile_problem(profile._shapes.get(tensor.name), tensor, index)
            if found:
                return found
    return ""


def _quantised(model: Model) -> bool:
    return any(node.op_type == "DequantizeLinear" for node in model.proto.graph.node)


def _profile_problem(shapes: Any, tensor: Tensor, index: int) -> str:
    if shapes is None:
        if -1 in tensor.dims:
            return (
                f"{tensor.name}: for dynamic input {tensor.name} profile {index} has no min/max "
                "dimension"
            )
        return ""
    for shape in shapes:
        if len(shape) != len(tensor.dims):
            return f"{tensor.name}: profile {index} has {len(shape)} dimensions"
        for wanted, found in zip(tensor.dims, shape, strict=True):
            if wanted not in (-1, found):
                return (
                    f"{tensor.name}: profile {index} has {found} for a static dimension of {wanted}"
                )
    return ""


def _progress(builder: Any, network: Any, config: Any) -> bool:
    """The phases of a build, for the monitor if there is one.

    Returns:
        Whether it came to its end.
    """
    control, monitor = builder._trt._control, config._values.get("monitor")
    cache = config._cache
    nodes = [
        hashlib.sha256(n.SerializeToString()).hexdigest() for n in network._model.proto.graph.node
    ][: 2 + 2 * config.builder_optimization_level]
    phases = [("Graph optimization", 2), ("Tactic selection", len(nodes)), ("Engine assembly", 1)]
    root, alive = "Building engine", True

    def tell(method: str, *args: Any) -> Any:
        if control.interrupted and monitor is not None:
            control.interrupted = False
            notify(_Interrupted(), "call")
            return None
        return notify(monitor, method, *args)

    if monitor is not None:
        tell("phase_start", root, None, len(phases))
    for position, (phase, steps) in enumerate(phases):
        if monitor is not None:
            tell("phase_start", phase, root, steps)
        for step in range(steps):
            timed = phase == "Tactic selection" and cache is not None
            known = timed and nodes[step] in cache._entries
            control.step(phase, step, sleep=not known)
            if timed and not known:
                cache._entries[nodes[step]] = 0.001
            if monitor is not None:
                alive = truth(tell("step_complete", phase, step))
            if not alive:
                break
        if monitor is not None:
            tell("phase_finish", phase)
            if alive:
                alive = truth(tell("step_complete", root, position))
        if not alive:
            break
    if monitor is not None:
        tell("phase_finish", root)
    return alive


class _Interrupted:
    """Ctrl-C that Python notices when the library calls back."""

    def call(self) -> None:
        raise KeyboardInterrupt


def _plan(builder: Any, network: Any, config: Any) -> Plan:
    model: Model = network._model
    info = builder._device.info
    refit = ""
    if config._has("REFIT") or config._has("REFIT_INDIVIDUAL"):
        refit = "any"
    elif config._has("REFIT_IDENTICAL") or config._has("STRIP_PLAN"):
        refit = "identical"
    digests = model.digests()
    strip = config._has("STRIP_PLAN")
    static = {t.name: (t.dims,) * 3 for t in model.inputs if -1 not in t.dims}
    profiles = [{**static, **profile._shapes} for profile in config._profiles] or [static]
    return Plan(
        release=builder._release,
        compute_capability=info.compute_capability,
        device_name=info.name,
        hardware=config.hardware_compatibility_level.name,
        version_compatible=config._has("VERSION_COMPATIBLE"),
        lean_runtime=config._has("VERSION_COMPATIBLE") and not config._has("EXCLUDE_LEAN_RUNTIME"),
        strongly_typed=network._strong(),
        profiles=profiles,
        refit=refit,
        stripped=digests if strip else {},
        digests=digests if refit == "identical" else {},
        level=config.builder_optimization_level,
        verbosity=config.profiling_verbosity.name,
        narrow=number(builder._release)[0] == 8,
        name=network.name,
        flags=[n for n in builder._trt.BuilderFlag.__members__ if config._has(n)],
        model=model.strip() if strip else model,
    )
