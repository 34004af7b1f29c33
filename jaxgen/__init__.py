"""Classic generative models in JAX: pure functions, one file per model."""
