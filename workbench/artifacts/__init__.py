"""What a fit leaves behind, on disk: one `.safetensors` file each, never a pickle."""
