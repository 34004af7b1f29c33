"""Parameters for other programs: safetensors files and PyTorch's names."""
