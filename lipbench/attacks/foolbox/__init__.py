"""Attacks of foolbox (Rauber et al. 2017, arXiv 1707.04131), which the extra ``foolbox`` installs."""
