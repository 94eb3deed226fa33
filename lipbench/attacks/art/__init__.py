"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069), for any network."""
