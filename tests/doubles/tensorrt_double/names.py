"""Class names for annotations.

Annotations of the templates are read as text, and each release has classes of its own; for a type
checker the names stand for anything.
"""

from __future__ import annotations

from typing import Any, TypeAlias

AnyList: TypeAlias = list[Any]
AnyTuple: TypeAlias = tuple[Any, ...]
Builder: TypeAlias = Any
BuilderFlag: TypeAlias = Any
DataType: TypeAlias = Any
DeviceType: TypeAlias = Any
Dims: TypeAlias = Any
EngineCapability: TypeAlias = Any
ErrorCode: TypeAlias = Any
ExecutionContextAllocationStrategy: TypeAlias = Any
HardwareCompatibilityLevel: TypeAlias = Any
ICudaEngine: TypeAlias = Any
IErrorRecorder: TypeAlias = Any
IExecutionContext: TypeAlias = Any
IHostMemory: TypeAlias = Any
ILogger: TypeAlias = Any
INetworkDefinition: TypeAlias = Any
IProfiler: TypeAlias = Any
IProgressMonitor: TypeAlias = Any
LayerInformationFormat: TypeAlias = Any
MemoryPoolType: TypeAlias = Any
NetworkDefinitionCreationFlag: TypeAlias = Any
OnnxParserFlag: TypeAlias = Any
ParserError: TypeAlias = Any
PreviewFeature: TypeAlias = Any
ProfilingVerbosity: TypeAlias = Any
RuntimePlatform: TypeAlias = Any
SerializationFlag: TypeAlias = Any
Severity: TypeAlias = Any
TensorFormat: TypeAlias = Any
TensorIOMode: TypeAlias = Any
TensorLocation: TypeAlias = Any
TilingOptimizationLevel: TypeAlias = Any
Weights: TypeAlias = Any
ndarray: TypeAlias = Any
