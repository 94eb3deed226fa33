"""Models of the bundled zoo that tests name."""

TAU4 = "mlp-tau_cross_entropy-tau4-seed0"
TAU256 = "mlp-tau_cross_entropy-tau256-seed0"
CNN = "cnn-tau_cross_entropy-tau16-seed0"
UNCONSTRAINED = "mlp-cross_entropy-unconstrained-seed0"
