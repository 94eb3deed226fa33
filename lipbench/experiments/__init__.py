"""The paper: each claim of Béthune et al. (NeurIPS 2022, arXiv 2104.05097) as a command that trains, measures, judges.

``claims`` holds one module per claim, which reads like its method section. ``experiment`` says what such a module
declares, ``lab`` is where it trains and evaluates, ``measures`` what several of them measure, ``reproduce`` the job of
``lipbench reproduce``, ``writing`` the files and pages that come out.
"""
