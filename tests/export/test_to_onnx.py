"""Export of small modules: contract, dynamic sizes, determinism, no traces of the machine."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.export.toy_modules import ToyClipDense, ToyClipImage, toy_images
from torch import nn

from t2s_engines.errors import PreflightError
from t2s_engines.graphs.files import save_model
from t2s_export.errors import ExportError
from t2s_export.graphs.to_onnx import export_graph, run_module
from t2s_export.parity import check_parity
from t2s_export.parity_cases import Case


def test_inputs_outputs_and_sizes_are_those_of_the_contract() -> None:
    exported = export_graph("clip_dense", ToyClipDense(), toy_images(2))
    model = exported.to_model()
    onnx.checker.check_model(model, full_check=True)
    assert exported.inputs[0].shape == ("B", 8, 8, 3)
    assert [spec.shape for spec in exported.outputs] == [("B", 4, 6), ("B", 4, 6), ("B", 6)]
    found = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert found == {
        "image": ["B", 8, 8, 3],
        "patch_embeddings": ["B", 4, 6],
        "surgery_embeddings": ["B", 4, 6],
        "image_embedding": ["B", 6],
    }
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_the_graph_follows_the_batch(tmp_path: Path) -> None:
    module = ToyClipDense()
    exported = export_graph("clip_dense", module, toy_images(2))
    path = save_model(exported.to_model(), tmp_path / "graph.onnx")[0]
    cases = [Case(f"B={batch}", toy_images(batch)) for batch in (1, 2, 7)]
    parity = check_parity("clip_dense", module, path, cases)
    assert parity.max_abs < 1e-5
    assert parity.cases == ("B=1", "B=2", "B=7")


def test_shape_arithmetic_of_the_batch_is_gone() -> None:
    counts = export_graph("clip_dense", ToyClipDense(), toy_images(2)).graph.operator_counts()
    assert counts["Identity"] == counts["Constant"] == counts["Equal"] == counts["Where"] == 0
    assert counts["Shape"] <= 1  # the class token is expanded to the batch


SCRIPT = """
import hashlib
from t2s_export.graphs.to_onnx import export_graph
from tests.export.toy_modules import ToyClipDense, toy_images
model = export_graph("clip_dense", ToyClipDense(), toy_images(2)).to_model()
print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_exporting_twice_gives_the_same_bytes_also_in_another_process() -> None:
    digests = set()
    for _ in range(2):
        model = export_graph("clip_dense", ToyClipDense(), toy_images(2)).to_model()
        digests.add(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    output = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    digests.add(output.split()[-1])
    assert len(digests) == 1


def test_nothing_in_the_file_tells_where_it_was_made() -> None:
    content = export_graph("clip_dense", ToyClipDense(), toy_images(2)).to_model()
    data = content.SerializeToString()
    for trace in (str(Path(__file__).resolve().parents[2]), str(Path.home()), socket.gethostname()):
        assert trace.encode() not in data
    assert b".py" not in data
    assert all(not node.doc_string for node in content.graph.node)


def test_parameters_keep_their_names() -> None:
    constants = export_graph("clip_dense", ToyClipDense(), toy_images(2)).graph.constants
    assert {"token", "norm.weight", "norm.bias"} <= set(constants)


def test_training_mode_is_given_back() -> None:
    module = ToyClipDense().train()
    module.norm.eval()
    export_graph("clip_dense", module, toy_images(2))
    assert module.training and not module.norm.training


def test_the_wrong_number_of_outputs_is_refused() -> None:
    with pytest.raises(ExportError, match="expected 1 outputs of clip_image .* found 3"):
        export_graph("clip_image", ToyClipDense(), toy_images(2))


def test_the_wrong_rank_is_refused() -> None:
    class Flat(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.to(torch.float32).mean((1, 2, 3))

    with pytest.raises(ExportError, match=r"embeddings to be float32 \['B', 'D'\]"):
        export_graph("clip_image", Flat(), toy_images(2))


def test_the_wrong_dtype_is_refused() -> None:
    class Half(ToyClipImage):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image).half()

    with pytest.raises(ExportError, match="found float16"):
        export_graph("clip_image", Half(), toy_images(2))


def test_a_missing_input_is_named() -> None:
    with pytest.raises(ExportError, match=r"clip_image: \['image'\] are missing"):
        run_module("clip_image", ToyClipImage(), {})


def test_an_operator_of_no_engine_is_refused() -> None:
    class Sorted(ToyClipImage):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            embedding = super().forward(image)
            places = (embedding > 10).nonzero()
            return embedding + places.sum().to(torch.float32)

    with pytest.raises(PreflightError, match="NonZero"):
        export_graph("clip_image", Sorted(), toy_images(2))


def test_weights_in_the_graph_are_the_module_s() -> None:
    module = ToyClipDense()
    constants = export_graph("clip_dense", module, toy_images(2)).graph.constants
    np.testing.assert_array_equal(constants["token"], module.token.detach().numpy())
