"""A version on its way to where it must run: images, manifests, ONNX and Triton, and others."""
