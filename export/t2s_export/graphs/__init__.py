"""From a torch module to a clean, checked ONNX file."""
