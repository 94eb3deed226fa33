"""The lower bound: certified radii, their grades, the rounding errors and the Lipschitz bounds behind them."""
