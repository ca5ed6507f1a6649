"""ONNX graphs as editable values, and as files."""
